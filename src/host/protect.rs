//! The binary, protected from the containers it sets up (CVE-2019-5736).
//!
//! A container's root can open /proc/PID/exe of a process that is still, or again, this program, and write to the file
//! behind it. So commands that fork into containers first execute themselves from a read-only detached bind mount of
//! their own binary: every way to it that a container can find is read-only, and nothing is copied.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::AtFlags;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::sys::descriptors;
use crate::sys::mount::{self, Attributes, Extent};

const OURSELVES: &str = "/proc/self/exe";

/// Returns when this process already runs from a read-only mount, or when no container could write to its binary anyway
/// (we are not root). Otherwise it executes itself anew from one.
pub fn from_overwriting() -> io::Result<()> {
    let read_only = statvfs(OURSELVES).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY));
    if read_only || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let image = match read_only_bind() {
        Ok(tree) => tree,
        Err(_) => sealed_copy()?,
    };
    if std::env::var_os(ALREADY).is_some() {
        return Ok(());
    }
    let args: Vec<CString> = std::env::args_os().map(c_string).collect::<io::Result<_>>()?;
    let mut env: Vec<CString> = std::env::vars_os()
        .map(|(key, value)| {
            let mut pair = key;
            pair.push("=");
            pair.push(value);
            c_string(pair)
        })
        .collect::<io::Result<_>>()?;
    env.push(CString::new(format!("{ALREADY}=1")).map_err(io::Error::other)?);
    let Err(errno) = nix::unistd::execveat(Some(image.as_raw_fd()), c"", &args, &env, AtFlags::AT_EMPTY_PATH);
    Err(errno.into())
}

/// Marks the second start: a sealed copy is not on a read-only mount, and must not be copied again.
const ALREADY: &str = "_SANDKEEP_PROTECTED";

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
