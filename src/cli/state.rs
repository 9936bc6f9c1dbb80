//! `state`: the OCI state of a sandbox (runtime-spec, "State"), with what runc adds and the supervisor's pid.

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::{look, time};
use crate::host::frozen::{root_container, state_document};
use crate::model::Phase;
use crate::model::record::Snapshot;
use crate::spec::OCI_VERSION;

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let (id, seen) = look::at(context, &arguments.id)?;
    let state = match &seen.snapshot {
        Some(snapshot) => document(snapshot, seen.phase().oci_status(), visible_pid(snapshot)),
        None => json!({ "ociVersion": OCI_VERSION, "id": id.as_str(), "status": "creating", "pid": 0, "bundle": "" }),
    };
    println!("{state:#}");
    Ok(0)
}

/// 0 once there is no process any more.
pub fn visible_pid(snapshot: &Snapshot) -> i32 {
    let phase = snapshot.state.sandbox.phase;
    let alive = phase.is_alive() || phase == Phase::Creating;
    root_container(snapshot).filter(|_| alive).map_or(0, |container| container.init.pid)
}

/// The OCI state, and what runc and we add to it.
pub fn document(snapshot: &Snapshot, status: &str, pid: i32) -> Value {
    let mut state = state_document(snapshot, status, pid);
    state["created"] = json!(time::rfc3339(snapshot.sandbox.created));
    state["supervisorPid"] = json!(snapshot.sandbox.supervisor.pid);
    if let Some(container) = root_container(snapshot) {
        state["rootfs"] = json!(container.rootfs);
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
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()));
    line.and_then(|line| line.split(':').next()).unwrap_or_default().to_owned()
}
