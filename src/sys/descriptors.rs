//! Descriptors that were donated by number, and all the others that were not.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Owns the descriptor with this number and makes it close-on-exec. EBADF: it is not open. The three standard ones are
/// never donated. Whoever calls this must see to it that no number is taken twice.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only sets a flag of the descriptor, and fails if there is none.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and was given to this process to own, as its arguments say.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes everything above 2 that is not in `kept`.
pub fn close_others(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first: RawFd = 3;
    for number in kept {
        if number > first {
            close_range(first as u32, number as u32 - 1, 0)?;
        }
        first = first.max(number + 1);
    }
    close_range(first as u32, u32::MAX, 0)
}

/// Whether 0, 1 and 2 are all open: else the next descriptor we make would become one of them.
pub fn standard_are_open() -> bool {
    // SAFETY: only reads a flag of the descriptor, and fails if there is none.
    (0..3).all(|number| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0)
}

/// Writes land where they are aimed at: without O_APPEND, which would send a pwrite(2) to the end (its BUGS section).
pub fn clear_append(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_APPEND) {
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(flags - OFlag::O_APPEND))?;
    }
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by execve.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Makes `fd` survive execve, or not.
pub fn set_close_on_exec(fd: BorrowedFd<'_>, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD takes no memory.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags) }.into()).map(drop)
}

/// These numbers are open in whatever is executed next.
pub fn survive_exec(numbers: &[RawFd]) -> io::Result<()> {
    // SAFETY: F_SETFD takes no memory, and fails for what is not open.
    numbers.iter().try_for_each(|fd| check(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) }.into()).map(drop))
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
pub const STDIN: BorrowedFd<'static> = STDIO[0];

/// Descriptors 0, 1 and 2, the same way.
// SAFETY: see above: they are open for as long as the process lives.
pub const STDIO: [BorrowedFd<'static>; 3] =
    unsafe { [BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2)] };

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: by contract nothing in this range is owned by anybody in this process.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
