//! Broken configurations: each is refused with one line that names the field. And: nothing that can be read makes the
//! planner panic.

use std::path::Path;

use proptest::prelude::*;
use sandkeep::spec::{self, Host, SpecError};
use serde_json::{Map, Value, json};
use support::{Env, needs_root};

const HOST: Host = Host { rootless: false, last_capability: 40 };

fn bundle() -> tempfile::TempDir {
    let bundle = tempfile::tempdir().unwrap();
    std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
    std::fs::write(bundle.path().join("file"), "").unwrap();
    bundle
}

fn default_config() -> Value {
    serde_json::from_slice(&spec::to_json(&spec::default_spec(false))).unwrap()
}

/// The whole way: text, shape, meaning.
fn plan(config: &Value, bundle: &Path, host: &Host) -> Result<(spec::plan::Plan, Vec<String>), SpecError> {
    let (spec, mut warnings) = spec::parse(&serde_json::to_vec(config).unwrap())?;
    let (plan, more) = spec::plan(&spec::Inputs::of(&spec, bundle, host))?;
    warnings.extend(more);
    Ok((plan, warnings))
}

/// Sets what a JSON pointer names, making objects on the way; `-` appends to a list.
fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut at = config;
    for part in pointer.split('/').skip(1) {
        at = match at {
            Value::Array(items) => {
                if part == "-" {
                    items.push(Value::Null);
                }
                let index = if part == "-" { items.len() - 1 } else { part.parse().unwrap() };
                &mut items[index]
            }
            other => {
                if !other.is_object() {
                    *other = Value::Object(Map::new());
                }
                other.as_object_mut().unwrap().entry(part).or_insert(Value::Null)
            }
        };
    }
    *at = value;
}

