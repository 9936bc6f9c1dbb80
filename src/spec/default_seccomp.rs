//! The seccomp profile of containers that bring none: what `spec` writes and what `do` runs under.
//!
//! It is a list of what may be called; all else answers EPERM. It decides as the profile that docker and containerd ship
//! today (moby's of 2026), which is stricter than podman's: `tests/kernel/default_profile.rs` holds it beside podman's, call by
//! call, and names each difference. In short:
//! * what an ordinary program calls is allowed, by name;
//! * what only serves a capability is allowed to whoever has that capability in its bounding set;
//! * new namespaces need CAP_SYS_ADMIN: clone(2) may not have their flags, and clone3(2), whose flags lie in memory where
//!   no filter can look, does not exist (ENOSYS), so that a C library falls back to clone;
//! * sockets of two families are refused: AF_ALG, the kernel's cryptography, which next to nobody uses and which has been a
//!   way to root; AF_VSOCK, which leads to the host of a virtual machine and knows no network namespaces;
//! * what has been a way out before and that few need is not there: io_uring, userfaultfd, keyrings, bpf(2), kexec.
//!
//! socketcall(2) of 32-bit x86 has its arguments in memory, too, and is allowed: there the families are not refused.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

/// Which programs the profile knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abis {
    /// Those of the machine and its older kin, as callers have it: x86-64 also runs x86 and x32.
    All,
    /// The machine's own alone; a call by any other ABI ends the thread that makes it. What is left out need not be held.
    Native,
}

/// The profile for a process whose bounding set holds these capabilities, by name ("CAP_SYS_ADMIN").
pub fn default_seccomp(capabilities: &[&str], abis: Abis) -> LinuxSeccomp {
    profile(capabilities, abis, std::env::consts::ARCH)
}

fn profile(capabilities: &[&str], abis: Abis, machine: &str) -> LinuxSeccomp {
    let has = |capability: &str| capabilities.contains(&capability);
    let mut rules: Vec<LinuxSyscall> = EVERYBODY.iter().map(|names| allow(names)).collect();
    rules.extend(OF_ONE_MACHINE.iter().filter(|(of, _)| *of == machine).map(|(_, names)| allow(names)));
    rules.extend(PERSONALITIES.iter().map(|value| allow_if("personality", Operator::ScmpCmpEq, *value)));
    rules.push(allow_if("socket", Operator::ScmpCmpLt, AF_ALG));
    rules.extend(FAMILIES_BEHIND.iter().map(|family| allow_if("socket", Operator::ScmpCmpEq, *family)));
    if !has("CAP_SYS_ADMIN") {
        rules.push(allow_if("clone", Operator::ScmpCmpMaskedEq, NAMESPACES));
        let mut clone3 = rule("clone3", Action::ScmpActErrno);
        clone3.set_errno_ret(Some(libc::ENOSYS as u32));
        rules.push(clone3);
    }
    rules.extend(OF_A_CAPABILITY.iter().filter(|(capability, _)| has(capability)).map(|(_, names)| allow(names)));
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(Action::ScmpActErrno);
    profile.set_default_errno_ret(Some(libc::EPERM as u32));
    profile.set_architectures(Some(architectures(abis, machine)));
    profile.set_syscalls(Some(rules));
    profile
}

fn architectures(abis: Abis, machine: &str) -> Vec<Arch> {
    let all = match machine {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        // The compiler adds what it runs on.
        _ => vec![Arch::ScmpArchNative],
    };
    let wanted = if abis == Abis::All { all.len() } else { 1 };
    all.into_iter().take(wanted).collect()
}

fn rule(names: &str, action: Action) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.split_ascii_whitespace().map(str::to_owned).collect());
    rule.set_action(action);
    rule
}

fn allow(names: &str) -> LinuxSyscall {
    rule(names, Action::ScmpActAllow)
}

/// Allowed where the first argument compares so.
fn allow_if(name: &str, op: Operator, value: u64) -> LinuxSyscall {
    let condition = LinuxSeccompArgBuilder::default().index(0_usize).op(op).value(value).value_two(0_u64).build();
    let mut allowed = allow(name);
    allowed.set_args(Some(vec![condition.expect("every part of a condition has a default")]));
    allowed
}

/// Families of sockets (socket(2)): all before AF_ALG, and of those behind it each by its number. "All but AF_VSOCK" would be
/// no rule: a filter sees 64 bits and the kernel takes 32 of them, so that 2^32 + AF_VSOCK is another number and the same
/// family.
const AF_ALG: u64 = libc::AF_ALG as u64;
const FAMILIES_BEHIND: [u64; 6] = [
    libc::AF_NFC as u64,
    /* AF_KCM */ 41,
    /* AF_QIPCRTR */ 42,
    /* AF_SMC */ 43,
    libc::AF_XDP as u64,
    /* AF_MCTP */ 45,
];

