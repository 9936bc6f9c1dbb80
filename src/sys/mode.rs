//! The permission bits of what a descriptor stands for, also of one that was opened with O_PATH.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// fchmodat2(2), from Linux 6.6 on; ENOSYS before. fchmod(2) refuses O_PATH, and to open a device is to wake it.
pub fn change(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    /// The same on every architecture.
    const SYS_FCHMODAT2: libc::c_long = 452;
    // SAFETY: the empty path is a static C string.
    check(unsafe { libc::syscall(SYS_FCHMODAT2, fd.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) }).map(drop)
}
