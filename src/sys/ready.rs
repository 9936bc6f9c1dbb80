//! Waiting for one descriptor, with a deadline.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What is waited for. An error or a hang-up of the other side counts as ready: the next call on it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// There is something to read.
    Readable,
    /// There is room to write.
    Writable,
}

impl Readiness {
    pub(super) fn flags(self) -> PollFlags {
        match self {
            Readiness::Readable => PollFlags::POLLIN,
            Readiness::Writable => PollFlags::POLLOUT,
        }
    }
}

/// Whether it became ready before `deadline`; without one this waits for ever. A deadline in the past looks once.
pub fn wait(fd: BorrowedFd<'_>, readiness: Readiness, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(fd, readiness.flags())], timeout_until(deadline)) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether it is readable now.
pub fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    wait(fd, Readiness::Readable, Some(Instant::now()))
}

/// What is left until the deadline, as poll(2) takes it: rounded up to a whole millisecond, so that nobody wakes up before it
/// or spins through the last one.
pub fn timeout_until(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now()).saturating_add(Duration::from_nanos(999_999));
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
