//! Files whose values hang together: writing one changes another, or decides whether another may be written.
//!
//! | written | what becomes of others |
//! |---|---|
//! | `cpu.idle` 1 | the weight is gone, and is refused when written, until it is 0 |
//! | `cpu.idle` 0, which was 1 | the weight is the kernel's usual one (sched_group_set_idle) |
//! | `cpu.weight.nice` | `cpu.weight` is one of forty values |
//! | the weight of all devices, of the bfq scheduler | the weights of single devices are gone |

use std::path::Path;

use super::write::Write;
use crate::cgroup::files;
use crate::model::record::FileValue;

const IDLE: &str = "cpu.idle";
const WEIGHTS: [&str; 3] = ["cpu.shares", "cpu.weight", "cpu.weight.nice"];
/// Where each has the weights of single devices.
const DEVICE_WEIGHTS: [(&str, &str); 2] =
    [("io.bfq.weight", "io.bfq.weight"), ("blkio.bfq.weight", "blkio.bfq.weight_device")];

/// In the order that the kernel takes them in. A weight for a cgroup that is idle is not written: what remembers the limits
/// has it, and it is written when the cgroup is idle no more.
pub(super) fn in_order(writes: Vec<Write>) -> Vec<Write> {
    let Some(cpu) =
        writes.iter().find(|write| is_idle(write) || is_weight(write)).and_then(|write| write.file.parent())
    else {
        return writes;
    };
    let was_idle = idles(cpu);
    let will_be = writes.iter().rfind(|write| is_idle(write)).map_or(was_idle, |write| write.value.trim() == "1");
    let (weights, others): (Vec<Write>, Vec<Write>) = writes.into_iter().partition(is_weight);
    match will_be {
        true => others,
        false => others.into_iter().chain(weights).collect(),
    }
}

/// What else this write changes, as it is now. Whoever goes back writes these last, when the file itself has its old value.
pub(super) fn also_changed(write: &Write) -> Vec<FileValue> {
    let Some(folder) = write.file.parent() else { return Vec::new() };
    if (is_idle(write) || is(write, "cpu.weight.nice")) && !idles(folder) {
        let names = ["cpu.shares", "cpu.weight"].into_iter();
        let now = names.filter_map(|name| {
            let file = folder.join(name);
            let value = files::read(&file).ok()?.trim().to_owned();
            Some(FileValue { file, value })
        });
        return now.collect();
    }
    let of_devices = DEVICE_WEIGHTS.iter().find(|(name, _)| is(write, name)).map(|(_, devices)| folder.join(devices));
    let Some(file) = of_devices.filter(|_| !write.value.trim().contains(':')) else { return Vec::new() };
    let text = files::read(&file).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| line.contains(':'));
    lines.map(|line| FileValue { file: file.clone(), value: line.to_owned() }).collect()
}

/// The weight of an idle cgroup: what can be read there cannot be written, and has not to be.
pub(super) fn has_no_value(write: &Write) -> bool {
    is_weight(write) && write.file.parent().is_some_and(idles)
}

fn idles(folder: &Path) -> bool {
    files::read(&folder.join(IDLE)).is_ok_and(|text| text.trim() == "1")
}

fn is_idle(write: &Write) -> bool {
    is(write, IDLE)
}

fn is_weight(write: &Write) -> bool {
    WEIGHTS.iter().any(|name| is(write, name))
}

fn is(write: &Write, name: &str) -> bool {
    write.file.file_name().is_some_and(|file| file == name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cgroup::hierarchies::Version;
    use crate::cgroup::layout::CgroupFolder;
    use crate::cgroup::limits::Change;

    /// A cgroup of v2 that says this, as far as plain files can: what would be written, and what would be written to go back.
    fn of(files: &[(&str, &str)], json: &str) -> (Vec<String>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files.iter().chain(&[("cgroup.controllers", "cpu io\n")]) {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let path = dir.path().to_owned();
        let folder = CgroupFolder { version: Version::V2, controllers: Vec::new(), mount: path.clone(), path };
        let change = Change::on(&[&folder], &serde_json::from_str(json).unwrap()).unwrap();
        let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
        let writes = change.writes().iter().map(|write| format!("{}={}", name(&write.file), write.value));
        let back = change.before().iter().rev().map(|value| format!("{}={}", name(&value.file), value.value));
        (writes.collect(), back.collect())
    }

    const BUSY: [(&str, &str); 3] = [("cpu.idle", "0\n"), ("cpu.weight", "150\n"), ("cpu.weight.nice", "-2\n")];
    const IDLE: [(&str, &str); 3] = [("cpu.idle", "1\n"), ("cpu.weight", "0\n"), ("cpu.weight.nice", "19\n")];

    #[test]
    fn whoever_becomes_idle_gets_its_weight_back_when_that_is_taken_back() {
        let (writes, back) = of(&BUSY, r#"{"cpu": {"idle": 1, "shares": 2048}}"#);
        assert_eq!((writes.join(" "), back.join(" ")), ("cpu.idle=1".into(), "cpu.idle=0 cpu.weight=150".into()));
    }

    #[test]
    fn an_idle_cgroup_has_no_weight_to_write_or_to_go_back_to() {
        let (writes, back) = of(&IDLE, r#"{"cpu": {"shares": 2048}}"#);
        assert!(writes.is_empty() && back.is_empty(), "{writes:?} {back:?}");
        let (writes, back) = of(&IDLE, r#"{"unified": {"cpu.weight": "70", "cpu.idle": "0"}}"#);
        assert_eq!((writes.join(" "), back.join(" ")), ("cpu.idle=0 cpu.weight=70".into(), "cpu.idle=1".into()));
    }

    #[test]
    fn a_weight_given_as_a_nice_value_goes_back_to_the_very_one_of_before() {
        let (_, back) = of(&BUSY, r#"{"unified": {"cpu.weight.nice": "5"}}"#);
        assert_eq!(back, ["cpu.weight.nice=-2", "cpu.weight=150"]);
    }

    #[test]
    fn weights_of_single_devices_come_back_after_that_of_all() {
        let weights = [("io.bfq.weight", "default 100\n8:0 300\n8:16 400\n")];
        let (writes, back) = of(&weights, r#"{"blockIO": {"weight": 500}}"#);
        assert_eq!(writes, ["io.bfq.weight=500"]);
        assert_eq!(back, ["io.bfq.weight=100", "io.bfq.weight=8:16 400", "io.bfq.weight=8:0 300"]);
    }
}
