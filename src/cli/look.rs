//! What readers see: the published snapshot in the light of the facts. Never locks, never opens the store, never heals.

use super::context::Context;
use super::failure::Failure;
use crate::engine::{self, Depth, Facts, Probe, heal};
use crate::host::probe::Prober;
use crate::model::record::{ContainerState, Intent, Snapshot};
use crate::model::{Event, Id, Phase};
use crate::store::{Folder, Root};
use crate::sys::procfs;

/// A sandbox as it is right now.
pub struct Seen {
    pub folder: Folder,
    /// None while it is being made and no process of it is recorded yet.
    pub snapshot: Option<Snapshot>,
    pub facts: Facts,
}

impl Seen {
    pub fn phase(&self) -> Phase {
        self.snapshot.as_ref().map_or(Phase::Creating, |snapshot| snapshot.state.sandbox.phase)
    }

    pub fn state(&self) -> Option<&ContainerState> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.state.sandbox)
    }
}

/// The sandbox with this id, or the failure that it does not exist.
pub fn at(context: &Context, id: &str) -> Result<(Id, Seen), Failure> {
    let id = Id::parse(id)?;
    let Some(root) = context.open_root()? else { return Err(Failure::does_not_exist(id.as_str())) };
    match root.find(&id)? {
        Some(folder) => Ok((id, look(folder)?)),
        None => Err(Failure::does_not_exist(id.as_str())),
    }
}

/// Every sandbox; one that cannot be read is a failure of its own and stops no other.
pub fn all(root: &Root) -> Result<Vec<Result<Seen, Failure>>, Failure> {
    Ok(root.folders()?.into_iter().map(look).collect())
}

fn look(folder: Folder) -> Result<Seen, Failure> {
    let snapshot = folder.read_snapshot()?;
    let Some(snapshot) = snapshot else {
        return Ok(Seen { folder, snapshot: None, facts: Facts::default() });
    };
    let left_over = folder.intent_unlocked().filter(|intent| !holder_is_alive(intent));
    let depth = if left_over.is_some() { Depth::Deep } else { Depth::Shallow };
    let facts = Prober.facts(&folder, &snapshot, depth);
    let at = engine::now();
    let mut seen = snapshot;
    if let Some(intent) = left_over {
        tell_left_over(&mut seen, &intent, &facts, at);
    }
    let seen = engine::observe(&seen, &facts, at);
    Ok(Seen { folder, snapshot: Some(seen), facts })
}

fn holder_is_alive(intent: &Intent) -> bool {
    procfs::is_alive(&intent.holder, &intent.boot)
}

/// A transition that was cut short is told as what the facts show; the next command that changes something heals it.
fn tell_left_over(seen: &mut Snapshot, intent: &Intent, facts: &Facts, at: i64) {
    match heal::judge(intent, Some(seen), facts) {
        heal::Verdict::Record => {
            engine::apply(seen, intent.container.as_str(), intent.event, None, at);
        }
        // Its creator is dead, and everything it made with it.
        heal::Verdict::Abandon if intent.event == Event::LaunchRequested => {
            seen.state.sandbox.phase = Phase::Stopped;
            seen.state.sandbox.exit = Some(engine::inferred(at));
        }
        _ => {}
    }
}
