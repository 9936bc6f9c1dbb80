//! Large configurations: they are taken up to their limit, and cost what their size costs.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Env, needs_root};

/// Far above what each takes here, and far below what it took when it grew with the square.
const LONG: Duration = Duration::from_secs(60);

/// As many names as a list of an engine has. Without `socketcall`, through which 32-bit programs make some of them, it is libseccomp that
/// has to compile them.
const CALLS: &str = "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask \
    rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise dup dup2 pause \
    nanosleep getitimer alarm setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen \
    getsockname getpeername socketpair setsockopt getsockopt clone fork vfork execve exit wait4 kill uname fcntl flock fsync \
    fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink symlink readlink chmod fchmod \
    chown fchown lchown umask gettimeofday getrlimit getrusage sysinfo times getuid getgid setuid setgid geteuid getegid setpgid \
    getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid getpgid getsid capget \
    capset rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack utime mknod statfs fstatfs getpriority setpriority prctl \
    arch_prctl setrlimit sync chroot gettid futex getdents64 set_tid_address epoll_create1 epoll_ctl epoll_wait openat mkdirat \
    newfstatat unlinkat readlinkat faccessat faccessat2 ppoll pselect6 set_robust_list dup3 pipe2 prlimit64 getrandom execveat \
    statx rseq clone3 exit_group close_range landlock_create_ruleset semop shmget shmat msgget";

#[test]
fn a_configuration_of_thirty_megabytes_is_run_told_and_deleted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("large");
    let bundle = env.bundle().args(&["/bin/sleep", "1000"]).edit(|config| {
        let annotation = |number: usize| (format!("org.example.{number:05}"), json!("x".repeat(500)));
        config["annotations"] = (0..20_000).map(annotation).collect::<serde_json::Map<_, _>>().into();
        config["future"] = json!(vec![vec!["y".repeat(900); 10]; 1000]);
    });
    let size = fs::metadata(bundle.config_path()).unwrap().len();
    assert!(size > 18_000_000, "{size}");
    env.create(&bundle, &id).deadline(LONG).run().success();
    env.cmd(["start", &id]).deadline(LONG).run().success();
    let state = env.cmd(["state", &id]).deadline(LONG).run().success().json();
    assert_eq!(state["annotations"].as_object().unwrap().len(), 20_000);
    assert_eq!(state["annotations"]["org.example.19999"], "x".repeat(500));
    env.cmd(["exec", &id, "/bin/true"]).deadline(LONG).run().success();
    env.cmd(["update", "--pids-limit=100", &id]).deadline(LONG).run().success();
    env.cmd(["delete", "--force", &id]).deadline(LONG).run().success();
}

#[test]
fn what_is_larger_than_32_mebibytes_is_refused_with_that_number() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().edit(|config| config["future"] = json!("z".repeat(33 << 20)));
    let refused = env.run_bundle(&bundle, &env.id("larger")).deadline(LONG).run();
    refused.fails_with(1, &["config.json", &(32 << 20).to_string()]);
}

fn profile(rules: impl Iterator<Item = Value>) -> Value {
    let architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    let native = if cfg!(target_arch = "x86_64") { json!(architectures) } else { json!([]) };
    json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": native, "syscalls": rules.collect::<Vec<_>>()})
}

#[test]
fn a_profile_that_says_everything_fifty_times_is_compiled_at_once() {
    needs_root!();
    let env = Env::new();
    let names: Vec<&str> = CALLS.split_whitespace().cycle().take(2000).collect();
    let bundle = env.bundle().script("echo ran; mount -t tmpfs x /tmp 2>/dev/null || echo denied").edit(|config| {
        config["linux"]["seccomp"] = profile((0..50).map(|_| json!({"names": names, "action": "SCMP_ACT_ALLOW"})));
    });
    env.run_bundle(&bundle, &env.id("fifty")).deadline(LONG).run().success().prints("ran\ndenied\n");
}

#[test]
fn a_profile_that_no_filter_can_hold_is_refused_at_once() {
    needs_root!();
    let env = Env::new();
    let names: Vec<&str> = CALLS.split_whitespace().collect();
    let bundle = env.bundle().edit(|config| {
        let args = |value: u64| json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
        let rule = |value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args(value)});
        config["linux"]["seccomp"] = profile((0..50).map(rule));
    });
    let refused = env.run_bundle(&bundle, &env.id("long")).deadline(LONG).run();
    refused.fails_with(1, &["seccomp profile needs", "4096", "give fewer rules"]);
}

#[test]
fn thousands_of_mounts_devices_groups_and_masks_are_made() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("id -G | wc -w; ls /dev | grep -c ^d; grep -c ' /same ' /proc/self/mounts");
    let bundle = bundle.edit(|config| {
        let device = |n: usize| json!({"path": format!("/dev/d{n}"), "type": "c", "major": 1, "minor": 3});
        let mount = |_| json!({"destination": "/same", "type": "tmpfs", "source": "tmpfs"});
        config["linux"]["devices"] = (0..8000).map(device).collect();
        config["process"]["user"]["additionalGids"] = (1..60_000).collect();
        config["linux"]["maskedPaths"] = json!(vec!["/proc/keys"; 10_000]);
        config["mounts"].as_array_mut().unwrap().extend((0..2000).map(mount));
    });
    env.run_bundle(&bundle, &env.id("many")).deadline(LONG).run().success().prints("60000\n8000\n2000\n");
}
