//! The init is there, in namespaces of its own and nothing else done yet: every process is known. The record is published
//! now, since hooks ask for the state, and recovery for the pids.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::adopted::Adopted;
use super::birth::Birth;
use super::cgroups::Remains;
use super::company::Company;
use super::left::{Left, Made};
use super::net_devices::Moved;
use crate::container::channel::Order;
use crate::control::{Client, Create, Request};
use crate::engine::{OnRecord, Pace, Stage};
use crate::host::HostError;
use crate::host::console::PidfdOf;
use crate::host::launch::attend::Attendant;
use crate::host::launch::{self, Ready};
use crate::host::supervisor::{Supervisor, pid_inside};
use crate::host::verify::{self, Promise};
use crate::model::Make;
use crate::model::record::{ContainerRecord, RootIdentity, SandboxRecord};
use crate::spec::plan::NamespaceKind;
use crate::sys::patience;

/// The init is cloned, and every process is on record.
pub struct Launched<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) cgroups: Remains,
    pub(super) supervisor: Supervisor,
    pub(super) init: launch::Launched,
    /// Interfaces of the host that it has.
    pub(super) moved: Option<Moved>,
    pub(super) company: Company,
    pub(super) sandbox: SandboxRecord,
    pub(super) container: ContainerRecord,
}

impl<'a> Stage for Launched<'a> {
    const STEP: Make = Make::Adopt;
    type Next = Adopted<'a>;
    type Left = Left<'a>;

    fn advance(self) -> Result<Adopted<'a>, (Left<'a>, HostError)> {
        match self.see_through() {
            Ok((root, terminal, client)) => {
                let Launched { birth, cgroups, supervisor, init, moved, company, container, .. } = self;
                let container = ContainerRecord { root, ..container };
                let notices = company.notices;
                Ok(Adopted { birth, cgroups, supervisor, init, moved, container, client, notices, terminal })
            }
            Err(error) => {
                let error = self.supervisor.cause_of(error);
                Err((self.into(), error))
            }
        }
    }
}

impl Launched<'_> {
    /// Hooks of the runtime, the init's own setup, and the supervisor's promise to keep it.
    fn see_through(&self) -> Result<(Option<RootIdentity>, Option<OwnedFd>, Client), HostError> {
        let ready = self.see_set_up()?;
        self.see_confined()?;
        self.supervisor.wait_until_ready()?;
        let client = self.hand_over()?;
        if let Some(socket) = &self.birth.options.pidfd_socket {
            socket.send(PidfdOf::Init, self.init.pidfd.as_fd())?;
        }
        Ok((ready.root.map(RootIdentity::from), ready.terminal, client))
    }

    fn see_set_up(&self) -> Result<Ready, HostError> {
        let (plan, init) = (self.birth.plan, &self.init);
        init.order(Order::Mount)?;
        init.expect_mounted()?;
        if plan.hooks.wait_for_mounts() {
            self.birth.run_hooks_of_runtime(init.pid)?;
            init.order(Order::HooksRan)?;
        }
        let patience = plan.hooks.create_container.is_empty().then_some(patience::A_STEP_OF_INIT);
        let attendant = &mut Attendant::new(&self.company.terminal, self.company.agent.as_ref());
        init.expect_init_ready(patience, attendant).map_err(|error| match plan.seccomp {
            Some(_) => error.under_filter(),
            None => error,
        })
    }

    fn see_confined(&self) -> Result<(), HostError> {
        let plan = self.birth.plan;
        let Some(process) = &plan.process else { return Ok(()) };
        let our_users = !plan.has(NamespaceKind::User);
        let (filtered, preserved_fds) = (plan.seccomp.is_some(), self.birth.options.preserve_fds);
        verify::ready(self.init.pid, &Promise { process, filtered, preserved_fds, our_users })
    }

    fn hand_over(&self) -> Result<Client, HostError> {
        let (options, init) = (self.birth.options, &self.init);
        let deadline = Some(Instant::now() + patience::A_CALL);
        let mut client = Client::connect(self.birth.folder.as_fd(), deadline)?;
        let request = Request::Create(Create {
            cid: options.id.clone(),
            root: true,
            reaper: options.reaper,
            pid: pid_inside(init.pid)?,
            host_pid: init.pid,
            detach: !options.attached,
        });
        client.call(&request, &[init.pidfd.as_fd(), init.channel.as_fd()], deadline)?;
        Ok(client)
    }
}

impl OnRecord for Launched<'_> {
    fn records(&self) -> (SandboxRecord, ContainerRecord) {
        (self.sandbox.clone(), self.container.clone())
    }

    fn pace(&self) -> Pace {
        self.birth.pace()
    }
}

impl<'a> From<Launched<'a>> for Left<'a> {
    fn from(launched: Launched<'a>) -> Left<'a> {
        let Launched { birth, cgroups, supervisor, init, moved, .. } = launched;
        Left { birth, made: Made::Init { cgroups, supervisor, init, moved } }
    }
}
