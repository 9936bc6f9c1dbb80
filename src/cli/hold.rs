//! A sandbox locked and healed, for commands that change it.

use std::os::fd::AsFd;
use std::time::Duration;

use super::context::Context;
use super::failure::Failure;
use crate::engine::{Effects, EngineError, Held, Recorder, Wreck};
use crate::host::kept::destruction_of;
use crate::host::kill;
use crate::host::mend::Mender;
use crate::host::probe::{self, Prober};
use crate::model::{End, Id};
use crate::store::{LockError, Root};

/// How long a command waits for another one that holds the sandbox.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn hold<'a>(root: &'a Root, id: &Id) -> Result<Option<Held<'a>>, Failure> {
    Ok(acquire(root, id, PATIENCE)?)
}

/// For a command that has yet to fork: what healing records waits for the next opener of the store, and this process
/// keeps its one thread.
pub fn hold_without_store<'a>(root: &'a Root, id: &Id) -> Result<Option<Held<'a>>, Failure> {
    Ok(Held::acquire(root, id, PATIENCE, Recorder::pending_only(root), &Prober, &Mender)?)
}

/// For `delete --force`: whoever still holds the sandbox after `patience` is killed, and what it left is healed.
pub fn seize<'a>(context: &Context, root: &'a Root, id: &Id, patience: Duration) -> Result<Option<Held<'a>>, Failure> {
    match acquire(root, id, patience) {
        Err(EngineError::Lock(LockError::Busy { intent: Some(intent), .. })) => {
            if let Some(holder) = probe::open_if_alive(&intent.holder, &intent.boot)? {
                context.log.debug(&format!("killing process {}, which holds {:?}", intent.holder.pid, id.as_str()));
                kill::and_wait(holder.as_fd(), false)?;
            }
            Ok(acquire(root, id, PATIENCE)?)
        }
        // Whether it was started does not matter any more, and only its supervisor could tell.
        Err(EngineError::Undecided { .. }) => {
            kill_supervisor(root, id)?;
            Ok(acquire(root, id, PATIENCE)?)
        }
        other => Ok(other?),
    }
}

fn kill_supervisor(root: &Root, id: &Id) -> Result<(), Failure> {
    let Some(folder) = root.find(id)? else { return Ok(()) };
    let snapshot = folder.read_snapshot()?;
    if snapshot.is_some() {
        let wreck = Wreck { folder: &folder, snapshot: snapshot.as_ref(), intent: None };
        destruction_of(&wreck).perform(End::KillSandbox)?;
    }
    Ok(())
}

fn acquire<'a>(
    root: &'a Root,
    id: &Id,
    patience: Duration,
) -> Result<Option<Held<'a>>, EngineError<crate::host::HostError>> {
    Held::acquire(root, id, patience, Recorder::new(root), &Prober, &Mender)
}

/// Tells the user what the store had to say.
pub fn tell_notices(context: &Context, held: &mut Held<'_>) {
    for notice in held.recorder().take_notices() {
        context.log.warn(&notice);
    }
}
