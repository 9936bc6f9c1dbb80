//! Containers on pure cgroup v2, through the real binary: what the specification limits is limited, what it denies is
//! denied, and a container that may write to its cgroups can use them as the kernel wants them used. `make test-vm` has
//! such a machine; a hybrid one skips all of this.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use serde_json::{Value, json};
use support::command::DEADLINE;
use support::{Bundle, Env, Lines, needs_root, process, skipped, until};

const TOP: &str = "/sys/fs/cgroup";

macro_rules! needs_v2 {
    () => {
        needs_root!();
        if !Path::new(TOP).join("cgroup.controllers").exists() {
            skipped!("{} needs cgroup v2 at {TOP}", module_path!());
        }
    };
}

fn limited(bundle: Bundle, resources: Value) -> Bundle {
    bundle.edit(|config| {
        let into = config["linux"]["resources"].as_object_mut().expect("resources");
        into.extend(resources.as_object().expect("an object").clone());
    })
}

/// The container may write to its cgroup, and sees it as the top.
fn delegated(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        let mount = mounts.iter_mut().find(|mount| mount["destination"] == TOP).expect("a cgroup mount");
        mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
    })
}

/// The container's own cgroup, which the process of this pid is in.
fn folder_of(pid: i32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("/proc/PID/cgroup");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("a place in the v2 hierarchy");
    Path::new(TOP).join(path)
}

fn read(folder: &Path, file: &str) -> String {
    let path = folder.join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")).trim().to_owned()
}

/// The number behind a name in a flat-keyed file.
fn counted(folder: &Path, file: &str, name: &str) -> u64 {
    let text = read(folder, file);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in {file}: {text}"))
}

/// A block device of no consequence: the machine of `make test-vm` has a spare disk.
fn spare_disk() -> Option<(u64, u64)> {
    let device = fs::metadata("/dev/vdb").ok()?.rdev();
    Some((major(device), minor(device)))
}

