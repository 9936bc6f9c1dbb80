//! Changing a sandbox: lock, heal, step, intent, effects, commit, publish.
//!
//! Owns the order of these steps and is the only caller of `step` that writes. Never touches the machine itself: what
//! must be done is behind [`Effects`], a room each, what is true is behind [`Probe`], and who heals behind [`Mend`].
//!
//! * `effects` is the one loop over them, and what is written of a transition; `record` makes the intents and the entries.
//! * `transition` is what happens to a sandbox that exists, `birth` how it came to be, [`heal`] what was cut short.
//! * `facts` and `verdict` decide, purely; `sight` is what happens without a transition of a command.
//!
//! ```text
//! lock ─▶ heal ─▶ step ─▶ write intent ─▶ effects ─▶ commit to the store ─▶ publish snapshot ─▶ clear intent ─▶ unlock
//!                   │                        │ failed
//!                   └─▶ denied               └─▶ undo, last first ─▶ clear intent (kept, if the undo fails too)
//! ```
//!
//! A crash before the intent is written leaves nothing. Between the intent and its clearing it leaves an intent whose
//! lock is free: whoever comes next heals ([`heal`]) before anything else.

mod acquire;
mod birth;
mod effects;
mod facts;
pub mod heal;
mod hold;
pub mod reader;
mod record;
mod recorder;
mod sight;
pub mod taken;
#[cfg(test)]
mod tests;
mod transition;
mod verdict;

use std::error::Error;

use crate::model::{Denial, Event};
use crate::store::{LockError, StoreError};
use crate::sys::told;

pub use birth::{Advanced, Born, Left, NewSandbox, OnRecord, Poststop, Stage, Unborn, Undone, bear, is_row_of_launch};
pub use effects::{Effects, Known, Pace, Performer};
pub use facts::{Depth, Facts, Probe, apply, inferred, is_orphaned, nobody_saw, observe, pod_of};
pub use heal::{Mend, Wreck};
pub use hold::Held;
pub use recorder::Recorder;
pub use sight::{Noted, note_ends, unrecorded_entries};

/// Why a transition, a birth or a healing did not go through.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum EngineError<E: Error + 'static> {
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Effect(E),
    /// What was done so far is still there, and so is the intent.
    #[error("{}; and it could not be taken back, `recover` will do it", told::on_one_line(.first.as_ref()))]
    NotUndone { first: Box<EngineError<E>>, source: Box<dyn Error> },
    #[error(
        "{event} of {id:?} was cut short, and its supervisor does not say whether it happened; nothing was changed"
    )]
    Undecided { id: String, event: Event },
    #[error("cannot look at this very process in /proc")]
    Ourselves { source: std::io::Error },
    #[error("sandbox {id:?} vanished while it was being changed")]
    Vanished { id: String },
    #[error(
        "the snapshot of the sandbox in the folder {folder:?} is lost or cannot be read, and the store does not know it \
         either; it may be alive, so nothing was touched"
    )]
    Unknown { folder: String, source: Option<StoreError> },
    #[error("the snapshot of the sandbox in the folder {folder:?} is lost or cannot be read; nothing was touched")]
    Rescue {
        folder: String,
        /// Why the store could not be asked.
        source: StoreError,
    },
}

impl<E: Error + 'static> EngineError<E> {
    /// `first` failed, and then taking it back failed with `second`.
    fn not_undone(first: EngineError<E>, second: EngineError<E>) -> EngineError<E> {
        EngineError::NotUndone { first: Box::new(first), source: Box::new(second) }
    }
}

/// Nanoseconds since the Unix epoch; the one clock of the engine.
pub fn now() -> crate::model::record::Nanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
