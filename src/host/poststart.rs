//! Poststart hooks: run once the application does, without the sandbox's lock. A failure is the end of the container.

use std::path::Path;

use super::HostError;
use super::destroy::Destruction;
use super::frozen::{root_container, state_document};
use super::hooks::{Given, Ledger};
use crate::engine::Effects;
use crate::model::record::{HookKind, Snapshot};
use crate::model::{Effect, Phase};

/// Those that have not begun; stops at the first that fails.
pub fn run(ledger: &Ledger, snapshot: &Snapshot) -> Result<(), HostError> {
    let container = root_container(snapshot);
    let pid = container.map_or(0, |container| container.init.pid);
    let state = state_document(snapshot, "running", pid).to_string();
    let bundle = container.map_or(Path::new("/"), |container| &container.bundle);
    ledger.run(HookKind::Poststart, Given { state_json: state.as_bytes(), bundle })
}

/// Whether the command that had to run them died of something else. To be asked with the sandbox's lock held.
pub fn is_due(ledger: &Ledger, snapshot: &Snapshot) -> Result<bool, HostError> {
    let runs = [Phase::Running, Phase::Paused].contains(&snapshot.state.sandbox.phase);
    Ok(runs && ledger.poststart_is_due()?)
}

/// Goes on in the place of a dead command that had claimed them, and does as that would have done. `ledger` has been
/// claimed for this process. What was done is told.
pub fn resume(ledger: &Ledger, snapshot: &Snapshot) -> Result<Vec<String>, HostError> {
    match run(ledger, snapshot) {
        Ok(()) => Ok(vec!["ran the poststart hooks that its start had left".to_owned()]),
        Err(error) => {
            Destruction::of(snapshot).perform(Effect::KillContainer)?;
            Ok(vec![format!("killed it, since {}", crate::container::one_line(&error))])
        }
    }
}
