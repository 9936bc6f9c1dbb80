//! Annotations that ask something of a runtime: those of crun (`run.oci.…`, crun(1)), which callers set and users know.
//!
//! What each of them comes to is a row of the table in docs/compatibility.md. One that has a property of the specification
//! is read as that property, wherever the configuration is read ([`translate`]); one that cannot be had is refused before a
//! container is made ([`check`](check())). Whatever has another name describes the container to others, and is handed on.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::path::{Path, PathBuf};

use libseccomp::ScmpSyscall;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::plan::{NamespaceKind, OriginalGroups, ProcessPlan};
use super::{SpecError, check, namespaces};

const PREFIX: &str = "run.oci.";
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
const CONTEXT_TYPE: &str = "run.oci.mount_context_type";
const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";
const SECCOMP_FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";
const SUBGROUP: &str = "run.oci.systemd.subgroup";
const TIME_OFFSET: &str = "run.oci.timens_offset";

/// What cannot be had here, and the way out.
const REFUSED: [(&str, &str); 8] = [
    (
        "run.oci.delegate-cgroup",
        "a cgroup below the container's own; a cgroup namespace on v2 delegates the container's",
    ),
    ("run.oci.handler", "containers are processes here: no virtual machine (krun), no WebAssembly (wasm)"),
    ("run.oci.hooks.stderr", "let the hook itself redirect what it says"),
    ("run.oci.hooks.stdout", "let the hook itself redirect what it says"),
    ("run.oci.pidfd_autokill", "a container that is to end with its caller is run in the foreground"),
    ("run.oci.seccomp.plugins", "no library is loaded into the runtime; linux.seccomp.listenerPath names an agent"),
    ("run.oci.seccomp_bpf_data", "a filter is given as linux.seccomp"),
    ("run.oci.systemd.force_cgroup_v1", "mount the hierarchy on the host, and bind it into the container"),
];

/// Of those that may change what a container is (runtime-spec, features.md); a value that ends with a dot is a prefix.
pub(super) const UNSAFE: [&str; 3] = ["org.sandkeep.", "org.systemd.property.", PREFIX];

/// Those that another name of the specification exists for become it, where that is not given. What is malformed, or has no
/// place to be, stays, and is refused by [`check`](check()).
pub(super) fn translate(config: &mut Value) {
    let annotation = |config: &Value, name: &str| config["annotations"][name].as_str().map(str::to_owned);
    if let Some(path) = annotation(config, SECCOMP_RECEIVER).filter(|path| path.starts_with('/'))
        && let Some(seccomp) = config.pointer_mut("/linux/seccomp").and_then(Value::as_object_mut)
    {
        seccomp.entry("listenerPath").or_insert(json!(path));
    }
    let offsets = annotation(config, TIME_OFFSET).and_then(|text| time_offsets(&text));
    let offsets = offsets.filter(|_| has_new_clock(config));
    if let Some(offsets) = offsets
        && let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut)
        && let Some(given) = linux.entry("timeOffsets").or_insert_with(|| json!({})).as_object_mut()
    {
        for (clock, secs, nanosecs) in offsets {
            given.entry(clock).or_insert_with(|| json!({"secs": secs, "nanosecs": nanosecs}));
        }
    }
}

fn has_new_clock(config: &Value) -> bool {
    let namespaces = config.pointer("/linux/namespaces").and_then(Value::as_array);
    let new = |namespace: &Value| namespace["type"] == "time" && namespace["path"].as_str().is_none_or(str::is_empty);
    namespaces.is_some_and(|all| all.iter().any(new))
}

/// Before a container is made: one that was made has to be deleted whatever it asked for.
pub(super) fn check(spec: &Spec, warnings: &mut Vec<String>) -> Result<(), SpecError> {
    let mut ours: Vec<(&str, &str)> =
        spec.annotations().iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    ours.retain(|(name, _)| name.starts_with(PREFIX));
    ours.sort_unstable();
    for (name, value) in ours {
        check_one(spec, name, value)?;
    }
    if groups(spec) == OriginalGroups::Kept && has_additional_gids(spec) {
        warnings.push(format!("process.user.additionalGids: ignored, since {KEEP_GROUPS} keeps the caller's groups"));
    }
    Ok(())
}

fn check_one(spec: &Spec, name: &str, value: &str) -> Result<(), SpecError> {
    let invalid = |problem: String| Err(SpecError::invalid(field(name), problem));
    let given = check::quote(value);
    match name {
        KEEP_GROUPS | SECCOMP_FAIL_UNKNOWN if is_on(value).is_none() => invalid(format!("{given} is neither 1 nor 0")),
        SECCOMP_FAIL_UNKNOWN if is_on(value) == Some(true) => know_every_call(spec),
        KEEP_GROUPS | SECCOMP_FAIL_UNKNOWN => Ok(()),
        CONTEXT_TYPE if !CONTEXT_TYPES.contains(&value) => {
            invalid(format!("{given} is not one of {}", CONTEXT_TYPES.join(", ")))
        }
        CONTEXT_TYPE => Ok(()),
        PIDFD_RECEIVER | SECCOMP_RECEIVER => {
            check::absolute(&field(name), Path::new(value))?;
            let filtered = spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some());
            match name == SECCOMP_RECEIVER && !filtered {
                true => invalid("is given without linux.seccomp, so that there is nothing to receive".to_owned()),
                false => Ok(()),
            }
        }
        SUBGROUP if value.is_empty() => Ok(()),
        SUBGROUP => Err(unsupported(name, "no cgroup is made below the container's own: leave it out, or empty")),
        TIME_OFFSET if time_offsets(value).is_none() => {
            invalid(format!("{given} is not CLOCK SECONDS NANOSECONDS, as in time_namespaces(7)"))
        }
        TIME_OFFSET if !keeps_its_own_time(spec)? => {
            invalid("needs a new time namespace in linux.namespaces".to_owned())
        }
        TIME_OFFSET => Ok(()),
        _ => match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, instead)) => Err(unsupported(name, instead)),
            None => Err(unsupported(name, "no such extension is known here")),
        },
    }
}

