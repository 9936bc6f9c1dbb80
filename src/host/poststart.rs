//! Poststart hooks: run once the application does, without the sandbox's lock. A failure is the end of the container: it is
//! stopped and destroyed, and its poststop hooks are run (runtime-spec 1.3, "Lifecycle", steps 9 and 12).

use std::path::Path;

use super::HostError;
use super::hooks::{Given, Ledger};
use super::kept::{root_container, state_of};
use crate::model::Phase;
use crate::model::record::{HookKind, Snapshot};

/// Those that have not begun; stops at the first that fails.
pub fn run(ledger: &Ledger, snapshot: &Snapshot) -> Result<(), HostError> {
    let container = root_container(snapshot);
    let pid = container.map_or(0, |container| container.init.pid);
    let state = state_of(snapshot).document(Phase::Running, pid).to_string();
    let bundle = container.map_or(Path::new("/"), |container| &container.bundle);
    ledger.run(HookKind::Poststart, Given { state_json: state.as_bytes(), bundle })
}

/// Whether the command that had to run them, or to destroy the container after one that failed, died of something else. To
/// be asked with the sandbox's lock held.
pub fn is_due(ledger: &Ledger, snapshot: &Snapshot) -> Result<bool, HostError> {
    match snapshot.state.sandbox.phase {
        Phase::Running | Phase::Paused => ledger.poststart_is_due(),
        Phase::Stopped => ledger.poststart_has_failed(),
        Phase::Absent | Phase::Creating | Phase::Booted => Ok(false),
    }
}
