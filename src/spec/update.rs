//! Limits that change: reading what `update` asks for, and adding it to what held before.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::{SpecError, load, resources};

/// Where a number or a text like this means "not given" (0, or nothing), as with every other runtime.
const ZERO_IS_ABSENT: [(&str, &[&str]); 4] = [
    ("memory", &["limit", "reservation", "swap", "kernel", "kernelTCP"]),
    ("cpu", &["shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems"]),
    ("pids", &["limit"]),
    ("blockIO", &["weight", "leafWeight"]),
];

/// Lists whose entries are told apart by these properties.
const KEYED: [(&str, &[&str]); 7] = [
    ("hugepageLimits", &["pageSize"]),
    ("weightDevice", &["major", "minor"]),
    ("throttleReadBpsDevice", &["major", "minor"]),
    ("throttleWriteBpsDevice", &["major", "minor"]),
    ("throttleReadIOPSDevice", &["major", "minor"]),
    ("throttleWriteIOPSDevice", &["major", "minor"]),
    ("priorities", &["name"]),
];

/// `update --resources FILE`; `-` is standard input.
pub fn load_limits(file: &Path) -> Result<LinuxResources, SpecError> {
    let (limits, _) = load::load_resources(file)?;
    checked(limits)
}

/// The same from properties that were given one by one.
pub fn limits_of(properties: Value) -> Result<LinuxResources, SpecError> {
    let (limits, _) = load::parse_resources(properties.to_string().as_bytes())?;
    checked(limits)
}

fn checked(mut limits: LinuxResources) -> Result<LinuxResources, SpecError> {
    // As with runc, device rules are not for updating: whoever has added some beside us keeps them.
    limits.set_devices(None);
    resources::check("resources", &limits)?;
    Ok(limits)
}

/// As `linux.resources`; an empty object for none.
pub fn limits_to_json(limits: Option<&LinuxResources>) -> Value {
    let mut value =
        limits.map_or_else(|| Value::Object(Map::new()), |limits| serde_json::to_value(limits).unwrap_or_default());
    if let Some(members) = value.as_object_mut() {
        members.remove("devices");
    }
    value
}

/// `base`, with everything that `given` says in its place.
pub fn merge_limits(mut base: Value, given: &LinuxResources) -> Value {
    let mut given = limits_to_json(Some(given));
    drop_absent(&mut given);
    let memory = given.get_mut("memory").and_then(Value::as_object_mut);
    if let Some(memory) = memory.filter(|memory| memory.get("limit") == Some(&Value::from(-1))) {
        // No limit on memory means none on swap either.
        memory.entry("swap").or_insert(Value::from(-1));
    }
    merge(&mut base, given);
    base
}

/// What an update has to write: what was given, and what holds already and would otherwise be lost by it, or come to mean
/// something else. `merged` is all that holds from now on.
/// * A limit on memory alone keeps the one on memory and swap together, which v2 has in another form.
/// * A cgroup that stops being idle has the kernel's usual weight, not its own.
/// * A weight for all devices takes those of single ones away (bfq).
pub fn effective_limits(merged: &Value, given: &LinuxResources) -> Result<LinuxResources, SpecError> {
    let mut given = limits_to_json(Some(given));
    drop_absent(&mut given);
    let says = |given: &Value, path: &str| given.pointer(path).is_some();
    let keep = |given: &mut Value, path: &str| {
        let (group, name) = path[1..].split_once('/').unwrap_or_default();
        if let (None, Some(value)) = (given.pointer(path), merged.pointer(path)) {
            given[group][name] = value.clone();
        }
    };
    if says(&given, "/memory/limit") && merged["memory"]["swap"].as_i64().is_some_and(|both| both > 0) {
        keep(&mut given, "/memory/swap");
    }
    let stops = given["cpu"]["idle"] == 0 || given["unified"]["cpu.idle"].as_str().map(str::trim) == Some("0");
    let weights = ["/cpu/shares", "/unified/cpu.weight", "/unified/cpu.weight.nice"];
    if stops && !weights.iter().any(|path| says(&given, path)) {
        weights.iter().for_each(|path| keep(&mut given, path));
    }
    if says(&given, "/blockIO/weight") {
        // The merged list has those that were given, too.
        if let Some(devices) = merged.pointer("/blockIO/weightDevice") {
            given["blockIO"]["weightDevice"] = devices.clone();
        }
    }
    limits_of(given)
}

