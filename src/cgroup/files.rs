//! The small files of a cgroup folder, by path, and waiting for what the kernel does with a cgroup on its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use crate::sys::ready::timeout_until;
use crate::sys::{pidfd, text};

/// More than any cgroup file holds that we read (cgroup.procs of a million processes is 8 MB).
const LARGEST: u64 = 16 << 20;

/// The whole file. ENOENT and ENODEV both mean that the cgroup is gone.
pub(super) fn read(path: &Path) -> io::Result<String> {
    text::all_of(&mut File::open(path)?.take(LARGEST))
}

/// One write(2), which is how a cgroup file takes a value. Never creates.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// Returns when these processes have ended, or the first hundred of them, or at the deadline. Whoever calls this looks
/// again.
pub(super) fn wait_for_ends(pids: &[i32], deadline: Instant) {
    // All at once: a number that is free by its turn could be a stranger's.
    let open: Vec<OwnedFd> = pids.iter().take(100).filter_map(|pid| pidfd::open(*pid).ok()).collect();
    for fd in open {
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, timeout_until(Some(deadline))), Ok(1..)) {
            return;
        }
    }
}

/// Lets the kernel go on with what it does on its own and offers no descriptor to wait on (an exiting task leaving its
/// cgroup, a v1 freezer stopping its tasks): yields first, then waits 1 ms at a time.
#[derive(Default)]
pub(super) struct Pause {
    times: u32,
}

impl Pause {
    /// False when the deadline has passed.
    pub(super) fn once(&mut self, deadline: Instant) -> bool {
        if Instant::now() >= deadline {
            return false;
        }
        self.times += 1;
        if self.times <= 20 {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    pub(super) fn times(&self) -> u32 {
        self.times
    }
}
