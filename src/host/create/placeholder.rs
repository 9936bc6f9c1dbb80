//! A process that does nothing: systemd makes no scope without one. It ends when it is dropped, and with its creator.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use crate::host::{HostError, Trying};
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::{descriptors, patience, pidfd};

pub struct Placeholder {
    pub pid: i32,
    pidfd: OwnedFd,
    /// Its end is what the process waits for.
    life: Option<OwnedFd>,
}

impl Placeholder {
    /// The caller still has a single thread.
    pub fn spawn() -> Result<Placeholder, HostError> {
        let what = || "fork a process to hold the scope".to_owned();
        let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).trying(what)?;
        match clone::clone(0, Parent::Me, None).trying(what)? {
            Cloned::Child => {
                // Our locks before all: they would outlive us in here.
                if descriptors::close_others(&[theirs.as_raw_fd()]).is_ok() {
                    let _ = std::fs::File::from(theirs).read(&mut [0]);
                }
                clone::exit_now(0)
            }
            Cloned::Parent { pid, pidfd } => Ok(Placeholder { pid, pidfd, life: Some(ours) }),
        }
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        self.life = None;
        if pidfd::wait_exit(self.pidfd.as_fd(), Some(Instant::now() + patience::A_KILLED_PROCESS)).unwrap_or(false) {
            let _ = pidfd::wait_child(self.pidfd.as_fd());
        }
    }
}
