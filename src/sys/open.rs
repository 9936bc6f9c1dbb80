//! open(2) relative to a folder, with `OwnedFd` out.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;

/// The working directory, where a call takes an open folder.
// SAFETY: the kernel knows this number for the working directory; there is nothing to close.
pub const AT_CWD: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };

/// openat2(2); always close-on-exec. `resolve` confines the lookup.
pub fn confined(folder: BorrowedFd<'_>, path: &Path, flags: OFlag, resolve: ResolveFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let fd = nix::fcntl::openat2(folder.as_raw_fd(), path, how)?;
    // SAFETY: the kernel has just given us this descriptor; nix hands it out as a plain number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// open(2) as usual, from the current folder; always close-on-exec.
pub fn from_here(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let fd = nix::fcntl::open(path, flags | OFlag::O_CLOEXEC, Mode::empty())?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// openat(2); always close-on-exec.
pub fn at(folder: BorrowedFd<'_>, path: &Path, flags: OFlag, mode: u32) -> io::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(mode);
    let fd = nix::fcntl::openat(Some(folder.as_raw_fd()), path, flags | OFlag::O_CLOEXEC, mode)?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
