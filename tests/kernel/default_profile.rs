//! The seccomp profile that `spec` writes: what it decides, beside podman's and docker's, call by call; and that a container started the
//! README's way lives under it.

use std::fs;
use std::path::Path;

use crate::filter::{ABIS, ALLOWED, Comparison, Filter, KILLED, NATIVE, refused};
use oci_spec::runtime::LinuxSeccomp;
use sandkeep::spec::{Abis, default_seccomp};
use serde_json::{Value, json};
use support::engines::image::NAME as IMAGE;
use support::engines::{Docker, Engine, needs_engine};
use support::{Cmd, Env, needs_root, skipped};

/// Of Debian's golang-github-containers-common.
const PODMANS: &str = "/usr/share/containers/seccomp.json";

fn ours(capabilities: &[&str], abis: Abis) -> Filter {
    Filter::of(&default_seccomp(capabilities, abis))
}

/// What podman would write for a container with these capabilities on x86-64 (containers/common, pkg/seccomp).
fn podmans(capabilities: &[&str]) -> LinuxSeccomp {
    let mut document: Value = serde_json::from_slice(&fs::read(PODMANS).unwrap()).unwrap();
    let has = |list: &Value, of: &[&str]| {
        let list: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (list.iter().all(|one| of.contains(one)), list.iter().any(|one| of.contains(one)))
    };
    let applies = |rule: &Value| {
        let machine = &rule["includes"]["arches"];
        has(&rule["includes"]["caps"], capabilities).0
            && (machine.as_array().is_none_or(Vec::is_empty) || has(machine, &["amd64"]).1)
            && !has(&rule["excludes"]["caps"], capabilities).1
            && !has(&rule["excludes"]["arches"], &["amd64"]).1
    };
    let rules = document["syscalls"].as_array().unwrap().iter().filter(|rule| applies(rule));
    let part = |rule: &Value| json!({"names": rule["names"], "action": rule["action"], "errnoRet": rule["errnoRet"], "args": rule["args"]});
    let rules: Vec<Value> = rules.map(part).collect();
    let errno = document["defaultErrnoRet"].take();
    serde_json::from_value(json!({
        "defaultAction": document["defaultAction"],
        "defaultErrnoRet": errno,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }))
    .unwrap()
}

/// Where we differ from podman's profile of Debian 12, and why. Ours is docker's.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "clone clone3 unshare setns",
        "only podman lets a container make namespaces of its own: docker does not, since much of the kernel that was written \
         for root alone can be reached from a new user namespace",
    ),
    (
        "mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick pivot_root",
        "the same: mounts take CAP_SYS_ADMIN, which is had in a new user namespace. pivot_root is nobody's",
    ),
    ("keyctl", "keys know no namespaces but that of users; docker refuses all three calls"),
    ("get_mempolicy mbind set_mempolicy set_mempolicy_home_node", "docker wants CAP_SYS_NICE for them"),
    ("reboot", "only within a PID namespace harmless; docker wants CAP_SYS_BOOT"),
    ("syslog", "the kernel's messages are the host's; docker wants CAP_SYSLOG or CAP_SYS_ADMIN"),
    ("pidfd_getfd", "takes descriptors out of other processes; docker wants CAP_SYS_PTRACE, as for kcmp"),
    (
        "readdir sigaction signal sigpending sigsuspend",
        "of 32-bit x86, replaced in the nineties by getdents and the calls with rt_; not in docker's list",
    ),
    (
        "socket",
        "AF_ALG and AF_VSOCK, and families without a number yet, are refused as docker refuses them; podman refuses audit messages \
         without CAP_AUDIT_WRITE (EINVAL), where the kernel does so itself",
    ),
    ("bpf perf_event_open", "CAP_BPF and CAP_PERFMON are newer than podman's profile, which wants CAP_SYS_ADMIN"),
    ("quotactl_fd", "newer than podman's profile: with quotactl, for CAP_SYS_ADMIN"),
    ("vmsplice io_pgetevents io_pgetevents_time64", "refused by name by podman 4; docker and later podmans allow them"),
    ("query_module", "not in Linux since 2.6"),
    (
        "futex_waitv futex_wait futex_wake futex_requeue cachestat fchmodat2 map_shadow_stack statmount listmount mseal \
         setxattrat getxattrat listxattrat removexattrat uretprobe riscv_hwprobe lsm_get_self_attr lsm_set_self_attr \
         lsm_list_modules",
        "newer than podman's profile",
    ),
];

