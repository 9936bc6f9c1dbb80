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
    phase: Phase,
}

impl Seen {
    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn state(&self) -> Option<&ContainerState> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.state.sandbox)
    }
}

/// The sandbox with this id, or the failure that it does not exist.
pub fn at(context: &Context, id: &str) -> Result<(Id, Seen), Failure> {
    let id = Id::parse(id)?;
    let Some(root) = context.open_root()? else { return Err(Failure::does_not_exist(id.as_str())) };
    match find(&root, &id)? {
        Some(seen) => Ok((id, seen)),
        None => Err(Failure::does_not_exist(id.as_str())),
    }
}

/// None: there is no such sandbox.
pub fn find(root: &Root, id: &Id) -> Result<Option<Seen>, Failure> {
    while let Some(folder) = root.find(id)? {
        if let Some(seen) = look(folder)? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// Every sandbox; one that cannot be read is a failure of its own and stops no other.
pub fn all(root: &Root) -> Result<Vec<Result<Seen, Failure>>, Failure> {
    Ok(root.folders()?.into_iter().filter_map(|folder| look(folder).transpose()).collect())
}

/// None: it was deleted while we looked, and what was seen in its folder means nothing.
fn look(folder: Folder) -> Result<Option<Seen>, Failure> {
    let looked = examine(&folder);
    if !folder.is_current()? {
        return Ok(None);
    }
    let (snapshot, facts, phase) = looked?;
    Ok(Some(Seen { folder, snapshot, facts, phase }))
}

fn examine(folder: &Folder) -> Result<(Option<Snapshot>, Facts, Phase), Failure> {
    // Before the snapshot: a creation has an intent until its outcome is published.
    let intent = folder.intent_unlocked()?;
    let left_over = intent.as_ref().filter(|intent| !holder_is_alive(intent));
    let Some(mut seen) = folder.read_snapshot()? else {
        // Its creator is dead, and everything it made with it.
        let phase = if left_over.is_some() { Phase::Stopped } else { Phase::Creating };
        return match intent {
            Some(_) => Ok((None, Facts::default(), phase)),
            None => Err(Failure::new(format!(
                "the snapshot of the sandbox in {:?} is lost: `sandkeep recover` writes it again",
                folder.path()
            ))),
        };
    };
    let depth = if left_over.is_some() { Depth::Deep } else { Depth::Shallow };
    let facts = Prober.facts(folder, &seen, depth);
    let at = engine::now();
    if let Some(intent) = left_over {
        tell_left_over(&mut seen, intent, &facts, at);
    }
    let seen = engine::observe(&seen, &facts, at);
    let phase = seen.state.sandbox.phase;
    Ok((Some(seen), facts, phase))
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
            // When it died nobody knows: every reader says the same.
            seen.state.sandbox.exit = Some(engine::inferred(intent.at));
        }
        _ => {}
    }
}
