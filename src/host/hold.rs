//! A sandbox locked and healed, for commands that change it.

use std::os::fd::AsFd;
use std::time::Duration;

use super::kept::destruction_of;
use super::mend::Mender;
use super::probe::{self, Prober};
use super::tell::Tell;
use super::{Failed, HostError, kill};
use crate::engine::{Effects, EngineError, Held, Recorder, Wreck};
use crate::model::{End, Id};
use crate::store::{LockError, Root};
use crate::sys::patience;

/// An error, too: healing has just removed it.
pub fn hold<'a>(root: &'a Root, id: &Id) -> Result<Held<'a>, Failed> {
    acquire(root, id, patience::ANOTHER_COMMAND)?.ok_or_else(|| HostError::Absent { id: id.clone() }.into())
}

/// None: there is no such sandbox, or healing has just removed it. For a command that has yet to fork: what healing records waits for the next opener of the store, and this process
/// keeps its one thread.
pub fn hold_without_store<'a>(root: &'a Root, id: &Id) -> Result<Option<Held<'a>>, Failed> {
    Held::acquire(root, id, patience::ANOTHER_COMMAND, Recorder::pending_only(root), &Prober, &Mender)
}

/// For `delete --force`: whoever still holds the sandbox after a while is killed, and what it left is healed.
pub fn seize<'a>(root: &'a Root, id: &Id, tell: &dyn Tell) -> Result<Option<Held<'a>>, Failed> {
    match acquire(root, id, patience::A_COMMAND_TO_KILL) {
        Err(EngineError::Lock(LockError::Busy { intent: Some(intent), .. })) => {
            if let Some(holder) = probe::open_if_alive(&intent.holder, &intent.boot)? {
                let pid = intent.holder.pid;
                tell.debug(&format!("killing process {pid}, which holds {:?}", id.as_str()));
                kill::and_wait(holder.as_fd(), false)?;
            }
            acquire(root, id, patience::ANOTHER_COMMAND)
        }
        // Whether it was started does not matter any more, and only its supervisor could tell.
        Err(EngineError::Undecided { .. }) => {
            kill_supervisor(root, id)?;
            acquire(root, id, patience::ANOTHER_COMMAND)
        }
        other => other,
    }
}

fn kill_supervisor(root: &Root, id: &Id) -> Result<(), Failed> {
    let Some(folder) = root.find(id)? else { return Ok(()) };
    let snapshot = folder.read_snapshot()?;
    if snapshot.is_some() {
        let wreck = Wreck { folder: &folder, snapshot: snapshot.as_ref(), intent: None };
        destruction_of(&wreck).perform(End::KillSandbox)?;
    }
    Ok(())
}

fn acquire<'a>(root: &'a Root, id: &Id, patience: Duration) -> Result<Option<Held<'a>>, Failed> {
    Held::acquire(root, id, patience, Recorder::new(root), &Prober, &Mender)
}
