//! One more process in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;

use super::console::PidfdOf;
use super::execution::{Execution, IfFrozen, Waits};
use super::foreground::Forwarding;
use super::launch::attend::{Attendant, TerminalTo};
use super::launch::exec::Target;
use super::launch::{self, Inside, Launched, namespaces};
use super::protect::Binary;
use super::supervisor::pid_inside;
use super::verify::{self, Promise};
use super::{HostError, Trying, probe};
use crate::cgroup::{self, Joiner};
use crate::container::{Groups, Owner, join, stdio};
use crate::control::{Client, ExecuteAsync, Request};
use crate::model::record::{ContainerRecord, PidNamespace, Reaper};
use crate::sys::interrupt::{self, Blocked};
use crate::sys::patience;
use crate::sys::place::Place;
use crate::sys::user_namespace::{self, Kind};
use crate::sys::{descriptor_limit, open, procfs};

/// One that has been started.
pub struct Started {
    /// Running, or about to in a frozen container.
    pub process: Launched,
    /// The master of its terminal, if that was to be kept here.
    pub terminal: Option<OwnedFd>,
    /// Those that are to be forwarded, if this process waits for it.
    pub signals: Option<Forwarding>,
}

/// Launches it, hands its terminal on, and starts it. On an error nothing of it is left.
pub fn run(execution: Execution<'_>, terminal: &TerminalTo) -> Result<Started, HostError> {
    let (boot, container, supervisor) = (&execution.sandbox.boot, execution.container, &execution.sandbox.supervisor);
    let needs_supervisor = execution.sandbox.pid_namespace == PidNamespace::Own;
    let is_stopped =
        || !procfs::is_alive(&container.init, boot) || needs_supervisor && !procfs::is_alive(supervisor, boot);
    let signals = match execution.waits {
        Waits::Caller => Some(Forwarding::begin()?),
        Waits::Nobody => {
            interrupt::begin(Blocked::Ending).trying(|| "keep signals".into())?;
            None
        }
    };
    match launch(execution, terminal) {
        Ok((process, terminal)) => Ok(Started { process, terminal, signals }),
        // One that ended meanwhile is reason enough, wherever it was noticed.
        Err(error) if error.signal().is_none() && is_stopped() => Err(stopped(container)),
        Err(error) => Err(error),
    }
}

fn stopped(container: &ContainerRecord) -> HostError {
    HostError::Stopped { id: container.id.clone() }
}

fn launch(execution: Execution<'_>, terminal: &TerminalTo) -> Result<(Launched, Option<OwnedFd>), HostError> {
    let boot = &execution.sandbox.boot;
    let gone = || stopped(execution.container);
    let init = probe::open_if_alive(&execution.container.init, boot)?.ok_or_else(gone)?;
    let supervisor = probe::open_if_alive(&execution.sandbox.supervisor, boot)?;
    let joiner = match &execution.cgroups {
        Some(folders) => Joiner::exactly(folders)?,
        None => Joiner::open(&execution.container.cgroup, execution.container.init.pid)?,
    };
    let patience = patience_with(&joiner, execution.if_frozen)?;
    let namespaces = namespaces::differing(execution.container.init.pid)?;
    let inside = match (execution.sandbox.pid_namespace, &supervisor) {
        (PidNamespace::Own, Some(supervisor)) => Inside::NamespaceOf(supervisor.as_fd()),
        (PidNamespace::Own, None) => return Err(gone()),
        (PidNamespace::Foreign, _) => Inside::Ours,
    };
    let binary = Binary::protected().trying(|| "protect our own binary".into())?;
    let filtered = execution.seccomp.is_some();
    let groups = Groups::of_process(init.as_fd())?;
    let owner = if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        let mappings = user_namespace::of_process(execution.container.init.pid, Kind::Uid);
        Owner::mapped(execution.process.uid, &mappings.trying(|| "read the user mappings of the container".into())?)
    } else {
        Some(Owner::ours(execution.process.uid))
    };
    let root = open_root(execution.container.init.pid);
    stdio::prepare(root.as_ref().map(|root| root.as_fd()))?;
    let donate = |channel| join::Donations {
        plan: execution.process.clone(),
        channel,
        seccomp: execution.seccomp,
        groups,
        owner,
        preserved_fds: execution.preserve_fds,
        session_keyring: launch::keyring_name(execution.container.id.as_str()),
        descriptor_limit: descriptor_limit::called_with(),
    };
    // We too: what is forked from here on has it before it is in the container's cgroup.
    crate::container::run_on(&execution.process.affinity.initial, "initial")?;
    let target = Target {
        init: init.as_fd(),
        namespaces,
        joiner: &joiner,
        root: execution.container.root.map(Place::from),
        may_change_root: execution.may_change_root,
    };
    let launched = launch::exec::launch(donate, &target, inside, execution.reaper, &binary, patience)?;
    let promise = Promise {
        process: &execution.process,
        filtered,
        preserved_fds: execution.preserve_fds,
        our_users: !namespaces.contains(CloneFlags::CLONE_NEWUSER),
    };
    let started = || {
        let attendant = &mut Attendant::new(terminal, execution.agent.as_ref());
        let ready = launched.expect_ready(patience, attendant)?;
        verify::ready(launched.pid, &promise)?;
        // In a foreign PID namespace the container may run on without one; then nobody keeps what is launched either.
        if execution.reaper == Reaper::Supervisor && supervisor.is_some() {
            adopt(execution.folder, execution.container, &launched)?;
        }
        if let Some(socket) = &execution.pidfd_socket {
            socket.send(PidfdOf::Exec, launched.pidfd.as_fd())?;
        }
        launched.start((execution.waits == Waits::Nobody).then_some(patience::A_STEP_OF_INIT))?;
        Ok(ready.terminal)
    };
    match started() {
        Ok(terminal) => Ok((launched, terminal)),
        Err(error) => {
            launched.abort();
            Err(error)
        }
    }
}

/// None: as long as it takes.
fn patience_with(joiner: &Joiner, if_frozen: IfFrozen) -> Result<Option<Duration>, HostError> {
    let until = Instant::now() + patience::A_PASSING_FREEZE;
    loop {
        match (joiner.frozen()?, if_frozen) {
            (None, _) => return Ok(Some(patience::A_STEP_OF_INIT)),
            (Some(_), IfFrozen::Wait) => return Ok(None),
            (Some(folder), IfFrozen::Refuse) if Instant::now() >= until => {
                return Err(cgroup::Error::FrozenInside { folder }.into());
            }
            (Some(_), IfFrozen::Refuse) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The root folder of a container, to look into; None where we may not.
fn open_root(init: i32) -> Option<OwnedFd> {
    let proc = std::fs::File::open("/proc").ok()?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    open::at(proc.as_fd(), &PathBuf::from(init.to_string()).join("root"), flags, 0).ok()
}

/// The supervisor keeps its pidfd and will know how it ended.
fn adopt(folder: BorrowedFd<'_>, container: &ContainerRecord, launched: &Launched) -> Result<(), HostError> {
    let deadline = Some(Instant::now() + patience::A_CALL);
    let request = Request::ExecuteAsync(ExecuteAsync {
        cid: container.id.clone(),
        pid: pid_inside(launched.pid)?,
        host_pid: launched.pid,
        reaper: Reaper::Supervisor,
    });
    Client::connect(folder, deadline)?.call(&request, &[launched.pidfd.as_fd()], deadline)?;
    Ok(())
}