#[test]
fn what_the_spec_limits_arrives_in_the_files_of_v2() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("files");
    let mut resources = json!({
        "memory": {"limit": 67108864, "swap": 100663296, "reservation": 33554432, "swappiness": 60},
        "cpu": {"shares": 262144, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 42},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "unified": {"memory.high": "50331648"}
    });
    let disk = spare_disk();
    if let Some((major, minor)) = disk {
        resources["blockIO"] = json!({"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": 1048576}]});
    } else {
        eprintln!("skipped: io.max needs a spare disk, /dev/vdb");
    }
    env.started(&limited(env.bundle().args(&["sleep", "1000"]), resources), &id);
    let folder = folder_of(env.pid(&id));
    assert!(folder.ends_with(&id), "{folder:?}");
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "10000"),
        ("cpu.max", "20000 50000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "42"),
        ("hugetlb.2MB.max", "4194304"),
    ] {
        assert_eq!(read(&folder, file), value, "{file}");
    }
    if let Some((major, minor)) = disk {
        assert_eq!(read(&folder, "io.max"), format!("{major}:{minor} rbps=max wbps=1048576 riops=max wiops=max"));
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn no_limit_is_written_as_max() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("unlimited");
    let resources = json!({
        "memory": {"limit": -1, "swap": -1}, "cpu": {"shares": 2, "quota": -1, "period": 50000}, "pids": {"limit": -1}
    });
    env.created(&limited(env.bundle(), resources), &id);
    let folder = folder_of(env.pid(&id));
    for (file, value) in [
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("cpu.weight", "1"),
        ("cpu.max", "max 50000"),
        ("pids.max", "max"),
    ] {
        assert_eq!(read(&folder, file), value, "{file}");
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn what_v2_cannot_limit_is_an_error_that_names_the_field_and_leaves_nothing() {
    needs_v2!();
    let env = Env::new();
    for (resources, field) in [
        (json!({"network": {"classID": 1}}), "network.classID"),
        (json!({"cpu": {"cpus": "9999"}}), "cpu"),
        (json!({"blockIO": {"leafWeight": 100}}), "blockIO.leafWeight"),
        (json!({"unified": {"memory.nonsense": "1"}}), "memory.nonsense"),
        (json!({"unified": {"nonsense.max": "1"}}), "nonsense"),
    ] {
        let id = env.id("refused");
        env.create(&limited(env.bundle(), resources), &id).run().fails(field);
        env.gone(&id);
    }
}

#[test]
fn whoever_uses_more_memory_than_allowed_is_killed_and_its_end_is_told() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("oom");
    let limit = 16 << 20;
    let bundle = env.bundle().args(&["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]);
    let bundle = limited(bundle, json!({"memory": {"limit": limit, "swap": limit}}));
    env.created(&bundle, &id);
    let folder = folder_of(env.pid(&id));
    env.run(["start", &id]).success();
    assert_eq!(env.wait(&id), 137);
    assert_eq!(counted(&folder, "memory.events", "oom_kill"), 1);
    env.delete(&id);
}

#[test]
fn no_more_processes_are_made_than_allowed() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("pids");
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait";
    env.created(&limited(env.bundle().script(script), json!({"pids": {"limit": 5}})), &id);
    let folder = folder_of(env.pid(&id));
    env.run(["start", &id]).success();
    // The shell gives up at the first fork that is refused.
    assert_ne!(env.wait(&id), 0);
    assert!(counted(&folder, "pids.events", "max") > 0);
    env.delete(&id);
}

#[test]
fn a_quota_throttles() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("quota");
    let busy = env.bundle().script("while :; do :; done");
    env.started(&limited(busy, json!({"cpu": {"quota": 5000, "period": 100000}})), &id);
    let folder = folder_of(env.pid(&id));
    until(DEADLINE, "throttling", || counted(&folder, "cpu.stat", "nr_throttled") > 3);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_pause_freezes_everything_below_and_a_kill_ends_it_all_the_same() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("pause");
    let script = "mkdir /sys/fs/cgroup/inner; (echo 0 > /sys/fs/cgroup/inner/cgroup.procs; exec sleep 1000) & \
                  sleep 1000";
    env.started(&delegated(env.bundle().script(script)), &id);
    let pid = env.pid(&id);
    let folder = folder_of(pid);
    until(DEADLINE, "process in the inner cgroup", || {
        fs::read_to_string(folder.join("inner/cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
    });
    env.run(["pause", &id]).success();
    assert_eq!(env.status(&id), "paused");
    assert_eq!(counted(&folder, "cgroup.events", "frozen"), 1);
    assert_eq!(counted(&folder.join("inner"), "cgroup.events", "frozen"), 1);
    env.run(["resume", &id]).success();
    assert_eq!(counted(&folder, "cgroup.events", "frozen"), 0);
    env.run(["pause", &id]).success();
    env.run(["kill", "--all", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    env.delete(&id);
}

#[test]
fn the_device_program_denies_what_the_spec_does_not_allow() {
    needs_v2!();
    let Some((disk_major, disk_minor)) = spare_disk() else { skipped!("device rules need a spare disk, /dev/vdb") };
    let env = Env::new();
    let script = format!(
        "mknod /tmp/disk b {disk_major} {disk_minor}; mknod /tmp/log c 1 11; \
         for file in disk log; do head -c 1 /tmp/$file >/dev/null 2>&1 && echo $file reads; \
         (echo >/tmp/$file) 2>/dev/null && echo $file writes; done; echo end; head -c 1 /tmp/disk >/dev/null"
    );
    let bundle = || env.bundle().script(&script).capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    let outcome = env.run_bundle(&bundle(), &env.id("closed")).run().code(1).prints("end\n");
    assert!(outcome.stderr.contains("Operation not permitted"), "{outcome}");
    let rule = |kind: &str, (major, minor): (u64, u64), access: &str| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    let open = bundle().edit(|config| {
        let rules = config["linux"]["resources"]["devices"].as_array_mut().expect("device rules");
        rules.extend([rule("b", (disk_major, disk_minor), "rm"), rule("c", (1, 11), "w")]);
    });
    env.run_bundle(&open, &env.id("open")).run().code(0).prints("disk reads\nlog writes\nend\n");
}

#[test]
fn the_container_and_its_supervisor_are_born_in_cgroups_of_their_own() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("born");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let (folder, its) = (folder_of(env.pid(&id)), folder_of(env.supervisor(&id)));
    assert_eq!(its, folder.with_file_name(format!("{id}@supervisor")));
    assert_eq!(read(&folder, "cgroup.procs"), env.pid(&id).to_string());
    env.run(["exec", &id, "cat", "/proc/self/cgroup"]).success().prints("0::/\n");
    let detached = env.dir().join("pid");
    env.cmd(["exec", "--detach", "--pid-file"]).arg(&detached).args([id.as_str(), "sleep", "1000"]).run().success();
    let pid: i32 = fs::read_to_string(&detached).expect("a pid file").trim().parse().expect("a pid");
    assert_eq!(folder_of(pid), folder);
    process::send(pid, nix::sys::signal::Signal::SIGKILL);
    env.run(["delete", "--force", &id]).success();
}

/// What an init system or a container engine does first: the kernel lets a cgroup hand on its controllers only when it
/// has no process of its own.
#[test]
fn a_container_hands_its_controllers_on_and_exec_follows_its_init() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("handed");
    let script = "cd /sys/fs/cgroup; mkdir init payload; echo 0 > init/cgroup.procs; \
                  echo '+memory +pids' > cgroup.subtree_control; echo 3 > payload/pids.max; \
                  cat cgroup.subtree_control payload/pids.max; exec sleep 1000";
    let (mut said, output) = Lines::pipe();
    let running = env.run_bundle(&delegated(env.bundle().script(script)), &id).stdout(output).spawn();
    assert_eq!(said.next().as_deref(), Some("memory pids"));
    assert_eq!(said.next().as_deref(), Some("3"));
    let folder = folder_of(env.pid(&id));
    assert!(folder.ends_with(format!("{id}/init")), "{folder:?}");
    env.run(["exec", &id, "cat", "/proc/self/cgroup"]).success().prints("0::/init\n");
    env.run(["pause", &id]).success();
    assert_eq!(counted(&folder, "cgroup.events", "frozen"), 1);
    env.run(["resume", &id]).success();
    env.run(["delete", "--force", &id]).success();
    running.finish(DEADLINE).code(137);
}

/// The same, and then it freezes the cgroup that whoever joins would be in.
#[test]
fn exec_beside_an_init_that_froze_itself_says_so_at_once_and_delays_no_delete() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("frozen");
    let script = "cd /sys/fs/cgroup; mkdir -p init/in; echo 0 > init/in/cgroup.procs; \
                  echo '+pids' > cgroup.subtree_control; echo 1 > init/cgroup.freeze; exec sleep 1000";
    env.started(&delegated(env.bundle().script(script)), &id);
    let pid = env.pid(&id);
    let frozen = || folder_of(pid).ends_with("init/in") && counted(&folder_of(pid), "cgroup.events", "frozen") == 1;
    until(DEADLINE, "frozen init", frozen);
    let soon = DEADLINE / 2;
    env.cmd(["exec", &id, "true"]).deadline(soon).run().fails_with(255, &["frozen", "/init\"", "--ignore-paused"]);
    let waiting = env.cmd(["exec", "--ignore-paused", &id, "true"]).spawn();
    until(DEADLINE, "process that waits beside it", || read(&folder_of(pid), "cgroup.procs").lines().count() == 2);
    process::send(waiting.pid(), nix::sys::signal::Signal::SIGTERM);
    assert!(!waiting.finish(soon).status.success());
    let waiting = env.cmd(["exec", "--ignore-paused", &id, "true"]).spawn();
    until(DEADLINE, "another", || read(&folder_of(pid), "cgroup.procs").lines().count() >= 2);
    env.cmd(["delete", "--force", &id]).deadline(soon).run().success();
    waiting.finish(soon).fails_with(255, &[]);
}

#[test]
fn a_group_that_is_killed_as_a_whole_for_want_of_memory_is_one_event() {
    needs_v2!();
    let env = Env::new();
    let id = env.id("group");
    let go = env.dir().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    let script = "sleep 1000 & sleep 1000 & sleep 1000 & read go < /go; x=$(head -c 100000000 /dev/zero | tr '\\0' x)";
    let limits = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}, "unified": {"memory.oom.group": "1"}});
    let bundle = limited(env.bundle().bind(&go, "/go", &["bind"]).script(script), limits);
    env.started(&bundle, &id);
    let (folder, pid) = (folder_of(env.pid(&id)), env.pid(&id));
    let (mut lines, out) = Lines::pipe();
    let events = env.cmd(["events", "--interval=50ms", &id]).stdout(out).spawn();
    assert!(lines.next().expect("it watches").contains("stats"));
    fs::write(&go, "\n").expect("go");
    // Until the container's end.
    let told = std::iter::from_fn(|| lines.next()).filter(|line| line.contains(r#""type":"oom""#)).count();
    events.finish(DEADLINE).success();
    assert!(!process::runs(pid));
    assert!(counted(&folder, "memory.events", "oom_kill") > 3, "all of the group");
    assert_eq!(told, 1);
    assert_eq!(env.wait(&id), 137);
    env.delete(&id);
}

#[test]
fn a_sandbox_inside_a_container_has_limits_of_its_own() {
    needs_v2!();
    let env = Env::new();
    let program = fs::read(env.binary()).expect("the binary under test");
    if program.windows(9).take(4096).any(|bytes| bytes == b"/ld-linux") {
        skipped!("a sandbox inside a container needs a static binary");
    }
    let id = env.id("outer");
    let inner = env.bundle().script("cat /sys/fs/cgroup/pids.max; cat /proc/self/cgroup; exit 5");
    let inner = limited(inner, json!({"pids": {"limit": 7}}));
    let every = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("the last capability");
    let every: Vec<&str> = CAPABILITIES[..=every.trim().parse::<usize>().expect("a number")].to_vec();
    let script = "mkdir /sys/fs/cgroup/init && echo 0 > /sys/fs/cgroup/init/cgroup.procs && \
                  /sandkeep --root /tmp/inner run --bundle /bundle inner; echo ended $?; \
                  /sandkeep --root /tmp/inner list -q; ls /sys/fs/cgroup/sandkeep | grep -c inner";
    let outer = delegated(env.bundle().script(script)).capabilities(&every).edit(|config| {
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    });
    fs::copy(env.binary(), outer.rootfs().join("sandkeep")).expect("copy sandkeep");
    let outer = outer.bind(&inner.dir, "/bundle", &["rbind", "rw"]);
    let outer = outer.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    let outcome = env.run_bundle(&outer, &id).deadline(DEADLINE * 2).run();
    outcome.prints("7\n0::/\nended 5\n0\n");
}

/// `make test-vm-systemd` has one.
#[test]
fn a_running_systemd_makes_the_scope_and_keeps_its_limits() {
    needs_v2!();
    if fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim() != "systemd") {
        skipped!("a scope of systemd needs systemd as pid 1");
    }
    let env = Env::new();
    let id = env.id("scope");
    let bundle = limited(env.bundle().args(&["sleep", "1000"]), json!({"memory": {"limit": 67108864}}));
    let bundle = bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("system.slice:sandkeep:{id}")));
    let create = env.cmd(["--cgroup-manager", "systemd", "create", "--bundle"]).arg(&bundle.dir).arg(&id);
    create.run().success();
    env.run(["start", &id]).success();
    let folder = folder_of(env.pid(&id));
    let slice = folder.to_string_lossy().into_owned();
    assert!(slice.contains("/system.slice/sandkeep-") && slice.contains(".scope"), "{slice}");
    let scope = folder.ancestors().find(|folder| folder.to_string_lossy().ends_with(".scope")).expect("a scope");
    assert_eq!(read(scope, "memory.max"), "67108864");
    env.run(["pause", &id]).success();
    env.run(["resume", &id]).success();
    env.run(["delete", "--force", &id]).success();
    until(DEADLINE, "end of the scope", || !scope.exists());
}

const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One after the other they would be more jumps than the kernel follows.
#[test]
fn thousands_of_device_rules_are_taken_and_hold() {
    needs_v2!();
    let env = Env::new();
    let script = "mknod /tmp/log c 1 11; head -c 1 /tmp/log >/dev/null 2>&1 && echo reads; \
                  (echo >/tmp/log) 2>/dev/null && echo writes; head -c 1 /dev/zero | wc -c";
    let bundle = env.bundle().capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]).script(script).edit(|config| {
        let rule = |n: i64| match n {
            9999 => json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "wm"}),
            _ => json!({"allow": true, "type": "c", "major": 1000 + n / 250, "minor": n % 250, "access": "rwm"}),
        };
        let rules = config["linux"]["resources"]["devices"].as_array_mut().expect("device rules");
        rules.extend((0..20_000).map(rule));
    });
    env.run_bundle(&bundle, &env.id("rules")).run().success().prints("writes\n1\n");
}
