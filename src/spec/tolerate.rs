//! Where callers rely on something that our JSON types would refuse, the text is brought into shape first, with a
//! warning if that drops anything:
//! * `null` is the same as an absent property (what Go's decoder makes of it, and Go programs write it);
//! * `process.user` may be absent: root;
//! * a capability that is not known is dropped, so that a configuration for a newer kernel still runs;
//! * scheduler flags are spelled as in the specification;
//! * an annotation of crun's that the specification has a property for is that property.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{annotations, check};

/// Scheduler flags: the specification's spelling, and the one that our types read.
const SCHEDULER_FLAGS: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];

pub(super) fn config(value: &mut Value, warnings: &mut Vec<String>) {
    drop_nulls(value);
    annotations::translate(value);
    if let Some(inner) = value.get_mut("process") {
        process(inner, warnings, "process.");
    }
}

/// `prefix` is what stands before the names of the fields in a warning.
pub(super) fn process(value: &mut Value, warnings: &mut Vec<String>, prefix: &str) {
    drop_nulls(value);
    let Some(fields) = value.as_object_mut() else { return };
    fields.entry("user").or_insert_with(|| json!({}));
    if let Some(sets) = fields.get_mut("capabilities").and_then(Value::as_object_mut) {
        for (name, set) in sets {
            if let Some(set) = set.as_array_mut() {
                drop_unknown_capabilities(set, warnings, &format!("{prefix}capabilities.{name}"));
            }
        }
    }
    let flags = fields.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((_, ours)) = SCHEDULER_FLAGS.iter().find(|(theirs, _)| flag.as_str() == Some(theirs)) {
            *flag = json!(ours);
        }
    }
}

/// What is not text stays, and is refused for its type.
fn drop_unknown_capabilities(set: &mut Vec<Value>, warnings: &mut Vec<String>, field: &str) {
    set.retain(|entry| match entry.as_str() {
        Some(name) if caps::Capability::from_str(name).is_err() => {
            warnings.push(format!("{field}: {} is not a known capability; ignored", check::quote(name)));
            false
        }
        _ => true,
    });
}

/// Only members of objects: a `null` in a list is a value of the wrong type.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_capabilities_are_dropped_and_told() {
        let mut value = json!({"process": {"capabilities": {"bounding": ["CAP_KILL", "CAP_NONE", "kill", 3]}}});
        let mut warnings = Vec::new();
        config(&mut value, &mut warnings);
        assert_eq!(value["process"]["capabilities"]["bounding"], json!(["CAP_KILL", 3]));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].starts_with("process.capabilities.bounding: \"CAP_NONE\""), "{warnings:?}");
    }

    #[test]
    fn null_means_absent_but_not_in_a_list() {
        let mut value = json!({"a": null, "b": {"c": null, "d": [null, {"e": null}]}});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": {"d": [null, {}]}}));
    }
}
