//! `delete`: a sandbox goes, and with it all it has. A crash leaves the intent of that, which whoever comes next finishes.

use super::kept::destruction_of;
use super::tell::Tell;
use super::{Failed, hold, signal};
use crate::engine::{Held, Performer, Wreck};
use crate::model::record::{SandboxRecord, SignalAsked};
use crate::model::{EndRequest, Id};
use crate::store::Root;

/// One that has stopped.
pub fn stopped(root: &Root, id: &Id, tell: &dyn Tell) -> Result<(), Failed> {
    told(hold::hold(root, id)?, EndRequest::Delete, tell)
}

/// Whatever it is doing. One that does not exist is a success.
pub fn force(root: &Root, id: &Id, tell: &dyn Tell) -> Result<(), Failed> {
    match hold::seize(root, id, tell)? {
        Some(held) => told(held, EndRequest::ForceDelete, tell),
        None => Ok(()),
    }
}

/// The same for the very sandbox that was seen: its id may be another's by now, whom nobody meant.
pub fn force_this(root: &Root, seen: &SandboxRecord, tell: &dyn Tell) -> Result<(), Failed> {
    match hold::seize(root, &seen.id, tell)? {
        Some(held) if held.snapshot().sandbox.incarnation == seen.incarnation => {
            told(held, EndRequest::ForceDelete, tell)
        }
        Some(_) | None => Ok(()),
    }
}

fn told(held: Held<'_>, request: EndRequest, tell: &dyn Tell) -> Result<(), Failed> {
    let warnings = one_held(held, request, signal::asked(libc::SIGKILL))?;
    warnings.iter().for_each(|warning| tell.warn(warning));
    Ok(())
}

/// `asked`: who wanted it killed, for the journal. Gives what the user must know of it.
pub fn one_held(held: Held<'_>, request: EndRequest, asked: Option<SignalAsked>) -> Result<Vec<String>, Failed> {
    let id = held.snapshot().sandbox.id.clone();
    let wreck = Wreck { folder: held.folder(), snapshot: Some(held.snapshot()), intent: None };
    let mut destruction = destruction_of(&wreck);
    held.destroy(&id, request, &mut destruction, asked)?;
    Ok(destruction.take_warnings())
}
