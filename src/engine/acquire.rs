//! How a command comes to hold a sandbox: it takes the lock, and heals what the last one left.

use std::time::Duration;

use super::heal::{self, Mend};
use super::{EngineError, Held, Probe, Recorder};
use crate::model::Id;
use crate::store::{LockError, Root};

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
}
