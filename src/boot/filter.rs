//! The system calls that the loop needs, and no other.
//!
//! What is not on the list answers ENOSYS and does not kill: a C library that tries something newer then falls back on
//! what it knows, and a mistake in this list costs one call and not the whole sandbox, whose pid 1 this is.

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use super::confine::ConfineError;
use crate::sys::pidfd;

/// The loop and its sockets; processes; memory; a clean end, or a panic's.
const ALLOWED: &[&str] = &[
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "poll",
    "ppoll",
    "accept4",
    "recvmsg",
    "sendmsg",
    "recvfrom",
    "sendto",
    "getsockopt",
    "read",
    "write",
    "writev",
    "pwrite64",
    "lseek",
    "close",
    "fcntl",
    "waitid",
    "wait4",
    "pidfd_send_signal",
    "clock_gettime",
    "gettimeofday",
    "getrandom",
    "restart_syscall",
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "getpid",
    "gettid",
    "tgkill",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "exit",
    "exit_group",
];

/// The same, as long as their third argument does not ask for memory that can be executed: no code comes to what was
/// there when the filter was installed, whatever a client may find wrong in it. (The C library and the allocator ask for
/// none; a program that is not static has its libraries by then.)
const ALLOWED_WITHOUT_EXEC: &[&str] = &["mmap", "mprotect"];

/// Call last: from here on not even a folder can be opened.
pub fn install() -> Result<(), ConfineError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(libc::ENOSYS))?;
    for name in ALLOWED {
        // Not every name is a system call of every architecture.
        if let Ok(call) = ScmpSyscall::from_name(name)
            && i32::from(call) >= 0
        {
            filter.add_rule(ScmpAction::Allow, call)?;
        }
    }
    let no_exec = ScmpArgCompare::new(2, ScmpCompareOp::MaskedEqual(libc::PROT_EXEC as u64), 0);
    for name in ALLOWED_WITHOUT_EXEC {
        filter.add_rule_conditional(ScmpAction::Allow, ScmpSyscall::from_name(name)?, &[no_exec])?;
    }
    let exit_info = ScmpArgCompare::new(1, ScmpCompareOp::MaskedEqual(0xffff_ffff), pidfd::GET_INFO & 0xffff_ffff);
    filter.add_rule_conditional(ScmpAction::Allow, ScmpSyscall::from_name("ioctl")?, &[exit_info])?;
    filter.load()?;
    Ok(())
}
