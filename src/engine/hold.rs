//! A sandbox that this process has locked, and whose last transition is complete.

use std::time::Duration;

use super::effects::Grip;
use super::heal::{self, Mend};
use super::{EngineError, Probe, Recorder};
use crate::model::Id;
use crate::model::record::Snapshot;
use crate::store::{Folder, LockError, Root};

/// The lock, and what it protects.
pub struct Held<'a> {
    pub(super) grip: Grip<'a>,
    pub(super) snapshot: Snapshot,
}

impl<'a> Held<'a> {
    /// Locks and heals. None: there is no such sandbox, or its left-over creation has just been undone.
    ///
    /// `mend` gives what can change the machine underneath it; it is asked only where there is something to heal.
    pub fn acquire<P: Probe, H: Mend>(
        root: &'a Root,
        id: &Id,
        deadline: Duration,
        recorder: Recorder<'a>,
        probe: &P,
        mend: &H,
    ) -> Result<Option<Held<'a>>, EngineError<H::Error>> {
        let Some(folder) = root.find(id)? else { return Ok(None) };
        let guard = match folder.lock(deadline) {
            Ok(guard) => guard,
            Err(LockError::Gone) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(heal::heal(folder, guard, recorder, probe, mend)?.held)
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn folder(&self) -> &Folder {
        &self.grip.folder
    }

    pub fn recorder(&mut self) -> &mut Recorder<'a> {
        &mut self.grip.recorder
    }
}
