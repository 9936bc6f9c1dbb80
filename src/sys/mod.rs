//! The kernel edge: typed system calls, `OwnedFd` in and out. The only `unsafe` of the crate lives in this folder, a
//! line or two a block, each with its reason. What `nix` already wraps is used from `nix`, where it is needed.

#![allow(unsafe_code)]

pub mod bpf;
pub mod carried;
pub mod clone;
pub mod descriptor_limit;
pub mod descriptors;
pub mod image;
pub mod interrupt;
pub mod memory;
pub mod mode;
pub mod mount;
pub mod mountinfo;
pub mod netlink;
pub mod open;
pub mod patience;
pub mod pidfd;
pub mod place;
pub mod poller;
pub mod privilege;
pub mod process;
pub mod procfs;
pub mod random;
pub mod ready;
pub mod sched;
pub mod seccomp;
pub mod seqpacket;
pub mod signals;
pub mod text;
pub mod told;
pub mod tty;
pub mod umask;
pub mod user_namespace;

use std::io;

/// The result of a system call that returns -1 and sets errno on failure.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
