//! Changing a sandbox: lock, heal, step, intent, effects, commit, publish.
//!
//! Owns the order of these steps and is the only caller of `step` that writes. Never touches the machine itself: what
//! must be done is behind [`Effects`], what is true is behind [`Probe`].
//!
//! ```text
//! lock ─▶ heal ─▶ step ─▶ write intent ─▶ effects ─▶ commit to the store ─▶ publish snapshot ─▶ clear intent ─▶ unlock
//!                   │                        │ failed
//!                   └─▶ denied               └─▶ undo, last first ─▶ clear intent (kept, if the undo fails too)
//! ```
//!
//! A crash before the intent is written leaves nothing. Between the intent and its clearing it leaves an intent whose
//! lock is free: whoever comes next heals ([`heal`]) before anything else.

mod birth;
mod facts;
pub mod heal;
mod hold;
pub mod reader;
mod recorder;
mod renew;
mod sight;
pub mod taken;
#[cfg(test)]
mod tests;
mod transition;

use std::error::Error;

use crate::model::record::{Boot, ContainerRecord, ProcessRef, SandboxRecord};
use crate::model::{Denial, Effect, Event};
use crate::store::{LockError, StoreError};
use crate::sys::procfs;

pub use birth::{Born, Known, Left, NewSandbox, Poststop, Stage, TakenBack, Unborn, bear, is_row_of_launch};
pub use facts::{Depth, Facts, Probe, apply, inferred, is_orphaned, nobody_saw, observe, pod_of};
pub use hold::Held;
pub use recorder::Recorder;
pub use sight::{Noted, note_ends, unrecorded_entries};
pub use transition::Outcome;

/// The machine, as far as transitions change it. Every effect is idempotent.
pub trait Effects {
    type Error: Error + 'static;

    fn perform(&mut self, effect: Effect) -> Result<(), Self::Error>;

    /// Whether the effect that failed like this may have happened all the same, or may still happen: then nobody here
    /// can take it back, and the intent stays until recovery sees what became of it.
    fn outcome_unknown(&self, _error: &Self::Error) -> bool {
        false
    }

    /// Whether somebody else's programs run in between (hooks): then the store is opened only afterwards, since a slow
    /// hook must not keep other sandboxes from it.
    fn pace(&self) -> Pace {
        Pace::Quick
    }

    /// What the user must be told although nothing failed.
    fn take_warnings(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What has come to be, as soon as every process of it is known: published before a creation is complete, and with
    /// the outcome of a renewal.
    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)> {
        None
    }
}

/// How long a transition's effects may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Quick,
    RunsHooks,
}

impl Pace {
    pub fn with_hooks(any: bool) -> Pace {
        if any { Pace::RunsHooks } else { Pace::Quick }
    }
}

#[derive(Debug, thiserror::Error)]
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
    #[error("{}; and it could not be taken back, `recover` will do it", one_line(.first.as_ref()))]
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

/// An error with its sources: for one that is not itself the source of another.
fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// This process, as an intent names it.
fn ourselves<E: Error + 'static>() -> Result<(ProcessRef, Boot), EngineError<E>> {
    let failed = |source| EngineError::Ourselves { source };
    let us = procfs::process_ref(std::process::id() as i32).map_err(failed)?;
    let us = us.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok((us, procfs::boot().map_err(failed)?))
}

/// Nanoseconds since the Unix epoch; the one clock of the engine.
pub fn now() -> crate::model::record::Nanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
