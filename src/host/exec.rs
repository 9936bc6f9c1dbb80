//! One more process in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::create::{CALL_DEADLINE, TerminalTo, pid_inside};
use super::launch::{self, Inside, Launched};
use super::{HostError, foreground, probe};
use crate::cgroup::Joiner;
use crate::container::{join, seccomp};
use crate::control::{Client, ExecuteAsync, Request};
use crate::model::record::{ContainerRecord, PidNamespace, Reaper, SandboxRecord};
use crate::spec::plan::ProcessPlan;

/// What the caller asked for.
pub struct Execution<'a> {
    pub sandbox: &'a SandboxRecord,
    pub container: &'a ContainerRecord,
    pub folder: BorrowedFd<'a>,
    pub process: &'a ProcessPlan,
    pub seccomp: Option<seccomp::Program>,
    pub reaper: Reaper,
    pub preserve_fds: u32,
}

/// Launches it, hands its terminal on, and starts it. On an error nothing of it is left.
pub fn run(execution: Execution<'_>, terminal: &mut TerminalTo) -> Result<Launched, HostError> {
    let boot = &execution.sandbox.boot;
    let gone = || {
        let text = format!("cannot exec in container {:?}: it is stopped", execution.container.id.as_str());
        HostError::Container { text, exit_code: 1 }
    };
    let init = probe::open_if_alive(&execution.container.init, boot)?.ok_or_else(gone)?;
    let supervisor = probe::open_if_alive(&execution.sandbox.supervisor, boot)?.ok_or_else(gone)?;
    let joiner = Joiner::open(&execution.container.cgroup)?;
    let namespaces = launch::differing_namespaces(execution.container.init.pid)?;
    let inside = match execution.sandbox.pid_namespace {
        PidNamespace::Own => Inside::NamespaceOf(supervisor.as_fd()),
        PidNamespace::Foreign => Inside::Ours,
    };
    let pidfd: OwnedFd = init.try_clone().map_err(|source| HostError::Io { what: "copy a pidfd".into(), source })?;
    let donate = |channel| join::Donations {
        channel,
        init: pidfd,
        namespaces,
        seccomp: execution.seccomp,
        preserved_fds: execution.preserve_fds,
        session_keyring: None,
    };
    let launched = launch::exec(execution.process, donate, init.as_fd(), inside, &joiner, execution.reaper)?;
    launched.expect_ready(|master| match terminal {
        TerminalTo::Nowhere => Ok(()),
        TerminalTo::Socket(console) => console.send(master.as_fd()),
        TerminalTo::Us(kept) => {
            foreground::fit(master.as_fd());
            *kept = Some(master);
            Ok(())
        }
    })?;
    if execution.reaper == Reaper::Supervisor {
        adopt(execution.folder, execution.container, &launched)?;
    }
    launched.start()?;
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
