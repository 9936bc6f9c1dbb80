//! A checked request for one more process in a container: from what the caller asks for and the configuration that was
//! kept. Changes nothing but the namespaces of an ordinary user's command, of which a crash leaves nothing.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use caps::Capability;
use oci_spec::runtime::Process;

use super::agent::Agent;
use super::console::PidfdSocket;
use super::kept::{self, Kept};
use super::launch::donate;
use super::look::Seen;
use super::{Failed, HostError, rootless};
use crate::cgroup;
use crate::container::seccomp;
use crate::model::record::{ContainerRecord, Reaper, SandboxRecord};
use crate::model::{Event, Id, Phase};
use crate::spec::plan::{ProcessPlan, RootSwitch};
use crate::spec::{self, ExecOverrides};

/// What the caller asks for.
pub struct Asked {
    /// The process.
    pub what: What,
    /// The cgroups to join, as [`cgroup::choose`] reads them; none: the container's own.
    pub cgroups: Vec<String>,
    /// Whose child it is to be.
    pub reaper: Reaper,
    /// So many descriptors from 3 on are the application's; that they are there was checked.
    pub preserve_fds: u32,
    /// Who gets the pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// What to do in a container that stands still.
    pub if_frozen: IfFrozen,
    /// Who waits for it.
    pub waits: Waits,
}

/// What is executed.
pub enum What {
    /// All of it is said.
    Process(Box<Process>),
    /// The container's own process, but for this.
    Command(ExecOverrides),
}

/// What to do if the cgroup that is to be joined is frozen: by a pause, or by the container itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfFrozen {
    /// An error, and nothing is launched.
    Refuse,
    /// The process starts when it is thawed.
    Wait,
}

/// Who waits for the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// This process, in the foreground: from its start on the process gets the signals that this one does. Until then they
    /// end us, and it with us.
    Caller,
    /// Its reaper alone.
    Nobody,
}

/// A checked request.
pub struct Execution<'a> {
    pub(super) sandbox: &'a SandboxRecord,
    /// The one that is joined.
    pub(super) container: &'a ContainerRecord,
    /// The sandbox's, where its supervisor listens.
    pub(super) folder: BorrowedFd<'a>,
    pub(super) process: ProcessPlan,
    /// Its filter, compiled.
    pub(super) seccomp: Option<seccomp::Program>,
    /// Who is asked, if the filter asks anybody.
    pub(super) agent: Option<Agent>,
    /// None: the container's own.
    pub(super) cgroups: Option<Vec<PathBuf>>,
    pub(super) reaper: Reaper,
    pub(super) preserve_fds: u32,
    pub(super) pidfd_socket: Option<PidfdSocket>,
    /// The container's processes may have CAP_SYS_ADMIN, and with that have put another root on top of theirs.
    pub(super) may_change_root: bool,
    pub(super) if_frozen: IfFrozen,
    pub(super) waits: Waits,
}

impl<'a> Execution<'a> {
    /// An error: it cannot be.
    pub fn check(id: &Id, seen: &'a Seen, asked: Asked) -> Result<Execution<'a>, Failed> {
        let event = match asked.if_frozen {
            IfFrozen::Refuse => Event::ExecRequested,
            IfFrozen::Wait => Event::ExecWhilePausedRequested,
        };
        let snapshot = seen.allowing(id, event)?;
        rootless::join_sandbox(&snapshot.sandbox, None)?;
        let kept = kept::load(&seen.folder, snapshot)?;
        let process = plan(&asked.what, &kept)?;
        if kept.plan.rootfs.switch == RootSwitch::Cover {
            spec::check_covered(&process).map_err(HostError::from)?;
        }
        let seccomp = donate::seccomp(&kept.plan, seen.folder.root())?;
        let container = kept::root_container(snapshot).ok_or_else(|| HostError::Absent { id: id.clone() })?;
        let notify = seccomp.as_ref().is_some_and(|program| program.notify);
        let state = kept::state_of(snapshot).document(Phase::Running, container.init.pid);
        let cgroups = match asked.cgroups.as_slice() {
            [] => None,
            wanted => Some(cgroup::choose(&container.cgroup, wanted).map_err(HostError::from)?),
        };
        Ok(Execution {
            sandbox: &snapshot.sandbox,
            container,
            folder: seen.folder.dir(),
            process,
            seccomp,
            agent: Agent::of(kept.plan.seccomp.as_ref(), notify, state)?,
            cgroups,
            reaper: asked.reaper,
            preserve_fds: asked.preserve_fds,
            pidfd_socket: asked.pidfd_socket.as_deref().map(PidfdSocket::connect).transpose()?,
            may_change_root: kept.plan.may_have(Capability::CAP_SYS_ADMIN),
            if_frozen: asked.if_frozen,
            waits: asked.waits,
        })
    }

    /// Whether it wants a terminal.
    pub fn wants_terminal(&self) -> bool {
        self.process.terminal
    }
}

fn plan(what: &What, kept: &Kept) -> Result<ProcessPlan, HostError> {
    let (mut warnings, host) = (Vec::new(), spec::Host::here());
    Ok(match what {
        What::Process(process) => spec::exec_plan(&kept.spec, process, &host, &mut warnings)?,
        What::Command(overrides) => spec::exec_process(&kept.spec, overrides, &host, &mut warnings)?,
    })
}
