//! Descriptors that were donated by number, and all the others that were not.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first: RawFd = 3;
    for number in kept {
        if number > first {
            close_range(first as u32, number as u32 - 1)?;
        }
        first = first.max(number + 1);
    }
    close_range(first as u32, u32::MAX)
}

/// Whether 0, 1 and 2 are all open: else the next descriptor we make would become one of them.
pub fn standard_are_open() -> bool {
    // SAFETY: only reads a flag of the descriptor, and fails if there is none.
    (0..3).all(|number| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0)
}

/// Writes land where they are aimed at: without O_APPEND, which would send a pwrite(2) to the end (its BUGS section).
pub fn clear_append(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::os::fd::AsRawFd;
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_APPEND) {
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(flags - OFlag::O_APPEND))?;
    }
    Ok(())
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: by contract nothing in this range is owned by anybody in this process.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