/// (JSON pointer, value) changes to the default configuration, and what the message must hold.
type Case = (Vec<(&'static str, Value)>, &'static str);

fn case(pointer: &'static str, value: Value, says: &'static str) -> Case {
    (vec![(pointer, value)], says)
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn tmpfs(options: &[&str]) -> Value {
    json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn bind(options: &[&str]) -> Value {
    json!({"destination": "/x", "source": "/etc", "options": options})
}

fn map(container: u64, host: u64, size: u64) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

fn user_namespace(uid: Value, gid: Value) -> Vec<(&'static str, Value)> {
    vec![("/linux/namespaces/-", json!({"type": "user"})), ("/linux/uidMappings", uid), ("/linux/gidMappings", gid)]
}

fn whole() -> Value {
    json!([map(0, 1000, 100)])
}

fn document() -> Vec<Case> {
    vec![
        case("/ociVersion", json!(""), "invalid ociVersion: is missing"),
        case("/ociVersion", json!("1.0"), "invalid ociVersion"),
        case("/ociVersion", json!("1.0.01"), "invalid ociVersion"),
        case("/ociVersion", json!("one"), "invalid ociVersion"),
        case("/ociVersion", json!("2.0.0"), "ociVersion is not supported"),
        case("/ociVersion", json!(1), "ociVersion: invalid type"),
        case("/annotations", json!({"": "x"}), "invalid annotations"),
        case("/annotations", json!({"a": 1}), "annotations.a: invalid type"),
        case("/linux", Value::Null, "invalid linux: is missing"),
        case("/root", Value::Null, "invalid root: is missing"),
        case("/root", json!(["rootfs"]), "root: invalid type: a list"),
        case("/root/path", json!(""), "invalid root.path: is empty"),
        case("/root/path", json!("none"), "does not exist"),
        case("/root/path", json!("file"), "is not a folder"),
        case("/root/path", json!("file/x"), "invalid root.path"),
        case("/root/path", json!("a\u{0}b"), "invalid root.path"),
        case("/root/readonly", json!("yes"), "root.readonly: invalid type"),
        case("/linux/rootfsPropagation", json!("loud"), "invalid linux.rootfsPropagation"),
        case("/linux/rootfsPropagation", json!("ro"), "invalid linux.rootfsPropagation"),
        case("/linux/intelRdt", json!({"closID": "a/b"}), "invalid linux.intelRdt.closID"),
        case("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f\nMB:0=1"}), "invalid linux.intelRdt.l3CacheSchema"),
        case("/linux/intelRdt", json!({"schemata": ["L3:0=f", "x"]}), "invalid linux.intelRdt.schemata[1]"),
        case("/linux/netDevices", json!({"a/b": {}}), "invalid linux.netDevices: \"a/b\""),
        case("/linux/netDevices", json!({"eth0": {"name": "an-interface-name"}}), "invalid linux.netDevices.eth0.name"),
        case("/linux/netDevices", json!({"a": {"name": "c"}, "b": {"name": "c"}}), "invalid linux.netDevices.b.name"),
        case("/linux/memoryPolicy", json!({"mode": "MPOL_BIND"}), "invalid linux.memoryPolicy.nodes"),
        case("/linux/memoryPolicy", json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "invalid linux.memoryPolicy.nodes"),
        case("/linux/memoryPolicy", json!({"mode": "MPOL_X"}), "linux.memoryPolicy.mode: unknown variant"),
        case("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "3-1"}), "invalid linux.memoryPolicy.nodes"),
        case("/process/execCPUAffinity", json!({"initial": "a"}), "process.execCPUAffinity"),
        case("/process/execCPUAffinity", json!({"final": "9-1"}), "process.execCPUAffinity"),
        case("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]}), "invalid linux.personality.flags[0]"),
        case("/linux/personality", json!({"domain": "BSD"}), "linux.personality.domain: unknown variant"),
    ]
}

fn process() -> Vec<Case> {
    let again = json!({"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1});
    vec![
        case("/process/args", json!([]), "invalid process.args: is empty"),
        case("/process/args", json!([""]), "invalid process.args[0]"),
        case("/process/args", json!(["a", "b\u{0}c"]), "invalid process.args[1]"),
        case("/process/args", json!("sh"), "process.args: invalid type"),
        case("/process/cwd", json!(""), "invalid process.cwd: is empty"),
        case("/process/cwd", json!("tmp"), "invalid process.cwd: \"tmp\" is not an absolute path"),
        case("/process/cwd", Value::Null, "process: missing field `cwd`"),
        case("/process/env", json!(["A=1", "B"]), "invalid process.env[1]"),
        case("/process/env", json!(["=x"]), "invalid process.env[0]"),
        case("/process/env", json!(["A=x\u{0}"]), "invalid process.env[0]"),
        case("/process/env/-", json!(3), "process.env[2]: invalid type"),
        case("/process/user/uid", json!(-1), "process.user.uid: invalid value"),
        case("/process/user/uid", json!(4294967295u64), "invalid process.user.uid"),
        case("/process/user/umask", json!(512), "invalid process.user.umask"),
        case("/process/user/additionalGids", json!([4294967295u64]), "invalid process.user.additionalGids[0]"),
        case("/process/oomScoreAdj", json!(1001), "invalid process.oomScoreAdj"),
        case("/process/oomScoreAdj", json!(-1001), "invalid process.oomScoreAdj"),
        case("/process/consoleSize", json!({"height": 65536}), "invalid process.consoleSize.height"),
        case("/process/rlimits/0/type", json!("RLIMIT_X"), "process.rlimits[0].type: unknown variant"),
        case("/process/rlimits/0/soft", json!(2000), "invalid process.rlimits[0].soft"),
        case("/process/rlimits/-", again, "invalid process.rlimits[1].type: RLIMIT_NOFILE is given twice"),
        case("/process/capabilities/effective/-", json!("CAP_CHOWN"), "process.capabilities.effective: CAP_CHOWN"),
        case("/process/capabilities/bounding", json!([3]), "process.capabilities.bounding[0]: invalid type"),
        case("/process/ioPriority", json!({"priority": 8}), "invalid process.ioPriority.priority"),
        case("/process/ioPriority", json!({"class": "X"}), "process.ioPriority.class: unknown variant"),
        case("/process/scheduler", json!({"policy": "SCHED_ISO"}), "process.scheduler.policy is not supported"),
        case("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
        case("/process/scheduler", json!({"policy": "SCHED_FIFO"}), "process.scheduler.priority"),
        case("/process/scheduler", json!({"policy": "SCHED_DEADLINE"}), "process.scheduler.runtime"),
        case("/process/apparmorProfile", json!("a\u{0}"), "invalid process.apparmorProfile"),
        case("/process/selinuxLabel", json!(1), "process.selinuxLabel: invalid type"),
    ]
}

fn namespaces() -> Vec<Case> {
    let mapped = |more: (&'static str, Value)| [user_namespace(whole(), whole()), vec![more]].concat();
    let time = |offsets| vec![("/linux/namespaces/-", json!({"type": "time"})), ("/linux/timeOffsets", offsets)];
    let forward = || ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    vec![
        case("/linux/namespaces/-", json!({"type": "moon"}), "linux.namespaces[5].type: unknown variant"),
        case("/linux/namespaces/-", json!({"type": "pid"}), "invalid linux.namespaces[5].type: a second pid"),
        case("/linux/namespaces/0/path", json!("ns/pid"), "invalid linux.namespaces[0].path"),
        case("/linux/namespaces/0/path", json!("/a\u{0}"), "invalid linux.namespaces[0].path"),
        case("/linux/namespaces", json!([{"type": "pid"}]), "linux.namespaces is not supported"),
        case("/linux/uidMappings", whole(), "invalid linux.uidMappings: given without a user namespace"),
        case("/linux/gidMappings", whole(), "invalid linux.gidMappings: given without a user namespace"),
        (user_namespace(json!([map(0, 1, 0)]), whole()), "invalid linux.uidMappings[0].size"),
        (user_namespace(json!([map(1, 1, 5)]), whole()), "invalid linux.uidMappings: containerID 0"),
        (user_namespace(json!([map(0, 4294967290, 10)]), whole()), "invalid linux.uidMappings[0].hostID"),
        (user_namespace(json!([map(0, 1, 5), map(4, 9, 5)]), whole()), "linux.uidMappings[1].containerID"),
        (user_namespace(whole(), json!([map(0, 1, 5), map(5, 3, 5)])), "linux.gidMappings[1].hostID"),
        (user_namespace(whole(), json!([map(0, 1, 1)])), "invalid mounts[2].options: gid=5 is not mapped"),
        (mapped(("/process/user/uid", json!(100))), "invalid process.user.uid: 100 is not mapped"),
        (mapped(("/process/user/gid", json!(100))), "invalid process.user.gid: 100 is not mapped"),
        (mapped(("/process/user/additionalGids", json!([1, 200]))), "invalid process.user.additionalGids[1]"),
        case("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "invalid linux.timeOffsets.monotonic"),
        (time(json!({"realtime": {"secs": 1}})), "invalid linux.timeOffsets: \"realtime\" is not a clock"),
        (time(json!({"boottime": {"nanosecs": 1_000_000_000}})), "invalid linux.timeOffsets.boottime"),
        case("/linux/namespaces/3", json!({"type": "cgroup"}), "invalid hostname: needs a uts namespace"),
        case("/hostname", json!("x".repeat(65)), "invalid hostname"),
        case("/domainname", json!("a\u{0}"), "invalid domainname"),
        case("/linux/sysctl", json!({"kernel.core_pattern": "|/x"}), "invalid linux.sysctl[\"kernel.core_pattern\"]"),
        case("/linux/sysctl", json!({"net/../kernel/x": "1"}), "invalid linux.sysctl"),
        case("/linux/sysctl", json!({"kernel.hostname": "x"}), "use the property hostname"),
        (
            vec![("/domainname", json!("a")), ("/linux/sysctl", json!({"kernel.domainname": "b"}))],
            "property domainname",
        ),
        (
            vec![("/domainname", json!("a")), ("/linux/sysctl", json!({"kernel/domainname": "a"}))],
            "property domainname",
        ),
        case("/linux/sysctl", json!({"net.a": "1", "net/a": "2"}), "invalid linux.sysctl: \"net/a\" is given twice"),
        (vec![("/linux/namespaces/1", json!({"type": "cgroup"})), forward()], "needs a network namespace"),
        (vec![("/linux/namespaces/1/path", json!("/proc/self/ns/net")), forward()], "is the host's own"),
    ]
}

fn mounts_and_devices() -> Vec<Case> {
    let device = |more| json!([with(json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3}), more)]);
    let both = json!({"uidMappings": whole(), "gidMappings": whole()});
    vec![
        case("/mounts/0/destination", json!(""), "invalid mounts[0].destination: is empty"),
        case("/mounts/-", json!({"type": "tmpfs"}), "mounts[7]: missing field `destination`"),
        case("/mounts/0/options", json!("ro"), "mounts[0].options: invalid type"),
        case("/mounts/0/options", json!(["a\u{0}"]), "invalid mounts[0].options[0]"),
        case("/mounts/-", json!({"destination": "/x"}), "invalid mounts[7].type: is missing"),
        case("/mounts/-", json!({"destination": "/x", "type": "none"}), "invalid mounts[7].type"),
        case("/mounts/-", json!({"destination": "/x", "type": "bind"}), "invalid mounts[7].source"),
        case("/mounts/-", bind(&["bind", "idmap=uids=0-0-1"]), "invalid mounts[7].options: \"uids=0-0-1\""),
        case("/mounts/-", bind(&["bind", "ridmap=uids=@0-0-1;gids=0-0-1"]), "invalid mounts[7].options: \"@0-0-1\""),
        case("/mounts/-", bind(&["bind", "copy-symlink", "src-nofollow"]), "invalid mounts[7].options: copy-symlink"),
        case("/mounts/-", tmpfs(&["copy-symlink"]), "invalid mounts[7].options: copy-symlink"),
        case("/mounts/-", bind(&["bind", "tmpcopyup"]), "invalid mounts[7].options: tmpcopyup"),
        case("/mounts/-", bind(&["bind", "idmap"]), "invalid mounts[7].options: idmap without mappings"),
        case("/mounts/-", tmpfs(&["src-nofollow"]), "invalid mounts[7].options: src-nofollow"),
        case("/mounts/-", tmpfs(&["remount", "size=1m"]), "mounts[7].options is not supported: remount"),
        case("/mounts/-", with(tmpfs(&["idmap"]), both), "invalid mounts[7].options: only bind mounts"),
        case("/mounts/-", with(bind(&["bind"]), json!({"uidMappings": whole()})), "invalid mounts[7].gidMappings"),
        case("/linux/mountLabel", json!("a\u{0}"), "invalid linux.mountLabel"),
        case("/linux/devices", device(json!({"type": "x"})), "linux.devices[0].type: unknown variant"),
        case("/linux/devices", device(json!({"type": "a"})), "invalid linux.devices[0].type"),
        case("/linux/devices", device(json!({"path": "dev/x"})), "invalid linux.devices[0].path"),
        case("/linux/devices", device(json!({"path": "/dev/../x"})), "invalid linux.devices[0].path"),
        case("/linux/devices", device(json!({"major": -1})), "invalid linux.devices[0].major"),
        case("/linux/devices", device(json!({"minor": 1 << 20})), "invalid linux.devices[0].minor"),
        case("/linux/devices", device(json!({"fileMode": 0o1000000})), "invalid linux.devices[0].fileMode"),
        case("/linux/maskedPaths", json!(["/a", ""]), "invalid linux.maskedPaths[1]"),
        case("/linux/readonlyPaths", json!([""]), "invalid linux.readonlyPaths[0]"),
    ]
}

fn resources() -> Vec<Case> {
    let limit = json!([{"pageSize": "2M", "limit": 1}]);
    let throttle = json!({"throttleReadIOPSDevice": [{"major": -1, "minor": 0, "rate": 1}]});
    vec![
        case("/linux/cgroupsPath", json!("a/../../b"), "invalid linux.cgroupsPath"),
        case("/linux/resources/devices/0/access", json!("rx"), "invalid linux.resources.devices[0].access"),
        case("/linux/resources/devices/0/type", json!("p"), "invalid linux.resources.devices[0].type"),
        case("/linux/resources/devices/0/major", json!(-2), "invalid linux.resources.devices[0].major"),
        case("/linux/resources/memory", json!({"limit": -2}), "invalid linux.resources.memory.limit"),
        case("/linux/resources/memory", json!({"limit": 9, "swap": 8}), "invalid linux.resources.memory.swap"),
        case("/linux/resources/memory", json!({"swappiness": 101}), "invalid linux.resources.memory.swappiness"),
        case("/linux/resources/memory", json!({"limit": "1G"}), "linux.resources.memory.limit: invalid type"),
        case("/linux/resources/cpu", json!({"cpus": "0-3;rm"}), "invalid linux.resources.cpu.cpus"),
        case("/linux/resources/cpu", json!({"idle": 2}), "invalid linux.resources.cpu.idle"),
        case("/linux/resources/pids", json!({"limit": -2}), "invalid linux.resources.pids.limit"),
        case("/linux/resources/blockIO", json!({"weight": 5}), "invalid linux.resources.blockIO.weight"),
        case("/linux/resources/blockIO", throttle, "linux.resources.blockIO.throttleReadIOPSDevice[0].major"),
        case("/linux/resources/hugepageLimits", limit, "invalid linux.resources.hugepageLimits[0].pageSize"),
        case("/linux/resources/unified", json!({"../x.y": "1"}), "invalid linux.resources.unified"),
    ]
}

fn seccomp_and_hooks() -> Vec<Case> {
    let profile = |more| with(json!({"defaultAction": "SCMP_ACT_ALLOW"}), more);
    let rule = |more| {
        let rule = with(json!({"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}), more);
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    };
    let compare = |index, op| json!({"args": [{"index": index, "value": 1, "op": op}]});
    let hook = |kind: &str, more| json!({kind: [with(json!({"path": "/bin/true"}), more)]});
    let notify = json!({"action": "SCMP_ACT_NOTIFY"});
    let allow = json!({"action": "SCMP_ACT_ALLOW", "errnoRet": 1});
    let write = json!({"action": "SCMP_ACT_NOTIFY", "names": ["write"]});
    vec![
        case("/linux/seccomp", json!({}), "linux.seccomp: missing field `defaultAction`"),
        case("/linux/seccomp", json!({"defaultAction": "X"}), "linux.seccomp.defaultAction: unknown variant"),
        case("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "invalid linux.seccomp.defaultAction"),
        case("/linux/seccomp", profile(json!({"defaultErrnoRet": 1})), "invalid linux.seccomp.defaultErrnoRet"),
        case("/linux/seccomp", profile(json!({"architectures": ["Z80"]})), "linux.seccomp.architectures[0]: unknown"),
        case("/linux/seccomp", profile(json!({"flags": ["X"]})), "linux.seccomp.flags[0]: unknown variant"),
        case("/linux/seccomp", profile(json!({"listenerMetadata": "x"})), "invalid linux.seccomp.listenerMetadata"),
        case("/linux/seccomp", profile(json!({"listenerPath": "x"})), "invalid linux.seccomp.listenerPath"),
        case("/linux/seccomp", rule(json!({"names": []})), "invalid linux.seccomp.syscalls[0].names"),
        case("/linux/seccomp", rule(json!({"errnoRet": 5000})), "invalid linux.seccomp.syscalls[0].errnoRet"),
        case("/linux/seccomp", rule(allow), "invalid linux.seccomp.syscalls[0].errnoRet"),
        case("/linux/seccomp", rule(notify), "invalid linux.seccomp.listenerPath: is missing"),
        case("/linux/seccomp", rule(write), "invalid linux.seccomp.syscalls[0].names[0]"),
        case("/linux/seccomp", rule(compare(6, "SCMP_CMP_EQ")), "linux.seccomp.syscalls[0].args[0].index"),
        case("/linux/seccomp", rule(compare(0, "EQ")), "linux.seccomp.syscalls[0].args[0].op: unknown variant"),
        case("/hooks", hook("prestart", json!({"path": "x"})), "invalid hooks.prestart[0].path"),
        case("/hooks", hook("poststop", json!({"timeout": 0})), "invalid hooks.poststop[0].timeout"),
        case("/hooks", hook("poststart", json!({"timeout": -3})), "invalid hooks.poststart[0].timeout"),
        case("/hooks", hook("createRuntime", json!({"env": ["A"]})), "invalid hooks.createRuntime[0].env[0]"),
        case("/hooks", hook("startContainer", json!({"args": 1})), "hooks.startContainer[0].args"),
        case("/hooks", json!({"createContainer": [{}]}), "hooks.createContainer[0]: missing field `path`"),
    ]
}

fn broken() -> Vec<Case> {
    [document(), process(), namespaces(), mounts_and_devices(), resources(), seccomp_and_hooks()].concat()
}

#[test]
fn each_broken_configuration_is_refused_with_one_line_that_names_the_field() {
    let bundle = bundle();
    let broken = broken();
    assert!(broken.len() > 140, "only {} cases", broken.len());
    let mut wrong = Vec::new();
    for (changes, says) in broken {
        let mut config = default_config();
        changes.iter().for_each(|(pointer, value)| set(&mut config, pointer, value.clone()));
        match plan(&config, bundle.path(), &HOST) {
            Ok(_) => wrong.push(format!("{changes:?}: accepted")),
            Err(error) => {
                let message = error.to_string();
                if !message.contains(says) || message.lines().count() != 1 || message.len() > 1000 {
                    wrong.push(format!("{changes:?}: expected {says:?}, got {message:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same through the real binary, which has the kernel's own objections to tell as well.
#[test]
fn run_refuses_each_broken_configuration_in_one_line_and_leaves_nothing() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    std::fs::write(bundle.dir.join("file"), "").unwrap();
    let whole = bundle.config();
    let mut wrong = Vec::new();
    let broken = broken().into_iter().map(|case| (default_config(), case));
    let cases: Vec<_> = broken.chain(refused_by_the_kernel().into_iter().map(|case| (whole.clone(), case))).collect();
    for (at, (config, (changes, says))) in cases.iter().enumerate() {
        let mut config = config.clone();
        changes.iter().for_each(|(pointer, value)| set(&mut config, pointer, value.clone()));
        bundle.write(&config);
        let outcome = env.run_bundle(&bundle, &env.id(&format!("broken{at}"))).run();
        let lines = outcome.stderr.lines().count();
        let code = outcome.status.code();
        // What a shell would report of a program that cannot be run; else 1.
        let exit_codes: &[i32] = if says.contains("exec ") { &[126, 127] } else { &[1] };
        let told = outcome.stderr.contains(says) && lines == 1 && outcome.stderr.len() < 1000;
        if !told || code.is_none_or(|code| !exit_codes.contains(&code)) || !outcome.stdout.is_empty() {
            wrong.push(format!("{changes:?}: expected {says:?}\n{outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(env.run(["list", "--quiet"]).success().stdout, "");
    env.run(["doctor"]).success();
}

/// Of a right shape and a possible meaning, and yet not to be had on this machine.
fn refused_by_the_kernel() -> Vec<Case> {
    let mount = |value: Value| ("/mounts/-", value);
    let one = |pointer: &'static str, value: Value, says: &'static str| (vec![(pointer, value)], says);
    vec![
        one("/root/path", json!("/no/such/rootfs"), "root.path: \"/no/such/rootfs\" does not exist"),
        one("/root/path", json!("rootfs/bin/busybox"), "root.path"),
        one(
            "/process/args",
            json!(["no-such-program"]),
            "exec \"no-such-program\": executable file not found in $PATH",
        ),
        one("/process/args", json!(["/no/such/program"]), "exec \"/no/such/program\": no such file or directory"),
        one("/process/args", json!(["/etc/passwd"]), "exec \"/etc/passwd\": permission denied"),
        one("/process/args", json!(["/etc"]), "exec \"/etc\": permission denied"),
        one("/process/cwd", json!("/etc/passwd"), "cwd \"/etc/passwd\""),
        one("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "1023"}), "linux.memoryPolicy"),
        one("/linux/netDevices", json!({"nonesuch0": {}}), "linux.netDevices.nonesuch0"),
        one("/linux/namespaces/0/path", json!("/proc/1/ns/none"), "/proc/1/ns/none"),
        one("/linux/namespaces/0/path", json!("/etc/passwd"), "namespace"),
        one("/linux/sysctl", json!({"kernel.shmmax": "not a number"}), "kernel.shmmax"),
        one("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"}), "net.ipv4.no_such_thing"),
        one("/linux/resources/cpu", json!({"cpus": "100000"}), "cpu"),
        one("/linux/cgroupsPath", json!("/../../outside"), "cgroupsPath"),
        one("/linux/maskedPaths", json!(["/proc/self/fd/../../no\u{0}"]), "linux.maskedPaths[0]"),
        one("/hooks", json!({"prestart": [{"path": "/no/such/hook"}]}), "the prestart hook \"/no/such/hook\""),
        one("/hooks", json!({"createRuntime": [{"path": "/etc/passwd"}]}), "the createRuntime hook \"/etc/passwd\""),
        one("/hooks", json!({"createContainer": [{"path": "/bin/false"}]}), "the createContainer hook \"/bin/false\""),
        one("/hooks", json!({"startContainer": [{"path": "/bin/false"}]}), "the startContainer hook \"/bin/false\""),
        one("/hooks", json!({"poststart": [{"path": "/bin/false"}]}), "the poststart hook \"/bin/false\""),
        (
            vec![mount(json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]}))],
            "bind mount at \"/x\"",
        ),
        (vec![mount(json!({"destination": "/x", "type": "nonesuch", "source": "none"}))], "\"/x\""),
        (
            vec![mount(json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["nonesuch=1"]}))],
            "\"/x\"",
        ),
        (vec![mount(json!({"destination": "/etc/passwd/x", "type": "tmpfs", "source": "tmpfs"}))], "/etc/passwd/x"),
        (vec![mount(json!({"destination": "/bin/busybox", "type": "tmpfs", "source": "tmpfs"}))], "\"/bin/busybox\""),
    ]
}

#[test]
fn what_other_runtimes_accept_is_accepted_with_a_warning() {
    let bundle = bundle();
    let cases = [
        ("/mounts/0/destination", json!("proc"), "mounts[0].destination"),
        ("/process/capabilities/bounding/-", json!("CAP_TELEPORT"), "process.capabilities.bounding"),
        ("/process/capabilities/ambient", json!(["CAP_KILL"]), "process.capabilities.ambient"),
        ("/linux/devices", json!([{"path": "/dev/console", "type": "c"}]), "linux.devices[0].path"),
        ("/mounts/-", bind(&["bind", "sync"]), "mounts[7].options: \"sync\""),
        ("/mounts/-", bind(&["rbind", "mode=755"]), "mounts[7].options: \"mode\""),
        ("/mounts/-", bind(&["bind", "whatever"]), "mounts[7].options: \"whatever\""),
        ("/linux/maskedPaths", json!(["/a", "proc"]), "linux.maskedPaths[1]"),
        ("/linux/readonlyPaths", json!(["proc/x"]), "linux.readonlyPaths[0]"),
        ("/mounts/6/options/-", json!("memory"), "mounts[6].options: \"memory\""),
        ("/windows", json!({"layerFolders": []}), "windows"),
        ("/vm", json!({"kernel": 3}), "vm"),
    ];
    for (pointer, value, says) in cases {
        let mut config = default_config();
        set(&mut config, pointer, value);
        let (_, warnings) = plan(&config, bundle.path(), &HOST).unwrap();
        assert_eq!(warnings.len(), 1, "{pointer}: {warnings:?}");
        assert!(warnings[0].starts_with(says), "{pointer}: {warnings:?}");
    }
}

#[test]
fn unknown_properties_and_nulls_are_ignored() {
    let bundle = bundle();
    let mut config = default_config();
    set(&mut config, "/futureProperty", json!({"a": [1]}));
    set(&mut config, "/linux/future", json!(1));
    for pointer in ["/hooks", "/process/user", "/linux/seccomp", "/linux/resources/memory", "/mounts/0/options"] {
        set(&mut config, pointer, Value::Null);
    }
    let (_, warnings) = plan(&config, bundle.path(), &HOST).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_ordinary_user_needs_a_user_namespace() {
    let bundle = bundle();
    let error = plan(&default_config(), bundle.path(), &Host { rootless: true, ..HOST }).unwrap_err();
    assert!(error.to_string().starts_with("invalid linux.namespaces"), "{error}");
}

fn full_config() -> Value {
    let mut config = default_config();
    let devices = json!([
        {"path": "/dev/null", "type": "c", "major": 9, "minor": 9, "fileMode": 0o20600},
        {"path": "/dev/fifo", "type": "p"},
    ]);
    let idmapped = json!({"destination": "/i", "source": "/etc", "options": ["rbind", "ridmap", "rro"],
        "uidMappings": [map(0, 10, 5)], "gidMappings": [map(0, 20, 5)]});
    let offsets = json!({"boottime": {"secs": 5}, "monotonic": {"secs": -1, "nanosecs": 7}});
    for (pointer, value) in [
        ("/ociVersion", json!("1.1.0-rc.2+build")),
        ("/domainname", json!("example")),
        ("/annotations", json!({"b": "2", "a": "1"})),
        ("/process/consoleSize", json!({"height": 24, "width": 80})),
        ("/process/user", json!({"uid": 5, "gid": 6, "umask": 18, "additionalGids": [7]})),
        ("/process/env/-", json!("TERM=dumb")),
        ("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]})),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT", "priority": 1})),
        ("/linux/personality", json!({"domain": "LINUX32"})),
        ("/linux/rootfsPropagation", json!("rshared")),
        ("/linux/mountLabel", json!("system_u:object_r:t:s0")),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "fs.mqueue.msg_max": "10"})),
        ("/linux/cgroupsPath", json!("/a/b")),
        ("/linux/namespaces/-", json!({"type": "time"})),
        ("/linux/namespaces/0/path", json!("/proc/1/ns/pid")),
        ("/linux/timeOffsets", offsets),
        ("/linux/devices", devices),
        ("/hooks", json!({"prestart": [{"path": "/a", "timeout": 3}], "poststop": [{"path": "/b", "args": ["x"]}]})),
        ("/mounts/-", json!({"destination": "/x//y/", "source": "file", "type": "bind", "options": ["ro", "rslave"]})),
        ("/mounts/-", idmapped),
        ("/mounts/-", json!({"destination": "/s", "source": "/dev/sr0", "type": "iso9660", "options": ["ro", "sync"]})),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            ]}),
        ),
    ] {
        set(&mut config, pointer, value);
    }
    config
}

#[test]
fn a_full_configuration_arrives_in_the_plan() {
    use spec::plan::{MountKind, NamespaceKind};
    let bundle = bundle();
    let (plan, warnings) = plan(&full_config(), bundle.path(), &HOST).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");

    let process = plan.process.unwrap();
    assert_eq!((process.uid, process.gid, process.umask, process.additional_gids), (5, 6, Some(18), vec![7]));
    assert_eq!((process.console_size, process.personality), (Some((24, 80)), Some(8)));
    assert_eq!((process.io_priority, process.env.len()), (Some(1 << 13 | 1), 2));
    let scheduler = process.scheduler.unwrap();
    assert_eq!((scheduler.policy, scheduler.nice, scheduler.flags), (3, 5, 1));
    assert_eq!(process.rlimits, [(libc::RLIMIT_NOFILE, 1024, 1024)]);

    assert_eq!(plan.annotations, [("a".into(), "1".into()), ("b".into(), "2".into())]);
    assert_eq!(plan.sysctls[1], ("net/ipv4/ip_forward".into(), "1".into()));
    assert_eq!(plan.time_offsets, [("boottime".into(), 5, 0), ("monotonic".into(), -1, 7)]);
    assert_eq!(plan.namespaces[0].kind, NamespaceKind::Pid);
    assert_eq!(plan.namespaces[0].path.as_deref(), Some(Path::new("/proc/1/ns/pid")));
    assert_eq!(plan.rootfs.propagation, Some(libc::MS_SHARED | libc::MS_REC));
    assert_eq!(plan.rootfs.path, bundle.path().join("rootfs"));
    let null = &plan.devices[0];
    assert_eq!((plan.devices.len(), null.major, null.minor, null.mode), (7, 9, 9, 0o600));
    assert_eq!(plan.devices[6].file_type, libc::S_IFIFO);
    assert_eq!(plan.hooks.prestart[0].args, ["/a"]);
    assert_eq!(plan.hooks.poststop[0].args, ["x"]);
    assert_eq!(plan.cgroup.path.as_deref(), Some("/a/b"));

    let MountKind::Filesystem { options, .. } = &plan.mounts[1].kind else { panic!("/dev is a file system") };
    assert_eq!(options.last().unwrap(), &("context".into(), Some("system_u:object_r:t:s0".into())));
    assert_eq!(plan.mounts[6].kind, MountKind::Cgroup);
    let bind = &plan.mounts[7];
    assert_eq!(bind.kind, MountKind::Bind { source: bundle.path().join("file"), recursive: false });
    assert_eq!((bind.destination.to_str(), bind.attrs_set), (Some("/x/y"), libc::MOUNT_ATTR_RDONLY));
    assert_eq!(bind.propagation, [libc::MS_SLAVE | libc::MS_REC]);
    let idmap = plan.mounts[8].idmap.as_ref().unwrap();
    assert!(idmap.recursive && idmap.uid_mappings[0].host == 10 && idmap.gid_mappings[0].host == 20);
    assert_eq!(plan.mounts[8].recursive_set, libc::MOUNT_ATTR_RDONLY);
    let MountKind::Filesystem { options, .. } = &plan.mounts[9].kind else { panic!("/s is a file system") };
    assert_eq!(options[..2], [("sync".into(), None), ("ro".into(), None)]);
}

/// Every place in a JSON document, as pointers.
fn places(value: &Value, at: String, all: &mut Vec<String>) {
    all.push(at.clone());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            places(member, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), all);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    let words = ["", "/", "../..", "\0", "a=b", "=", "rbind", "idmap", "user", "uid=4294967295", "é1MB", "0é", "CAP_X"];
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        (-2i64..8).prop_map(|value| json!(value)),
        ".{0,20}".prop_map(|value| json!(value)),
        prop::sample::select(words.to_vec()).prop_map(|value| json!(value)),
        prop::collection::vec(any::<u32>(), 0..4).prop_map(|value| json!(value)),
        Just(json!([{"type": "user"}, {"type": "mount"}])),
        Just(json!([{"containerID": 0, "hostID": 0, "size": 4294967295u32}])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_mutation_of_a_configuration_makes_the_planner_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..6),
        full in any::<bool>(),
        rootless in any::<bool>(),
    ) {
        let mut config = if full { full_config() } else { default_config() };
        set(&mut config, "/root/path", json!("/"));
        for (index, value) in changes {
            let mut all = Vec::new();
            places(&config, String::new(), &mut all);
            let place: &String = index.get(&all);
            *config.pointer_mut(place).unwrap() = value;
        }
        if let Err(error) = plan(&config, Path::new("/bundle"), &Host { rootless, ..HOST }) {
            prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        let _ = spec::parse(&bytes);
        let _ = spec::parse_process(&bytes);
        let mut text = spec::to_json(&spec::default_spec(true));
        let from = at.index(text.len());
        let until = (from + bytes.len()).min(text.len());
        text.splice(from..until, bytes);
        let _ = spec::parse(&text).map(|(spec, _)| spec::plan(&spec::Inputs::of(&spec, Path::new("/"), &HOST)));
    }
}