#[test]
fn every_difference_from_podmans_profile_has_its_reason() {
    if cfg!(not(target_arch = "x86_64")) {
        skipped!("the ABIs of x86-64 are compared");
    }
    if !Path::new(PODMANS).exists() {
        assert!(std::env::var_os("SANDKEEP_REQUIRE_ENGINES").is_none(), "{PODMANS} is missing");
        skipped!("{PODMANS} is not there: install golang-github-containers-common");
    }
    let alone = [
        "CAP_SYS_ADMIN",
        "CAP_BPF",
        "CAP_DAC_READ_SEARCH",
        "CAP_PERFMON",
        "CAP_SYSLOG",
        "CAP_SYS_BOOT",
        "CAP_SYS_CHROOT",
        "CAP_SYS_MODULE",
        "CAP_SYS_NICE",
        "CAP_SYS_PACCT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_AUDIT_WRITE",
    ];
    let sets = [&[][..], &alone].into_iter().chain(alone.iter().map(std::slice::from_ref));
    let mut all = Comparison::default();
    for capabilities in sets {
        all.add(&default_seccomp(capabilities, Abis::All), &podmans(capabilities));
    }
    assert!(all.compared > 40_000, "enough that it means something: {}", all.compared);
    all.is_explained_by(DIFFERENCES);
}

#[test]
fn namespaces_cannot_be_made_without_cap_sys_admin_and_clone3_looks_absent() {
    let filter = ours(&["CAP_KILL"], Abis::Native);
    for flag in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        let flags = flag as u64 | libc::SIGCHLD as u64;
        assert_eq!(filter.native("clone", [flags, 0, 0, 0, 0, 0]), refused(libc::EPERM), "{flag:#x}");
    }
    let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_SETTLS;
    assert_eq!(filter.native("clone", [thread as u64, 0, 0, 0, 0, 0]), ALLOWED);
    // Whatever lies where its argument points to.
    assert_eq!(filter.native("clone3", [0; 6]), refused(libc::ENOSYS));
    for call in [
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "bpf",
        "keyctl",
        "add_key",
        "io_uring_setup",
        "userfaultfd",
        "kexec_load",
        "open_by_handle_at",
        "init_module",
        "chroot",
        "swapon",
        "reboot",
    ] {
        assert_eq!(filter.native(call, [0; 6]), refused(libc::EPERM), "{call}");
    }
    let filter = ours(&["CAP_SYS_ADMIN"], Abis::Native);
    for call in ["clone", "clone3", "unshare", "setns", "mount", "umount2", "bpf"] {
        assert_eq!(filter.native(call, [libc::CLONE_NEWUSER as u64; 6]), ALLOWED, "{call}");
    }
    for call in ["pivot_root", "keyctl", "io_uring_setup", "userfaultfd", "kexec_load"] {
        assert_eq!(filter.native(call, [0; 6]), refused(libc::EPERM), "{call}");
    }
}

/// The kernel takes the lower half of the number alone: 2^32 + AF_VSOCK makes an AF_VSOCK socket.
#[test]
fn refused_families_of_sockets_stay_refused_however_they_are_spelled() {
    let filter = ours(&[], Abis::All);
    let socket = |family: u64| filter.native("socket", [family, libc::SOCK_STREAM as u64, 0, 0, 0, 0]);
    for family in [libc::AF_ALG, libc::AF_VSOCK] {
        for upper in [0, 1 << 32, 1 << 63, u64::MAX << 32] {
            assert_eq!(socket(family as u64 | upper), refused(libc::EPERM), "{family} {upper:#x}");
        }
    }
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_XDP] {
        assert_eq!(socket(family as u64), ALLOWED, "{family}");
    }
}

#[test]
fn a_call_by_another_abi_ends_its_thread_where_only_the_native_one_is_known() {
    let filter = ours(&[], Abis::Native);
    assert_eq!(filter.native("getpid", [0; 6]), ALLOWED);
    for (_, audit, bit) in ABIS {
        if (audit, bit) != (NATIVE, 0) {
            assert_eq!(filter.asked(audit, 20 | bit, [0; 6]), KILLED, "{audit:#x} {bit:#x}");
        }
    }
}

/// Where the profile of docker 20.10 and ours differ, and why.
const NEWER_PROFILE: &[(&str, &str)] = &[
    ("io_uring_setup io_uring_enter io_uring_register", "refused by later dockers: it has been a way out too often"),
    ("socket", "AF_VSOCK and AF_ALG are refused by later dockers; families without a number are nobody's"),
    (
        "name_to_handle_at",
        "allowed by later dockers: a name for a file, with which only open_by_handle_at does anything",
    ),
    ("process_vm_readv process_vm_writev", "allowed by later dockers, like ptrace: the kernel asks the same for both"),
    ("clock_settime64", "for CAP_SYS_TIME, on 32 bits, as clock_settime is: not in docker 20.10's list"),
    ("pkey_alloc pkey_free pkey_mprotect", "allowed by later dockers: keys of the caller's own memory"),
    (
        "cachestat fchmodat2 futex_wait futex_wake futex_requeue map_shadow_stack set_mempolicy_home_node statmount \
         listmount mseal setxattrat getxattrat listxattrat removexattrat uretprobe riscv_hwprobe lsm_get_self_attr \
         lsm_set_self_attr lsm_list_modules",
        "newer than docker 20.10",
    ),
];

