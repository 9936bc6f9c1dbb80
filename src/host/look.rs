//! What readers see: the published snapshot in the light of the facts. Never locks, never opens the store, never heals.
//! What it means is in [`reader`].

use super::probe::Prober;
use super::{HostError, LookError};
use crate::engine::reader::{self, Unfinished};
use crate::engine::{self, Facts, Probe, pod_of};
use crate::model::record::{ContainerState, Snapshot};
use crate::model::{Denial, Event, Id, Machine, Phase};
use crate::store::{Folder, Root};
use crate::sys::procfs;

/// A sandbox as it is right now.
pub struct Seen {
    /// Open; it may have been renamed away since.
    pub folder: Folder,
    /// None while it is being made and no process of it is recorded yet.
    pub snapshot: Option<Snapshot>,
    /// As deep as the reader needed them.
    pub facts: Facts,
    phase: Phase,
}

impl Seen {
    /// By snapshot, facts and whatever is under way.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// None where there is no snapshot.
    pub fn state(&self) -> Option<&ContainerState> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.state.sandbox)
    }

    /// The snapshot, if this may happen to the sandbox now.
    pub fn allowing(&self, id: &Id, event: Event) -> Result<&Snapshot, Denial> {
        let snapshot = self.snapshot.as_ref().ok_or_else(|| denied(id, self.phase, event))?;
        pod_of(snapshot).step(id.as_str(), id.as_str(), event)?;
        Ok(snapshot)
    }
}

/// This cannot happen to a sandbox in this phase.
pub fn denied(id: &Id, from: Phase, event: Event) -> Denial {
    Denial { machine: Machine::Sandbox, id: id.to_string(), from, event, sandbox: None }
}

/// The sandbox with this id.
pub fn one(root: &Root, id: &Id) -> Result<Seen, HostError> {
    find(root, id)?.ok_or_else(|| HostError::Absent { id: id.clone() })
}

/// None: there is no such sandbox.
pub fn find(root: &Root, id: &Id) -> Result<Option<Seen>, LookError> {
    while let Some(folder) = root.find(id)? {
        if let Some(seen) = look(folder)? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// Every sandbox; one that cannot be read is a failure of its own and stops no other.
pub fn all(root: &Root) -> Result<Vec<Result<Seen, LookError>>, LookError> {
    Ok(root.folders()?.into_iter().filter_map(|folder| look(folder).transpose()).collect())
}

/// None: it was deleted while we looked, and what was seen in its folder means nothing.
fn look(folder: Folder) -> Result<Option<Seen>, LookError> {
    let looked = examine(&folder);
    let is_current = folder.is_current();
    if !is_current.map_err(|source| LookError::Folder { folder: folder.path(), source })? {
        return Ok(None);
    }
    let (snapshot, facts, phase) = looked?;
    Ok(Some(Seen { folder, snapshot, facts, phase }))
}

fn examine(folder: &Folder) -> Result<(Option<Snapshot>, Facts, Phase), LookError> {
    // Before the snapshot: a creation has an intent until its outcome is published.
    let intent = folder.intent_unlocked()?;
    let unfinished = Unfinished::of(intent.as_ref(), |intent| procfs::is_alive(&intent.holder, &intent.boot));
    let Some(snapshot) = folder.read_snapshot()? else {
        let lost = || LookError::Lost { folder: folder.path() };
        return Ok((None, Facts::default(), unfinished.phase_unborn().ok_or_else(lost)?));
    };
    let facts = Prober.facts(folder, &snapshot, unfinished.depth());
    let seen = reader::as_read(snapshot, unfinished, &facts, engine::now());
    let phase = seen.state.sandbox.phase;
    Ok((Some(seen), facts, phase))
}
