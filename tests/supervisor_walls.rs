//! What stands around a supervisor beside its namespaces and its one capability (supervisor_death.rs, supervisor_process.rs).

mod common;

use common::filter::{ALLOWED, Filter, refused};
use common::{Env, cgroup, needs_root};
use sandkeep::boot::filter;

#[test]
fn memory_is_never_mapped_executable_once_the_loop_runs() {
    let filter = Filter::of(&filter::profile());
    for call in ["mmap", "mprotect"] {
        for (protection, wanted) in [
            (libc::PROT_NONE, ALLOWED),
            (libc::PROT_READ | libc::PROT_WRITE, ALLOWED),
            (libc::PROT_EXEC, refused(libc::ENOSYS)),
            (libc::PROT_READ | libc::PROT_EXEC, refused(libc::ENOSYS)),
            (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, refused(libc::ENOSYS)),
        ] {
            // Whatever the other arguments are, and whatever lies above the bits that the kernel knows.
            for others in [0, 7, u64::MAX] {
                let arguments = [others, others, protection as u64, others, others, others];
                assert_eq!(filter.native(call, arguments), wanted, "{call} {protection}");
            }
        }
    }
    for call in [
        "pkey_mprotect",
        "memfd_create",
        "execve",
        "execveat",
        "clone",
        "clone3",
        "fork",
        "open",
        "openat",
        "socket",
        "connect",
        "ptrace",
        "process_vm_writev",
        "unshare",
        "setns",
        "mount",
        "io_uring_setup",
        "shmat",
        "remap_file_pages",
    ] {
        let number = libseccomp::ScmpSyscall::from_name(call).unwrap().as_raw_syscall();
        if number >= 0 {
            assert_eq!(filter.native(call, [0; 6]), refused(libc::ENOSYS), "{call}");
        }
    }
}

#[test]
fn what_a_supervisor_can_be_driven_to_is_limited() {
    needs_root!();
    let env = Env::new();
    let id = env.id("limited");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let supervisor = env.supervisor(&id);
    assert_eq!(cgroup::limit(supervisor, "pids"), "16");
    assert_eq!(cgroup::limit(supervisor, "memory"), "268435456");
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}
