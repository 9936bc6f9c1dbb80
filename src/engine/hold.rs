//! A sandbox that this process has locked, and whose last transition is complete.

use std::time::Duration;

use super::{Effects, EngineError, Probe, Recorder, heal};
use crate::model::Id;
use crate::model::record::Snapshot;
use crate::store::{Folder, Guard, LockError, Root};

/// The lock, and what it protects.
pub struct Held<'a> {
    pub(super) folder: Folder,
    pub(super) guard: Guard,
    pub(super) snapshot: Snapshot,
    pub(super) recorder: Recorder<'a>,
}

impl<'a> Held<'a> {
    /// Locks and heals. None: there is no such sandbox, or its left-over creation has just been undone.
    ///
    /// `machine` gives, for a snapshot, what can change the machine underneath it; it is used only to heal.
    pub fn acquire<E: Effects, P: Probe>(
        root: &'a Root,
        id: &Id,
        deadline: Duration,
        recorder: Recorder<'a>,
        probe: &P,
        machine: impl FnMut(&heal::Wreck<'_>) -> E,
    ) -> Result<Option<Held<'a>>, EngineError<E::Error>> {
        let Some(folder) = root.find(id)? else { return Ok(None) };
        let guard = match folder.lock(deadline) {
            Ok(guard) => guard,
            Err(LockError::Gone) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let healed = heal::heal(folder, guard, recorder, probe, machine)?;
        Ok(healed.held)
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn recorder(&mut self) -> &mut Recorder<'a> {
        &mut self.recorder
    }
}
