//! This binary, as a program to execute that the containers it sets up cannot write to (CVE-2019-5736).
//!
//! A container's root can open /proc/PID/exe of a process that is still, or again, this program, and write to the file
//! behind it. So whatever runs where a container may look, a supervisor or what enters, is executed from a read-only
//! detached bind mount of the binary: every way to it that a container can find is read-only, and nothing is copied. Where
//! that cannot be, from a sealed copy in memory. Only what the kernel says of the file counts as protected.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::AtFlags;
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::sys::descriptors;
use crate::sys::mount::{self, Attributes, Extent};

const OURSELVES: &str = "/proc/self/exe";

/// Open, and closed by whatever execve succeeds.
pub struct Binary(OwnedFd);

impl Binary {
    /// The binary itself if nobody can write to it, else a read-only or sealed one.
    pub fn protected() -> io::Result<Binary> {
        let ourselves = std::fs::File::open(OURSELVES)?;
        if is_protected(&ourselves) {
            return Ok(Binary(ourselves.into()));
        }
        let image = read_only_bind().or_else(|_| sealed_copy())?;
        let opened = std::fs::File::open(format!("/proc/self/fd/{}", image.as_raw_fd()))?;
        match is_protected(&opened) {
            true => Ok(Binary(image)),
            false => Err(io::Error::other("it can be written to, whatever is done about it")),
        }
    }

    /// At a number from `lowest` on, out of the way of descriptors that are about to be placed.
    pub fn above(&self, lowest: i32) -> io::Result<Binary> {
        descriptors::above(self.0.as_fd(), lowest).map(Binary)
    }

    /// Executes it without an environment, in a forked child. Returns only on failure.
    pub fn execute(&self, args: &[CString]) -> io::Error {
        let env: [CString; 0] = [];
        let Err(errno) = nix::unistd::execveat(Some(self.0.as_raw_fd()), c"", args, &env, AtFlags::AT_EMPTY_PATH);
        errno.into()
    }
}

impl AsFd for Binary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the kernel says of an open file, and nothing else.
fn is_protected(file: &impl AsFd) -> bool {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let read_only = fstatvfs(file.as_fd()).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY));
    // Fails on whatever is not in memory.
    let seals = fcntl(file.as_fd().as_raw_fd(), FcntlArg::F_GET_SEALS).unwrap_or(0);
    read_only || SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)
}

/// What we run from is on a mount of the namespace that we were executed in. In one of our own, such as an ordinary user
/// needs, it is found by its name, if that still leads to it.
fn read_only_bind() -> io::Result<OwnedFd> {
    let top = std::fs::File::open("/")?;
    let tree = match mount::clone_tree(top.as_fd(), c"/proc/self/exe", Extent::One, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let named = CString::new(std::fs::read_link(OURSELVES)?.into_os_string().into_encoded_bytes())?;
            mount::clone_tree(top.as_fd(), &named, Extent::One, 0)?
        }
        other => other?,
    };
    let (ours, found) = (std::fs::metadata(OURSELVES)?, fstat(tree.as_raw_fd())?);
    if (ours.dev(), ours.ino()) != (found.st_dev, found.st_ino) {
        return Err(io::Error::other("its name leads to another file by now"));
    }
    let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    mount::set_attributes(tree.as_fd(), Extent::One, attributes, None)?;
    Ok(tree)
}

/// For kernels and callers that may not bind: a copy in memory that nobody can change.
fn sealed_copy() -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
    let flags = MemFdCreateFlag::MFD_ALLOW_SEALING | MemFdCreateFlag::MFD_CLOEXEC;
    let copy = memfd_create(c"sandkeep", flags)?;
    let mut target = std::fs::File::from(copy);
    io::copy(&mut std::fs::File::open(OURSELVES)?, &mut target)?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    // On a busy machine the kernel may hold on to a page of it for a moment more than it waits for itself (EBUSY).
    let mut left = 50;
    while let Err(errno) = fcntl(target.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals)) {
        left -= 1;
        if errno != nix::Error::EBUSY || left == 0 {
            return Err(errno.into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    descriptors::set_close_on_exec(target.as_fd(), true)?;
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_is_protected_and_a_plain_file_is_not() {
        assert!(is_protected(&sealed_copy().unwrap()));
        assert!(!is_protected(&tempfile::tempfile().unwrap()));
    }

    #[test]
    fn what_is_executed_is_protected_one_way_or_the_other() {
        let binary = Binary::protected().unwrap();
        let path = format!("/proc/self/fd/{}", binary.as_fd().as_raw_fd());
        assert!(is_protected(&std::fs::File::open(path).unwrap()));
    }
}