/// What was given, with what it says nothing by itself without: quota and period, memory and swap. `merged` is all that
/// holds now.
pub fn completed_limits(merged: &Value, given: &LinuxResources) -> Result<LinuxResources, SpecError> {
    const TOGETHER: [(&str, [&str; 2]); 2] = [("cpu", ["quota", "period"]), ("memory", ["limit", "swap"])];
    let mut given = limits_to_json(Some(given));
    drop_absent(&mut given);
    for (group, names) in TOGETHER {
        let Some(members) = given.get_mut(group).and_then(Value::as_object_mut) else { continue };
        if names.iter().any(|name| members.contains_key(*name)) {
            for name in names {
                if let Some(value) = merged.get(group).and_then(|group| group.get(name)) {
                    members.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    if merged["cpu"]["idle"] == 1
        && let Some(cpu) = given.get_mut("cpu").and_then(Value::as_object_mut)
    {
        // Whoever is told a weight takes the cgroup for one that is not idle.
        cpu.remove("shares");
    }
    limits_of(given)
}

fn drop_absent(given: &mut Value) {
    for (group, names) in ZERO_IS_ABSENT {
        let Some(members) = given.get_mut(group).and_then(Value::as_object_mut) else { continue };
        members.retain(|name, value| !names.contains(&name.as_str()) || !(*value == 0 || *value == ""));
    }
}

fn merge(base: &mut Value, given: Value) {
    match (base, given) {
        (Value::Object(base), Value::Object(given)) => {
            for (name, value) in given {
                match base.get_mut(&name) {
                    None => {
                        base.insert(name, value);
                    }
                    Some(old) => match KEYED.iter().find(|(list, _)| *list == name) {
                        Some((_, keys)) => merge_list(old, value, keys),
                        None => merge(old, value),
                    },
                }
            }
        }
        (base, given) => *base = given,
    }
}

fn merge_list(base: &mut Value, given: Value, keys: &[&str]) {
    let (Value::Array(base), Value::Array(given)) = (base, given) else { return };
    let key_of = |entry: &Value| keys.iter().map(|key| format!("{:?}", entry.get(key))).collect::<Vec<_>>();
    let mut places: HashMap<Vec<String>, usize> = HashMap::new();
    for (place, old) in base.iter().enumerate() {
        places.entry(key_of(old)).or_insert(place);
    }
    for entry in given {
        let place = *places.entry(key_of(&entry)).or_insert(base.len());
        match base.get_mut(place) {
            Some(old) => *old = entry,
            None => base.push(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(base: Value, given: Value) -> Value {
        merge_limits(base, &limits_of(given).unwrap())
    }

    #[test]
    fn what_is_not_given_keeps_its_value() {
        let base = json!({"memory": {"limit": 100, "swap": 200}, "cpu": {"quota": 5}, "pids": {"limit": 9}});
        let given = json!({"memory": {"limit": 0, "reservation": 50, "swap": 0}, "cpu": {"period": 1000, "cpus": ""}});
        let expected = json!({"memory": {"limit": 100, "reservation": 50, "swap": 200},
                              "cpu": {"quota": 5, "period": 1000}, "pids": {"limit": 9}});
        assert_eq!(merged(base, given), expected);
    }

    #[test]
    fn entries_of_lists_are_told_apart_by_what_they_are_about() {
        let device = |minor: i64, rate: u64| json!({"major": 8, "minor": minor, "rate": rate});
        let base = json!({"blockIO": {"throttleReadBpsDevice": [device(0, 1), device(1, 2)]},
                          "unified": {"memory.high": "5"}});
        let given = json!({"blockIO": {"throttleReadBpsDevice": [device(1, 7), device(2, 3)]},
                           "unified": {"memory.low": "1"}});
        let expected = json!({"blockIO": {"throttleReadBpsDevice": [device(0, 1), device(1, 7), device(2, 3)]},
                              "unified": {"memory.high": "5", "memory.low": "1"}});
        assert_eq!(merged(base, given), expected);
    }

    #[test]
    fn no_limit_on_memory_lifts_the_one_on_swap_and_devices_are_not_for_updating() {
        let given = json!({"memory": {"limit": -1}, "devices": [{"allow": true, "access": "rwm"}]});
        assert_eq!(merged(json!({"memory": {"swap": 5}}), given), json!({"memory": {"limit": -1, "swap": -1}}));
    }

    #[test]
    fn half_of_a_pair_is_completed_from_what_holds() {
        let merged =
            json!({"cpu": {"quota": 5, "period": 1000, "shares": 7}, "memory": {"limit": 9}, "pids": {"limit": 1}});
        let given = limits_of(json!({"cpu": {"quota": 5}, "pids": {"limit": 1}})).unwrap();
        let completed = completed_limits(&merged, &given).unwrap();
        assert_eq!(
            limits_to_json(Some(&completed)),
            json!({"cpu": {"quota": 5, "period": 1000}, "pids": {"limit": 1}})
        );
    }

    #[test]
    fn what_is_invalid_is_named() {
        let refused = limits_of(json!({"memory": {"limit": -7}})).unwrap_err().to_string();
        assert!(refused.contains("resources.memory.limit"), "{refused}");
    }
}
