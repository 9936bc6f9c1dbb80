//! A first process that is not the application, for one that nobody wrote to be the first: the kernel spares the first
//! process of a PID namespace every signal that it has no handler for, ^C among them, and gives it all orphans to reap.
//!
//! It is confined as the application is, holds none of its descriptors, hands on what it is sent, reaps, and ends with the
//! application, and with it everything else.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::entry::Entry;
use super::{SetupError, Step};
use crate::sys::clone::{self, Forked};
use crate::sys::{descriptors, signals};

/// Returns only on failure, in the process that was to become the application.
pub fn execute(entry: &Entry) -> SetupError {
    match fork() {
        Ok(never) => match never {},
        Err(Fork::Failed(error)) => error,
        Err(Fork::Child) => entry.execute(),
    }
}

enum Fork {
    Child,
    Failed(SetupError),
}

impl From<SetupError> for Fork {
    fn from(error: SetupError) -> Fork {
        Fork::Failed(error)
    }
}

fn fork() -> Result<Infallible, Fork> {
    let what = || "make a first process beside the application".to_owned();
    signals::block_all().step(what)?;
    let all = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC).step(what)?;
    let Forked::Parent(application) = clone::fork().step(what)? else {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step(what)?;
        return Err(Fork::Child);
    };
    // An end of a pipe that we keep would be one that the application cannot close.
    for number in 0..3 {
        let _ = descriptors::place(all.as_fd(), number);
    }
    let _ = descriptors::close_others(&[all.as_raw_fd()]);
    keep(Pid::from_raw(application), &all)
}

fn keep(application: Pid, signals: &SignalFd) -> ! {
    loop {
        match signals.read_signal() {
            Ok(Some(told)) if told.ssi_signo == libc::SIGCHLD as u32 => {
                if let Some(code) = reap(application) {
                    clone::exit_now(code);
                }
            }
            // What the kernel sends, for a key on the terminal, the application has got as well.
            Ok(Some(told)) if told.ssi_code <= 0 => {
                let _ = clone::kill(application.as_raw(), told.ssi_signo as i32);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => clone::exit_now(1),
        }
    }
}

/// All that have ended; Some: the application's exit code, or 128 + signal.
fn reap(application: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == application => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == application => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return code,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Some(1),
        }
    }
}
