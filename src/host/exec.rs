//! One more process in a running container.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Instant;

use super::agent::Agent;
use super::attend::Attendant;
use super::console::{PidfdOf, PidfdSocket};
use super::create::{CALL_DEADLINE, TerminalTo, pid_inside};
use super::launch::{self, Inside, Launched, Target};
use super::{HostError, namespaces, probe};
use crate::cgroup::Joiner;
use crate::container::{Groups, join, seccomp};
use crate::control::{Client, ExecuteAsync, Request};
use crate::model::record::{ContainerRecord, PidNamespace, Reaper, SandboxRecord};
use crate::spec::plan::ProcessPlan;
use crate::sys::procfs;

/// What the caller asked for.
pub struct Execution<'a> {
    pub sandbox: &'a SandboxRecord,
    pub container: &'a ContainerRecord,
    pub folder: BorrowedFd<'a>,
    pub process: &'a ProcessPlan,
    pub seccomp: Option<seccomp::Program>,
    pub agent: Option<Agent>,
    /// The cgroups to join; None: the container's own.
    pub cgroups: Option<&'a [PathBuf]>,
    pub reaper: Reaper,
    pub preserve_fds: u32,
    /// Who gets the pidfd of the process.
    pub pidfd_socket: Option<PidfdSocket>,
    /// The container is paused: the process starts when it is resumed.
    pub frozen: bool,
}

/// Launches it, hands its terminal on, and starts it. On an error nothing of it is left.
pub fn run(execution: Execution<'_>, terminal: &mut TerminalTo) -> Result<Launched, HostError> {
    let (boot, container, supervisor) = (&execution.sandbox.boot, execution.container, &execution.sandbox.supervisor);
    let needs_supervisor = execution.sandbox.pid_namespace == PidNamespace::Own;
    let is_stopped =
        || !procfs::is_alive(&container.init, boot) || needs_supervisor && !procfs::is_alive(supervisor, boot);
    // One that ended meanwhile is reason enough, wherever it was noticed.
    launch(execution, terminal).map_err(|error| if is_stopped() { stopped(container) } else { error })
}

fn stopped(container: &ContainerRecord) -> HostError {
    let text = format!("cannot exec in a stopped container: {:?}", container.id.as_str());
    HostError::Container { text, exit_code: 1 }
}

fn launch(execution: Execution<'_>, terminal: &mut TerminalTo) -> Result<Launched, HostError> {
    let boot = &execution.sandbox.boot;
    let gone = || stopped(execution.container);
    let init = probe::open_if_alive(&execution.container.init, boot)?.ok_or_else(gone)?;
    let supervisor = probe::open_if_alive(&execution.sandbox.supervisor, boot)?;
    let joiner = match execution.cgroups {
        Some(folders) => Joiner::exactly(folders)?,
        None => Joiner::open(&execution.container.cgroup, execution.container.init.pid)?,
    };
    let namespaces = namespaces::differing(execution.container.init.pid)?;
    let inside = match (execution.sandbox.pid_namespace, &supervisor) {
        (PidNamespace::Own, Some(supervisor)) => Inside::NamespaceOf(supervisor.as_fd()),
        (PidNamespace::Own, None) => return Err(gone()),
        (PidNamespace::Foreign, _) => Inside::Ours,
    };
    let donate = |channel| join::Donations {
        channel,
        seccomp: execution.seccomp,
        groups: Groups::of_process(init.as_fd()),
        preserved_fds: execution.preserve_fds,
        session_keyring: launch::keyring_name(execution.container.id.as_str()),
    };
    // We too: what is forked from here on has it before it is in the container's cgroup.
    crate::container::run_on(&execution.process.affinity.initial, "initial")?;
    let patience = (!execution.frozen).then_some(launch::STEP_DEADLINE);
    let target = Target { init: init.as_fd(), namespaces, joiner: &joiner };
    let launched = launch::exec(execution.process, donate, &target, inside, execution.reaper, patience)?;
    let started = launched
        .expect_ready(patience, &mut Attendant::new(terminal, execution.agent.as_ref()))
        .and_then(|()| match execution.reaper {
            // In a foreign PID namespace the container may run on without one; then nobody keeps what is launched either.
            Reaper::Supervisor if supervisor.is_some() => adopt(execution.folder, execution.container, &launched),
            Reaper::Supervisor | Reaper::Caller => Ok(()),
        })
        .and_then(|()| match &execution.pidfd_socket {
            Some(socket) => socket.send(PidfdOf::Exec, launched.pidfd.as_fd()),
            None => Ok(()),
        })
        .and_then(|()| launched.start());
    if let Err(error) = started {
        launched.abort();
        return Err(error);
    }
    Ok(launched)
}

/// The supervisor keeps its pidfd and will know how it ended.
fn adopt(folder: BorrowedFd<'_>, container: &ContainerRecord, launched: &Launched) -> Result<(), HostError> {
    let deadline = Some(Instant::now() + CALL_DEADLINE);
    let request = Request::ExecuteAsync(ExecuteAsync {
        cid: container.id.clone(),
        pid: pid_inside(launched.pid)?,
        host_pid: launched.pid,
        reaper: Reaper::Supervisor,
    });
    Client::connect(folder, deadline)?.call(&request, &[launched.pidfd.as_fd()], deadline)?;
    Ok(())
}
