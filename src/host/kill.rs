//! SIGKILL and wait: whoever of us ends a process does it here. A process that is gone already is a success, so that all of
//! it may be done twice.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::{HostError, Trying, probe};
use crate::model::record::{Boot, ProcessRef};
use crate::sys::patience;
use crate::sys::{pidfd, procfs};

/// Until when a killed process may take to end, from now.
pub fn deadline() -> Instant {
    Instant::now() + patience::A_KILLED_PROCESS
}

/// Kills a process of a record, if it is alive and is that very one, and waits for its end.
pub fn process(process: &ProcessRef, boot: &Boot) -> Result<(), HostError> {
    let Some(pidfd) = probe::open_if_alive(process, boot)? else { return Ok(()) };
    send(pidfd.as_fd())?;
    wait_gone(pidfd.as_fd(), process, boot)
}

/// SIGKILL; a process that is already gone is a success.
pub fn send(process: BorrowedFd<'_>) -> Result<(), HostError> {
    match pidfd::send_signal(process, libc::SIGKILL) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.trying(|| "send SIGKILL".into()),
    }
}

/// Kills a process that this process knows by pidfd only; `child`: it is ours to reap, and whatever else of ours ends
/// meanwhile. A supervisor ends when its PID namespace is empty, and an init that a helper cloned for us and had no time to
/// tell of is a child of ours that nobody else reaps.
pub fn and_wait(process: BorrowedFd<'_>, child: bool) -> Result<(), HostError> {
    send(process)?;
    let what = || "wait for a killed process".to_owned();
    let end = Instant::now() + patience::A_KILLED_PROCESS;
    loop {
        let slice = if child { (Instant::now() + Duration::from_millis(20)).min(end) } else { end };
        let exited = pidfd::wait_exit(process, Some(slice)).trying(what)?;
        while child && pidfd::wait_any_child().trying(what)?.is_some() {}
        if exited {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(HostError::Timeout {
                what: "the end of a killed process".into(),
                seconds: patience::A_KILLED_PROCESS.as_secs(),
            });
        }
    }
}

/// Waits until it is dead or past the point of doing anything (see the design, "When is a supervisor gone?"); reaps
/// meanwhile whatever happens to be our own child.
fn wait_gone(pidfd: BorrowedFd<'_>, process: &ProcessRef, boot: &Boot) -> Result<(), HostError> {
    let end = Instant::now() + patience::A_KILLED_PROCESS;
    loop {
        let slice = (Instant::now() + Duration::from_millis(20)).min(end);
        let exited = pidfd::wait_exit(pidfd, Some(slice)).trying(|| format!("wait for process {}", process.pid))?;
        let _ = pidfd::wait_child(pidfd);
        // A killed supervisor whose children have an outside parent that does not reap stays in the kernel's exit path:
        // its pidfd never becomes readable, and yet nothing of the sandbox runs any more.
        if exited || !procfs::is_alive(process, boot) {
            return Ok(());
        }
        if Instant::now() >= end {
            let what = format!("the end of the killed process {}", process.pid);
            return Err(HostError::Timeout { what, seconds: patience::A_KILLED_PROCESS.as_secs() });
        }
    }
}
