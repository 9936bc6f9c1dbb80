//! Another supervisor for a container that has outlived its own, in a PID namespace that is not the sandbox's.
//!
//! ```text
//!   spawned, ready ──▶ on record (engine) ──▶ given the init, running already
//!        dies with this process until here ◀──┘
//! ```
//!
//! A crash before it has the init leaves what was there before: a container without a supervisor.

use std::os::fd::AsFd;
use std::time::Instant;

use super::kept::root_container;
use super::protect::Binary;
use super::supervisor::{self, Donation, Supervisor, pid_inside};
use super::{HostError, Trying, kill, probe};
use crate::cgroup::Joiner;
use crate::control::method::ContainerStatus;
use crate::control::{self, Client, Container, ControlError, Create, Request};
use crate::engine::{Effects, Known, Performer};
use crate::model::Renew;
use crate::model::record::{ContainerRecord, PidNamespace, ProcessRef, SandboxRecord, Snapshot};
use crate::store::Folder;
use crate::sys::patience;
use crate::sys::{pidfd, procfs, seqpacket};

/// A sandbox that is given another supervisor.
pub struct Renewal<'a> {
    folder: &'a Folder,
    snapshot: &'a Snapshot,
    container: &'a ContainerRecord,
    renewed: Option<(Supervisor, ProcessRef)>,
}

impl<'a> Renewal<'a> {
    /// `snapshot` is of a sandbox whose supervisor is dead.
    pub fn of(folder: &'a Folder, snapshot: &'a Snapshot) -> Result<Renewal<'a>, HostError> {
        let container = root_container(snapshot).ok_or(HostError::NothingToKeep)?;
        Ok(Renewal { folder, snapshot, container, renewed: None })
    }

    fn spawn(&mut self) -> Result<(), HostError> {
        let sandbox = &self.snapshot.sandbox;
        let there: Vec<_> =
            sandbox.supervisor_cgroup.folders.iter().filter(|folder| folder.is_dir()).cloned().collect();
        let controller = control::listen(self.folder.dir()).trying(|| "bind the control socket".into())?;
        let supervisor = supervisor::spawn(&Donation {
            binary: &Binary::protected().trying(|| "protect our own binary".into())?,
            id: &sandbox.id,
            bundle: &self.container.bundle,
            spec: self.folder.open_file("config.json")?.as_fd(),
            controller: controller.as_fd(),
            exits: self.folder.reopen_exits()?.as_fd(),
            notices: None,
            joiner: &Joiner::exactly(&there)?,
            log: None,
            debug_log: None,
            pid_namespace: PidNamespace::Foreign,
            attached: false,
        })?;
        supervisor.wait_until_ready()?;
        let reference = procfs::process_ref(supervisor.pid).trying(|| format!("look at process {}", supervisor.pid))?;
        self.renewed = Some((supervisor, reference.ok_or(HostError::SupervisorDied)?));
        Ok(())
    }

    /// Once it is on record. The init is past its start: the start message goes to a socket of ours, whose other end is
    /// closed as that of an init is that has executed its program.
    fn hand_over(&self) -> Result<(), HostError> {
        let Some(init) = probe::open_if_alive(&self.container.init, &self.snapshot.sandbox.boot)? else {
            return Ok(());
        };
        let (ours, theirs) = seqpacket::pair().trying(|| "make a start socket".into())?;
        seqpacket::end_writing(ours.as_fd()).trying(|| "close a start socket".into())?;
        let deadline = Some(Instant::now() + patience::A_CALL);
        let mut client = Client::connect(self.folder.dir(), deadline)?;
        let create = Request::Create(Create {
            cid: self.container.id.clone(),
            root: true,
            reaper: self.container.reaper,
            pid: pid_inside(self.container.init.pid)?,
            host_pid: self.container.init.pid,
            detach: true,
        });
        client.call(&create, &[init.as_fd(), theirs.as_fd()], deadline)?;
        client.call(&Request::Start(Container { cid: self.container.id.clone() }), &[], deadline)?;
        Ok(())
    }

    /// Of the new supervisor, as this process sees it.
    pub fn pid(&self) -> Option<i32> {
        self.renewed.as_ref().map(|(supervisor, _)| supervisor.pid)
    }
}

/// A recovery that died after its supervisor was on record, and before it was given the init, takes that one along. Until
/// it is gone it looks alive. The caller holds the sandbox's lock: nobody is about to give it anything.
pub fn await_end_of_unfinished(folder: &Folder, snapshot: &Snapshot) -> Result<(), HostError> {
    let SandboxRecord { id, supervisor, boot, pid_namespace, .. } = &snapshot.sandbox;
    if *pid_namespace == PidNamespace::Own || !snapshot.state.sandbox.phase.has_application() {
        return Ok(());
    }
    let Some(unfinished) = probe::open_if_alive(supervisor, boot)? else { return Ok(()) };
    // One that says nothing has said what it keeps to somebody before.
    let knows = |containers: &[ContainerStatus]| containers.iter().any(|container| container.cid == id.as_str());
    match probe::ask_state(folder) {
        Ok(containers) if !knows(&containers) => {}
        Err(ControlError::Gone) => {}
        _ => return Ok(()),
    }
    pidfd::wait_exit(unfinished.as_fd(), Some(kill::deadline()))
        .trying(|| "wait for a supervisor without a sandbox".into())?;
    Ok(())
}

impl Performer for Renewal<'_> {
    type Error = HostError;
}

impl Effects<Renew> for Renewal<'_> {
    fn perform(&mut self, effect: Renew) -> Result<(), HostError> {
        match effect {
            Renew::Supervisor => self.spawn(),
            Renew::Adopt => self.hand_over(),
        }
    }
}

impl Known for Renewal<'_> {
    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)> {
        let (_, supervisor) = self.renewed.as_ref()?;
        let sandbox = SandboxRecord { supervisor: supervisor.clone(), ..self.snapshot.sandbox.clone() };
        Some((sandbox, self.container.clone()))
    }
}