/// What clone(2) may not make anew: all namespaces but that of time, whose flag means something else there.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// PER_LINUX and PER_LINUX32, each also with UNAME26, and "tell me mine" (personality(2)). Others switch protections off,
/// such as random addresses.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// By what they are about. A name that a machine or an ABI does not have is skipped there.
const EVERYBODY: &[&str] = &[
    // Opening, reading and writing.
    "open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev \
     pwritev2 lseek _llseek sendfile sendfile64 copy_file_range splice tee vmsplice dup dup2 dup3 pipe pipe2 fcntl \
     fcntl64 flock ioctl memfd_create memfd_secret",
    // Names and folders.
    "chdir fchdir getcwd getdents getdents64 mkdir mkdirat rmdir link linkat symlink symlinkat readlink readlinkat \
     unlink unlinkat rename renameat renameat2 mknod mknodat name_to_handle_at umask",
    // What is known of a file, and whose it is.
    "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 \
     fstatfs fstatfs64 statmount listmount chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat \
     lchown lchown32 utime utimes utimensat utimensat_time64 futimesat getxattr lgetxattr fgetxattr getxattrat \
     setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr listxattrat removexattr lremovexattr \
     fremovexattr removexattrat",
    // Lengths, caches and the way to the disk.
    "truncate truncate64 ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 readahead cachestat sync syncfs \
     fsync fdatasync sync_file_range",
    // Waiting for files, and being told.
    "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl \
     epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 \
     inotify_add_watch inotify_rm_watch fanotify_mark",
    // The old asynchronous input and output; not io_uring.
    "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set",
    // Memory.
    "brk mmap mmap2 munmap mremap remap_file_pages mprotect pkey_alloc pkey_free pkey_mprotect mseal madvise \
     mincore msync mlock mlock2 mlockall munlock munlockall membarrier map_shadow_stack get_thread_area \
     set_thread_area",
    // Processes and threads. clone has rules of its own.
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid set_tid_address getpgid \
     getpgrp setpgid getsid setsid prctl pidfd_open pidfd_send_signal process_mrelease ptrace process_vm_readv \
     process_vm_writev uretprobe restart_syscall rseq riscv_hwprobe",
    // Locks between threads.
    "futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue get_robust_list set_robust_list",
    // Who one is. The kernel asks for the capabilities.
    "getuid getuid32 geteuid geteuid32 getresuid getresuid32 getgid getgid32 getegid getegid32 getresgid \
     getresgid32 getgroups getgroups32 setuid setuid32 setreuid setreuid32 setresuid setresuid32 setfsuid \
     setfsuid32 setgid setgid32 setregid setregid32 setresgid setresgid32 setfsgid setfsgid32 setgroups setgroups32 \
     capget capset",
    // Limiting oneself further.
    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    // Signals.
    "kill tkill tgkill pause alarm sigaltstack sigprocmask sigreturn signalfd signalfd4 rt_sigaction rt_sigpending \
     rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64",
    // Scheduling, limits, what was used.
    "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam \
     sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval \
     sched_rr_get_interval_time64 getcpu getpriority setpriority getrlimit ugetrlimit setrlimit prlimit64 getrusage \
     times sysinfo uname getrandom",
    // Time. Setting the clock takes CAP_SYS_TIME: adjtimex also only reads it.
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 adjtimex clock_adjtime \
     clock_adjtime64 nanosleep clock_nanosleep clock_nanosleep_time64 getitimer setitimer timer_create timer_delete \
     timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
     timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Sockets that are there. Making one has rules of its own.
    "socketpair socketcall bind connect listen accept accept4 shutdown getsockname getpeername getsockopt \
     setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
    // System V and POSIX, each within the IPC namespace.
    "ipc semget semctl semop semtimedop semtimedop_time64 shmget shmctl shmat shmdt msgget msgctl msgsnd msgrcv \
     mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive \
     mq_timedreceive_time64",
];

/// What only some machines have.
const OF_ONE_MACHINE: &[(&str, &str)] = &[
    ("x86_64", "arch_prctl modify_ldt"),
    ("aarch64", "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    ("powerpc64", "sync_file_range2 swapcontext"),
    ("riscv64", "riscv_flush_icache"),
];

/// What a capability opens. Without it the kernel would mostly refuse as well: this keeps its code out of reach.
const OF_A_CAPABILITY: &[(&str, &str)] = &[
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];
