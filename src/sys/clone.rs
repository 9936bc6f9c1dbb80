//! clone3(2), and clone(2) where a filter knows only that: a child with namespaces, a pidfd, a cgroup and a parent of our choice.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::check;

/// Who the child's parent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    /// The caller.
    Me,
    /// The caller's own parent (CLONE_PARENT). The child inherits the caller's exit signal.
    Mine,
}

/// Which side of a clone(2) this is.
#[derive(Debug)]
pub enum Cloned {
    /// The new process. Of the old one's threads only this one is here.
    Child,
    /// The caller; `pid` as in its own PID namespace.
    #[allow(missing_docs)]
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Forks with new namespaces (CLONE_NEW* bits), optionally straight into a v2 cgroup.
///
/// The caller must have a single thread: the child gets a copy of memory in which the locks of other threads stay locked
/// for ever. The store's threads are therefore started only after everything is forked.
pub fn clone(namespaces: i32, parent: Parent, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces as u32 as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &mut pidfd as *mut i32 as u64,
        ..CloneArgs::default()
    };
    match parent {
        Parent::Me => args.exit_signal = libc::SIGCHLD as u64,
        // With CLONE_PARENT the kernel wants 0 and copies the caller's (clone(2)).
        Parent::Mine => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack given this is fork(2); `args` and `pidfd` outlive the call.
    let pid = match check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) }) {
        // A filter that lets only that pass of which it sees the flags, as docker's does for whoever lacks CAP_SYS_ADMIN:
        // hooks inside a container are run under it.
        Err(error)
            if cgroup.is_none()
                && args.flags & CLONE2_SIGNAL == 0
                && matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) =>
        {
            by_clone2(args.flags, args.exit_signal, &mut pidfd)
        }
        other => other,
    };
    let pid = pid.map_err(explained)?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else knows it.
    Ok(Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Where clone(2) has the exit signal among its flags, and so no room for CLONE_NEWTIME.
const CLONE2_SIGNAL: u64 = 0xff;

/// The same by clone(2).
fn by_clone2(flags: u64, exit_signal: u64, pidfd: &mut i32) -> io::Result<i64> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM and with no stack given this is fork(2). The third argument is where CLONE_PIDFD writes, on
    // every architecture whose first one is the flags; `pidfd` outlives the call.
    check(unsafe { libc::syscall(libc::SYS_clone, flags | exit_signal, none, pidfd as *mut i32, none, none) })
}

/// Two of its errors name nothing that one could do something about (clone(2), namespaces(7)).
fn explained(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            "no more processes may be made: a limit is reached, of a cgroup or of one above it (pids.max), or of the user \
             (ulimit -u)"
        }
        Some(libc::ENOSPC) => "no more namespaces may be made: a limit in /proc/sys/user (max_*_namespaces) is reached",
        _ => return error,
    };
    io::Error::new(error.kind(), why)
}

/// Which side of a fork(2) this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new process.
    Child,
    /// The caller, with the child's pid.
    Parent(i32),
}

/// fork(2) as the C library has it, for a process under a filter that knows no clone3(2). Of a process with one thread.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: with one thread, no lock can be held by another one; the child may do what its parent may.
    match check(unsafe { libc::fork() }.into()).map_err(explained)? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// kill(2), of a child that has not been reaped: its number is no other's.
pub fn kill(child: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::kill(child, signal) }.into()).map(drop)
}

/// Ends this process at once: no destructors, no buffers flushed. The only way out of a forked child.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes no memory and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    #[test]
    fn a_cloned_child_is_ours_to_wait_for() {
        match clone(0, Parent::Me, None).unwrap() {
            Cloned::Child => exit_now(7),
            Cloned::Parent { pid, .. } => {
                assert_eq!(waitpid(Pid::from_raw(pid), None).unwrap(), WaitStatus::Exited(Pid::from_raw(pid), 7));
            }
        }
    }
}
