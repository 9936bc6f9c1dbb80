//! The binary, protected from the containers it sets up (CVE-2019-5736).
//!
//! A container's root can open /proc/PID/exe of a process that is still, or again, this program, and write to the file
//! behind it. So commands that fork into containers first execute themselves from a read-only detached bind mount of
//! their own binary: every way to it that a container can find is read-only, and nothing is copied. Where that cannot be,
//! from a sealed copy in memory. Only what the kernel says of the file counts as protected.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::AtFlags;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::sys::descriptors;
use crate::sys::mount::{self, Attributes, Extent};

const OURSELVES: &str = "/proc/self/exe";

/// Returns when this process already runs from a read-only mount or a sealed copy. Otherwise it executes itself anew from
/// one.
pub fn from_overwriting() -> io::Result<()> {
    if is_protected(&std::fs::File::open(OURSELVES)?) {
        return Ok(());
    }
    // execve keeps the pid, so only a second start of this very process can find its own number here.
    let second = std::process::id().to_string();
    if std::env::var_os(SECOND_START).is_some_and(|of| of == *second) {
        return Err(io::Error::other("it can be written to, also after it was executed anew"));
    }
    let image = match read_only_bind() {
        Ok(tree) => tree,
        Err(_) => sealed_copy()?,
    };
    let args: Vec<CString> = std::env::args_os().map(c_string).collect::<io::Result<_>>()?;
    let mut env: Vec<CString> = std::env::vars_os()
        .filter(|(key, _)| key != SECOND_START)
        .map(|(key, value)| {
            let mut pair = key;
            pair.push("=");
            pair.push(value);
            c_string(pair)
        })
        .collect::<io::Result<_>>()?;
    env.push(CString::new(format!("{SECOND_START}={second}")).map_err(io::Error::other)?);
    let Err(errno) = nix::unistd::execveat(Some(image.as_raw_fd()), c"", &args, &env, AtFlags::AT_EMPTY_PATH);
    Err(errno.into())
}

/// Holds the pid of the process that has executed itself anew. It says nothing about protection: it only ends a loop.
const SECOND_START: &str = "_SANDKEEP_SECOND_START";

/// What the kernel says of an open file, and nothing else.
fn is_protected(file: &impl AsFd) -> bool {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let read_only = fstatvfs(file.as_fd()).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY));
    // Fails on whatever is not in memory.
    let seals = fcntl(file.as_fd().as_raw_fd(), FcntlArg::F_GET_SEALS).unwrap_or(0);
    read_only || SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE)
}

fn read_only_bind() -> io::Result<OwnedFd> {
    let top = std::fs::File::open("/")?;
    let tree = mount::clone_tree(top.as_fd(), c"/proc/self/exe", Extent::One, 0)?;
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
    fcntl(target.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    descriptors::set_close_on_exec(target.as_fd(), true)?;
    Ok(target.into())
}

fn c_string(text: std::ffi::OsString) -> io::Result<CString> {
    CString::new(text.into_encoded_bytes()).map_err(io::Error::other)
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
    fn a_read_only_bind_is_protected_without_a_copy() {
        match read_only_bind() {
            Ok(tree) => {
                let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
                assert!(is_protected(&std::fs::File::open(path).unwrap()));
            }
            Err(error) => eprintln!("skipped: not root: {error}"),
        }
    }
}
