//! pidfd_open(2): a process by a handle that is never reused for another one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A close-on-exec handle of a process; readable once it has ended.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } {
        // SAFETY: a new file descriptor that nobody else owns.
        fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
        _ => Err(io::Error::last_os_error()),
    }
}
