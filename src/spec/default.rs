//! What `sandkeep spec` writes: a shell in a root file system beside the config.json, under the default seccomp profile and
//! with the paths covered that docker covers.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::fs;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::Spec;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::{Abis, default_seccomp};

/// Nothing that is written is younger, and there are runtimes that refuse what says that it is (crun 1.8).
const VERSION: &str = "1.1.0";

/// Of the bounding set depends what the seccomp profile allows.
const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// What tells of the host's hardware, memory, keys and timers, or of what others do at this moment: interrupts and power meters
/// have betrayed keystrokes and cryptographic keys. As docker has it; [`thermal_counters`] come on top.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A configuration that runs as it is, on this host and for this user, given a `rootfs` folder in the bundle.
pub fn default_spec(rootless: bool) -> Spec {
    let mut config = common();
    if unified_cgroups() {
        namespaces(&mut config).push(json!({"type": "cgroup"}));
    }
    if rootless {
        make_rootless(&mut config);
    }
    serde_json::from_value(config).expect("the default configuration has the shape of one")
}

/// Pretty JSON with a final newline, the most interesting properties first, the same text each time.
pub fn to_json(spec: &Spec) -> Vec<u8> {
    let mut value = serde_json::to_value(spec).expect("a specification is JSON");
    sort_capabilities(&mut value);
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    let members = value.as_object().cloned().unwrap_or_default();
    InOrder(members).serialize(&mut serializer).expect("writing to memory does not fail");
    text.push(b'\n');
    text
}

fn common() -> Value {
    let masked: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).chain(thermal_counters()).collect();
    json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "sandkeep",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "maskedPaths": masked,
            "readonlyPaths": READ_ONLY,
            "seccomp": default_seccomp(&CAPABILITIES, Abis::All),
        },
    })
}

/// How often each processor got too hot, where the host counts that.
fn thermal_counters() -> Vec<String> {
    let processors = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let mut found: Vec<(u32, String)> = processors
        .filter_map(|entry| {
            let path = entry.path().join("thermal_throttle");
            let number = entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok()?;
            path.is_dir().then(|| (number, path.to_string_lossy().into_owned()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// An ordinary user: root in the container is the user, the network is the host's (a new one could not be wired up),
/// and so /sys is too; no group 5, no device rules.
fn make_rootless(config: &mut Value) {
    namespaces(config).retain(|namespace| namespace["type"] != "network");
    namespaces(config).push(json!({"type": "user"}));
    let linux = &mut config["linux"];
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": geteuid().as_raw(), "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": getegid().as_raw(), "size": 1}]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            mount["type"] = json!("none");
            mount["source"] = json!("/sys");
            // Also what is mounted below: the user may have been given a cgroup there (CVE-2023-25809).
            mount["options"] = json!(["rbind", "nosuid", "noexec", "nodev", "rro"]);
        } else if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}

fn mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> Value {
    let mut mount = json!({"destination": destination, "type": typ, "source": source});
    if !options.is_empty() {
        mount["options"] = json!(options);
    }
    mount
}

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().expect("the default configuration has namespaces")
}

/// Whether the host has cgroup v2 alone, where a cgroup namespace hides the host's tree.
fn unified_cgroups() -> bool {
    statfs("/sys/fs/cgroup").is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// Our types keep capabilities in a set without order.
fn sort_capabilities(spec: &mut Value) {
    let sets = spec.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(Map::values_mut).filter_map(Value::as_array_mut) {
        set.sort_by_key(|name| name.as_str().unwrap_or_default().to_owned());
    }
}

struct InOrder(Map<String, Value>);

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 6] = ["ociVersion", "process", "root", "hostname", "mounts", "linux"];
        let first = FIRST.into_iter().filter_map(|name| self.0.get(name).map(|value| (name, value)));
        let others = self.0.iter().map(|(name, value)| (name.as_str(), value));
        let others = others.filter(|(name, _)| !FIRST.contains(name));
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in first.chain(others) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Host, Inputs, parse, plan};

    #[test]
    fn what_is_written_is_read_back_and_planned_without_a_warning() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
        for rootless in [false, true] {
            let spec = default_spec(rootless);
            let (read, mut warnings) = parse(&to_json(&spec)).unwrap();
            assert_eq!(read, spec);
            let host = Host { rootless, last_capability: 40 };
            let (plan, more) = plan(&Inputs::of(&read, bundle.path(), &host)).unwrap();
            warnings.extend(more);
            assert_eq!(warnings, Vec::<String>::new());
            assert_eq!((plan.devices.len(), plan.mounts.len()), (6, 7));
            assert_eq!(plan.uid_mappings.len(), usize::from(rootless));
        }
    }

    #[test]
    fn the_text_is_stable_and_ends_with_a_newline() {
        let text = String::from_utf8(to_json(&default_spec(false))).unwrap();
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.1.0\",\n\t\"process\""), "{text}");
        assert!(text.ends_with("}\n"));
        assert_eq!(text.as_bytes(), to_json(&default_spec(false)));
    }
}
