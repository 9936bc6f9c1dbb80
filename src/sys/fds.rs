//! File descriptors: which ones a process keeps, and where.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Takes over a descriptor that this process was started with. Fails when it is not open.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, and its number came to us from whoever donated it, for us to own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor above 2 except those in `keep`.
///
/// For a process that has just been forked: it must hold no lock, socket or folder of its parent's. Owned descriptors in
/// its copy of memory that are closed here must never be dropped; it leaves through `exec` or `exit_now`.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter(|fd| **fd > 2).map(|fd| *fd as u32).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from `first` on to be closed by execve.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32)
}

fn close_range(first: u32, last: u32, flags: i32) -> io::Result<()> {
    // SAFETY: no memory is passed; the callers say which descriptors are theirs.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Makes `fd` survive execve, or not.
pub fn set_close_on_exec(fd: BorrowedFd<'_>, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD takes no memory.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags) }.into()).map(drop)
}

/// dup3(2) onto a fixed number, open across execve.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return set_close_on_exec(fd, false);
    }
    // SAFETY: both are plain numbers; what was open at `number` belonged to this process.
    check(unsafe { libc::dup3(fd.as_raw_fd(), number, 0) }.into()).map(drop)
}

/// Moves a descriptor to a number of at least `lowest`, closed by execve.
pub fn above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes no memory.
    let number = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }.into())?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(number as RawFd) })
}

/// Descriptor 0. Rust opens it on /dev/null at start if nothing else has, and nobody here closes it.
// SAFETY: see above: it is open for as long as the process lives.
pub const STDIN: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(0) };
