//! The system calls that the loop needs, and no other.
//!
//! What is not on the list answers ENOSYS and does not kill: a C library that tries something newer then falls back on
//! what it knows, and a mistake in this list costs one call and not the whole sandbox, whose pid 1 this is.
//!
//! Memory is writable or executable, and what is mapped from now on is never executable: whoever takes over the loop by a
//! message finds no place to put code of their own.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

use super::confine::ConfineError;
use crate::container::seccomp::compile;
use crate::sys::{pidfd, seccomp};

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

/// Call last: from here on not even a folder can be opened.
pub fn install() -> Result<(), ConfineError> {
    let program = compile(&profile())?;
    seccomp::load(&program.bpf, 0)
        .map_err(|source| ConfineError::Step { step: "load its system call filter", source })?;
    Ok(())
}

/// The list with its conditions. Not every name is a system call of every architecture.
pub fn profile() -> LinuxSeccomp {
    let not_executable = |name| allowed_if(name, 2, libc::PROT_EXEC as u64, 0);
    let exit_info = allowed_if("ioctl", 1, 0xffff_ffff, pidfd::GET_INFO & 0xffff_ffff);
    let rules = vec![allowed(ALLOWED), not_executable("mmap"), not_executable("mprotect"), exit_info];
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(Action::ScmpActErrno);
    profile.set_default_errno_ret(Some(libc::ENOSYS as u32));
    profile.set_syscalls(Some(rules));
    profile
}

fn allowed(names: &[&str]) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect());
    rule.set_action(Action::ScmpActAllow);
    rule
}

/// Allowed where these bits of an argument have this value.
fn allowed_if(name: &str, argument: usize, bits: u64, value: u64) -> LinuxSyscall {
    let operator = LinuxSeccompOperator::ScmpCmpMaskedEq;
    let condition = LinuxSeccompArgBuilder::default().index(argument).op(operator).value(bits).value_two(value).build();
    let mut rule = allowed(&[name]);
    rule.set_args(Some(vec![condition.expect("every part of a condition has a default")]));
    rule
}