fn keeps_its_own_time(spec: &Spec) -> Result<bool, SpecError> {
    let planned = spec.linux().as_ref().map(namespaces::plan).transpose()?;
    Ok(planned.is_some_and(|planned| namespaces::is_new(&planned, NamespaceKind::Time)))
}

/// The caller's groups instead of those of the configuration, for the first process and for every later one.
pub(super) fn add(spec: &Spec, process: &mut ProcessPlan) {
    process.original_groups = groups(spec);
}

fn groups(spec: &Spec) -> OriginalGroups {
    match value_of(spec, KEEP_GROUPS).and_then(is_on) {
        Some(true) => OriginalGroups::Kept,
        _ => OriginalGroups::Dropped,
    }
}

fn has_additional_gids(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    process.and_then(|process| process.user().additional_gids().as_ref()).is_some_and(|gids| !gids.is_empty())
}

/// As mount(8) explains them.
const CONTEXT_TYPES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// The mount option that carries `linux.mountLabel`.
pub(super) fn context_type(spec: &Spec) -> &'static str {
    let asked = value_of(spec, CONTEXT_TYPE);
    CONTEXT_TYPES.into_iter().find(|known| asked == Some(*known)).unwrap_or(CONTEXT_TYPES[0])
}

/// Who gets the pidfd of the container's process, if `--pidfd-socket` does not say.
pub fn pidfd_receiver(spec: &Spec) -> Option<PathBuf> {
    value_of(spec, PIDFD_RECEIVER).map(PathBuf::from)
}

fn value_of<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.annotations().as_ref()?.get(name).map(String::as_str)
}

fn is_on(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "" | "0" | "false" => Some(false),
        _ => None,
    }
}

/// Without this a name that libseccomp does not know is left out: the call does not exist here.
fn know_every_call(spec: &Spec) -> Result<(), SpecError> {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    for (at, rule) in seccomp.and_then(|seccomp| seccomp.syscalls().as_ref()).into_iter().flatten().enumerate() {
        if let Some(name) = rule.names().iter().find(|name| ScmpSyscall::from_name(name).is_err()) {
            let problem = format!("{} is not a system call, and {SECCOMP_FAIL_UNKNOWN} is set", check::quote(name));
            return Err(SpecError::invalid(format!("linux.seccomp.syscalls[{at}].names"), problem));
        }
    }
    Ok(())
}

/// (clock, seconds, nanoseconds), a line each; clocks by name or number, as /proc/PID/timens_offsets takes them.
fn time_offsets(text: &str) -> Option<Vec<(&'static str, i64, u32)>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [clock, secs, nanosecs] = words[..] else { return None };
        let clock = match clock {
            "monotonic" | "1" => "monotonic",
            "boottime" | "7" => "boottime",
            _ => return None,
        };
        Some((clock, secs.parse().ok()?, nanosecs.parse().ok()?))
    });
    lines.collect::<Option<Vec<_>>>().filter(|offsets| !offsets.is_empty())
}

fn field(annotation: &str) -> String {
    format!("annotations[{annotation}]")
}

fn unsupported(annotation: &str, instead: &str) -> SpecError {
    SpecError::unsupported(field(annotation), instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_the_kernel_reads_them() {
        assert_eq!(time_offsets("monotonic 1 2\n7 -3 0\n"), Some(vec![("monotonic", 1, 2), ("boottime", -3, 0)]));
        for text in ["", "monotonic", "monotonic 1", "realtime 1 0", "1 x 0", "1 0 -1", "1 0 0 0"] {
            assert_eq!(time_offsets(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_the_configuration_says_itself_is_not_replaced() {
        let annotations = json!({TIME_OFFSET: "1 5 0\n7 6 0", SECCOMP_RECEIVER: "/agent"});
        let mut config = json!({
            "linux": {
                "namespaces": [{"type": "time"}],
                "seccomp": {"listenerPath": "/other"},
                "timeOffsets": {"monotonic": {"secs": 1}},
            },
            "annotations": annotations,
        });
        translate(&mut config);
        assert_eq!(config["linux"]["seccomp"]["listenerPath"], "/other");
        let offsets = json!({"monotonic": {"secs": 1}, "boottime": {"secs": 6, "nanosecs": 0}});
        assert_eq!(config["linux"]["timeOffsets"], offsets);
        let mut config = json!({"linux": {"seccomp": {}}, "annotations": annotations});
        translate(&mut config);
        assert_eq!(config["linux"]["seccomp"]["listenerPath"], "/agent");
        assert_eq!(config["linux"].get("timeOffsets"), None, "without a clock of its own it would be refused for ever");
        // Nothing is made up where nothing is.
        let mut config = json!({"annotations": annotations, "linux": 3});
        translate(&mut config);
        assert_eq!(config["linux"], 3);
    }
}
