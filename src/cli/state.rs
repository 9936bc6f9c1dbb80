//! `state`: the OCI state of a sandbox (runtime-spec, "State"), with what runc adds and the supervisor's pid.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use clap::Args;
use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::{Answer, Done};
use super::time;
use crate::host::kept::{root_container, state_of};
use crate::model::Phase;
use crate::model::record::Snapshot;
use crate::spec::OciState;

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let (_, id, seen) = context.see(&arguments.id)?;
    let state = match &seen.snapshot {
        Some(snapshot) => document(snapshot),
        None => OciState::of_unborn(id.as_str()).document(seen.phase(), 0),
    };
    // Never fails: every key is a string.
    println!("{}", serde_json::to_string_pretty(&InOrder(&state)).unwrap_or_default());
    Ok(Done::Well)
}

/// A state with its properties in runc's order, which some callers match as text; what is ours alone comes last.
pub struct InOrder<'a>(pub &'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const ORDER: [&str; 9] =
            ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];
        let members = self.0.as_object();
        let known = ORDER.iter().filter_map(|key| Some((*key, members?.get(*key)?)));
        let ours = members.into_iter().flatten().map(|(key, value)| (key.as_str(), value));
        serializer.collect_map(known.chain(ours.filter(|(key, _)| !ORDER.contains(key))))
    }
}

/// 0 once there is no process any more.
fn visible_pid(snapshot: &Snapshot) -> i32 {
    let phase = snapshot.state.sandbox.phase;
    let alive = phase.is_alive() || phase == Phase::Creating;
    root_container(snapshot).filter(|_| alive).map_or(0, |container| container.init.pid)
}

/// The OCI state, and what runc and we add to it.
pub fn document(snapshot: &Snapshot) -> Value {
    let mut state = state_of(snapshot).document(snapshot.state.sandbox.phase, visible_pid(snapshot));
    state["created"] = json!(time::rfc3339(snapshot.sandbox.created));
    state["supervisorPid"] = json!(snapshot.sandbox.supervisor.pid);
    if let Some(container) = root_container(snapshot) {
        state["rootfs"] = json!(container.rootfs.to_string_lossy());
        // As runc: only `list` looks the name up.
        state["owner"] = json!("");
    }
    if let Some(exit) = &snapshot.state.sandbox.exit {
        state["exit"] = json!({
            "code": exit.code,
            "signal": exit.signal,
            "at": time::rfc3339(exit.at),
            "inferred": exit.inferred,
        });
    }
    state
}

/// From /etc/passwd; a static binary has no name service switch. runc leaves it empty when there is no name.
pub fn owner_name(uid: u32) -> String {
    let passwd = crate::sys::text::read("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()));
    line.and_then(|line| line.split(':').next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_that_runc_prints_come_in_its_order_and_ours_after_them() {
        let state = json!({ "status": "running", "exit": 1, "created": "x", "bundle": "/b", "id": "a", "pid": 2,
                            "ociVersion": "1.3.0", "rootfs": "/b/r", "owner": "", "annotations": {}, "a": 0 });
        let text = serde_json::to_string(&InOrder(&state)).unwrap();
        let expected = r#"{"ociVersion":"1.3.0","id":"a","pid":2,"status":"running","bundle":"/b","rootfs":"/b/r","#;
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with(r#""created":"x","annotations":{},"owner":"","a":0,"exit":1}"#), "{text}");
    }
}
