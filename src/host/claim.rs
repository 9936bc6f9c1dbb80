//! From a checked request to a sandbox of that id: whoever has it already is in the way, or about to leave it.
//!
//! On an error nothing is left. A crash before the id is claimed leaves a folder without a name, which `recover` removes;
//! after it, what the intent of the creation names.

use super::create::{Newborn, Prepared};
use super::launch::attend::TerminalTo;
use super::request::Request;
use super::tell::Tell;
use super::{Failed, Trying, hold, look};
use crate::engine::taken::{InTheWay, in_the_way};
use crate::engine::{self, Held, NewSandbox};
use crate::model::{Event, Id};
use crate::store::Root;
use crate::sys::interrupt::{self, Blocked};

/// A sandbox that is there, held.
pub struct Made<'r> {
    /// Its lock, and the snapshot of a booted sandbox.
    pub held: Held<'r>,
    /// What this process has of its processes.
    pub newborn: Newborn,
}

/// Claims the id and launches. What the user must know is told also of a creation that failed.
pub fn create<'r>(
    root: &'r Root,
    request: &'r Request,
    terminal: TerminalTo,
    tell: &dyn Tell,
) -> Result<Made<'r>, Failed> {
    let Request { plan, options, .. } = request;
    refuse_taken(root, &options.id)?;
    // Before the first thread of this process. From here on there is something to take back.
    let kept = if options.attached { Blocked::ForApplication } else { Blocked::Ending };
    interrupt::begin(kept).trying(|| "keep signals".into())?;
    let (folder, guard) = root.prepare()?;
    let prepared = match Prepared::new(plan, options, &folder, terminal) {
        Ok(prepared) => prepared,
        Err(error) => {
            folder.remove()?;
            // Somebody who took the id meanwhile is a better reason than what he has made.
            refuse_taken(root, &options.id)?;
            return Err(error.into());
        }
    };
    let new = NewSandbox { id: options.id.clone(), folder, guard, cgroups: prepared.cgroups() };
    let (made, warnings) = match engine::bear(root, new, prepared) {
        Ok((held, adopted)) => {
            let (newborn, warnings) = adopted.settle();
            (Ok(Made { held, newborn }), warnings)
        }
        Err(unborn) => (Err(unborn.why), unborn.warnings),
    };
    warnings.iter().for_each(|warning| tell.warn(warning));
    made
}

/// A sandbox of that id stands in the way, unless it is about to leave.
fn refuse_taken(root: &Root, id: &Id) -> Result<(), Failed> {
    let Some(seen) = look::find(root, id)? else { return Ok(()) };
    let intent = seen.folder.intent_unlocked()?;
    let mut from = seen.phase();
    if in_the_way(from, intent.as_ref()) == InTheWay::Leaves {
        let Some(held) = hold::hold_without_store(root, id)? else { return Ok(()) };
        from = held.snapshot().state.sandbox.phase;
    }
    Err(look::denied(id, from, Event::CreateRequested).into())
}