/// What docker writes into a configuration, beside what `spec` would write for the same capabilities.
#[test]
fn the_profile_that_docker_hands_over_decides_as_ours_but_for_what_is_newer() {
    needs_engine!("dockerd", "containerd", "docker");
    if cfg!(not(target_arch = "x86_64")) {
        skipped!("the ABIs of x86-64 are compared");
    }
    let docker = Docker::start();
    let mut all = Comparison::default();
    for (name, flags) in [("plain", &[][..]), ("admin", &["--cap-add", "SYS_ADMIN"]), ("every", &["--cap-add", "ALL"])]
    {
        let name = docker.detached(&format!("profile-{name}"), flags.iter().copied().chain([IMAGE, "sleep", "1000"]));
        let id = docker.inspect(&name)["Id"].as_str().expect("an id").to_owned();
        let state = docker.runtime(["state", &id]).success().json();
        let file = Path::new(state["bundle"].as_str().expect("a bundle")).join("config.json");
        let config: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let theirs = serde_json::from_value(config["linux"]["seccomp"].clone()).unwrap();
        let bounding = config["process"]["capabilities"]["bounding"].as_array().unwrap();
        let bounding: Vec<&str> = bounding.iter().filter_map(serde_json::Value::as_str).collect();
        all.add(&sandkeep::spec::default_seccomp(&bounding, sandkeep::spec::Abis::All), &theirs);
        docker.remove(&name);
    }
    assert!(all.compared > 5_000, "{}", all.compared);
    all.is_explained_by(NEWER_PROFILE);
}

/// The README's way: `spec`, a rootfs, `run`; nothing taken out.
#[test]
fn a_container_that_spec_describes_lives_under_the_profile() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    fs::remove_file(bundle.config_path()).unwrap();
    Cmd::new(env.binary()).args(["spec", "--bundle"]).arg(&bundle.dir).run().success();
    let status = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t'";
    let tries = "unshare -U true 2>&1; mount -t tmpfs x /tmp 2>&1; chroot / true 2>&1; \
                 echo $(wc -c </proc/interrupts) $(wc -c </proc/keys); (sleep 0 & wait) && echo $(expr 6 \\* 7)";
    let bundle =
        bundle.script(&format!("{status}; {tries}")).edit(|config| config["process"]["terminal"] = json!(false));
    let expected = "NoNewPrivs:1\nSeccomp:2\nunshare: unshare(0x10000000): Operation not permitted\n\
                    mount: permission denied (are you root?)\nchroot: can't change root directory to '/': Operation not permitted\n\
                    0 0\n42\n";
    env.run_bundle(&bundle, &env.id("readme")).run().success().prints(expected);

    // What is made in there beside the application has no clone3(2) either.
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; echo ran > /dev/shm/ran"]}]);
    let hooked = bundle.edit(|config| config["hooks"] = json!({"startContainer": hook})).script("cat /dev/shm/ran");
    env.run_bundle(&hooked, &env.id("hook")).run().success().prints("ran\n");
    let bundle = hooked.edit(|config| config["hooks"] = json!({}));

    let id = env.id("exec");
    let bundle = bundle.args(&["sleep", "1000"]);
    env.create(&bundle, &id).run().success();
    env.run(["start", &id]).success();
    env.run(["exec", &id, "sh", "-c", &format!("{status}; unshare -n true 2>&1")])
        .code(1)
        .prints("NoNewPrivs:1\nSeccomp:2\nunshare: unshare(0x40000000): Operation not permitted\n");
    env.run(["delete", "--force", &id]).success();
}

/// What a container of the default profile is for: a Debian's package manager, its shells and its tools.
#[test]
fn ordinary_programs_do_not_notice_the_profile() {
    needs_root!();
    let env = Env::new();
    let script = "set -e; cd /tmp; echo text >a; cp -a a b; ln -s a l; mv b c; chmod 600 c; chown 1:1 c 2>/dev/null || true; \
                  mkfifo f; (cat f & echo through >f; wait); tar cf t a c l && tar tf t; gzip -c a | gunzip; \
                  find . | sort | head -n 2; timeout 5 true; time true 2>/dev/null; date +%Y >/dev/null; \
                  ps >/dev/null; kill -0 $$; touch -d @1 a; stat -c %Y a; sync; echo done";
    let bundle = env.bundle().default_profile().script(script);
    let outcome = env.run_bundle(&bundle, &env.id("ordinary")).run().success();
    assert!(outcome.stdout.ends_with("1\ndone\n") && outcome.stdout.contains("through\n"), "{outcome}");
}
