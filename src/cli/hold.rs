//! A sandbox locked and healed, for commands that change it.

use std::time::Duration;

use super::context::Context;
use super::failure::Failure;
use crate::engine::{EngineError, Held};
use crate::host::frozen::destruction_of;
use crate::host::probe::Prober;
use crate::model::Id;
use crate::store::{LockError, Root};

/// How long a command waits for another one that holds the sandbox.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn hold<'a>(root: &'a Root, id: &Id) -> Result<Option<Held<'a>>, Failure> {
    Ok(acquire(root, id, PATIENCE)?)
}

/// For `delete --force`: whoever still holds the sandbox after `patience` is killed, and what it left is healed.
pub fn seize<'a>(context: &Context, root: &'a Root, id: &Id, patience: Duration) -> Result<Option<Held<'a>>, Failure> {
    match acquire(root, id, patience) {
        Err(EngineError::Lock(LockError::Busy { intent: Some(intent), .. })) => {
            if let Some(holder) = crate::host::probe::open_if_alive(&intent.holder, &intent.boot)? {
                use std::os::fd::AsFd;
                context.log.debug(&format!("killing process {}, which holds {:?}", intent.holder.pid, id.as_str()));
                crate::host::destroy::kill_and_wait(holder.as_fd(), false)?;
            }
            Ok(acquire(root, id, PATIENCE)?)
        }
        other => Ok(other?),
    }
}

fn acquire<'a>(
    root: &'a Root,
    id: &Id,
    patience: Duration,
) -> Result<Option<Held<'a>>, EngineError<crate::host::HostError>> {
    Held::acquire(root, id, patience, &Prober, destruction_of)
}

/// Tells the user what the store had to say.
pub fn tell_notices(context: &Context, held: &mut Held<'_>) {
    for notice in held.recorder().take_notices() {
        context.log.warn(&notice);
    }
}
