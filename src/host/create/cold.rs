//! A container that starts from nothing: what its init is given, opened on the host.

use std::os::fd::{AsFd, OwnedFd};

use super::birth::Birth;
use super::cgroups;
use crate::cgroup::Joiner;
use crate::container::channel::Order;
use crate::container::net::NetDevice;
use crate::container::{CgroupView, devices, init, seccomp};
use crate::host::launch::{self, Inside, Launched, donate, idmap};
use crate::host::notify::{self, Notices};
use crate::host::supervisor::Supervisor;
use crate::host::{HostError, create::net_devices};
use crate::model::Phase;
use crate::model::record::PidNamespace;
use crate::spec::plan::{MountPlan, NamespaceKind, Plan};
use crate::store::Folder;
use crate::sys::descriptor_limit;

pub struct Cold {
    rootfs: OwnedFd,
    binds: Vec<Option<OwnedFd>>,
    nodes: Vec<Option<OwnedFd>>,
    seccomp: Option<seccomp::Program>,
    /// Of the socket on which the container says that it is ready.
    notices: Option<(MountPlan, Option<OwnedFd>)>,
    pub(super) net_devices: Vec<NetDevice>,
}

impl Cold {
    pub fn prepare(plan: &Plan, folder: &Folder) -> Result<Cold, HostError> {
        Ok(Cold {
            rootfs: donate::rootfs(plan)?,
            binds: donate::binds(plan)?,
            nodes: devices::lacking(plan)?,
            seccomp: donate::seccomp(plan, folder.root())?,
            notices: None,
            net_devices: net_devices::look_at(&plan.net_devices)?,
        })
    }

    /// Whether its filter asks somebody else about calls.
    pub fn asks_agent(&self) -> bool {
        self.seccomp.as_ref().is_some_and(|program| program.notify)
    }

    pub fn mount_notices(&mut self, plan: &Plan, notices: &Notices) -> Result<(), HostError> {
        let mount = notices.mount();
        let bind = donate::further_bind(plan, &mount)?;
        self.notices = Some((mount, bind));
        Ok(())
    }

    /// Clones the init. Gives what is left to do with it.
    pub fn launch(
        self,
        birth: &Birth<'_>,
        cgroups: &cgroups::Made,
        supervisor: &Supervisor,
    ) -> Result<(Launched, Vec<NetDevice>), HostError> {
        let (plan, options) = (birth.plan, birth.options);
        let inside = match birth.pid_namespace() {
            PidNamespace::Own => Inside::NamespaceOf(supervisor.pidfd.as_fd()),
            PidNamespace::Foreign => Inside::Ours,
        };
        let net_devices = self.net_devices.clone();
        let joiner: &Joiner = cgroups.of_container();
        let donate = |channel| self.donations(birth, cgroups.in_sight(), channel);
        let launched = launch::init::launch(plan, donate, inside, joiner, options.reaper, &birth.binary)?;
        Ok((launched, net_devices))
    }

    fn donations(self, birth: &Birth<'_>, cgroups: Vec<CgroupView>, channel: OwnedFd) -> init::Donations {
        let (options, mut binds) = (birth.options, self.binds);
        let plan = match self.notices {
            Some((mount, bind)) => {
                binds.push(bind);
                notify::with_socket(birth.plan, mount)
            }
            None => birth.plan.clone(),
        };
        init::Donations {
            plan,
            channel,
            rootfs: self.rootfs,
            binds,
            nodes: self.nodes,
            cgroups,
            seccomp: self.seccomp,
            preserved_fds: options.preserve_fds,
            listen: options.listen.clone(),
            net_devices: self.net_devices,
            descriptor_limit: descriptor_limit::called_with(),
            session_keyring: if options.new_keyring { launch::keyring_name(options.id.as_str()) } else { None },
            hook_state: birth.state(Phase::Creating, 0),
        }
    }
}

/// Until its namespaces are there, with what they need from outside.
pub fn see_namespaces_made(init: &Launched, plan: &Plan) -> Result<(), HostError> {
    if plan.makes(NamespaceKind::User) {
        init.expect_unmapped()?;
        idmap::write(init.pid, plan)?;
        init.order(Order::Mapped)?;
    }
    init.expect_namespaces()
}
