//! The effects of a transition, done in order or taken back, and what is written of them: the one loop of everything that
//! happens to a sandbox. A birth walks its effects as types, since each step gives what the next one needs, and shares the
//! rest: [`take_back`], [`Grip::settle`], [`Grip::give_back`].
//!
//! A crash in between leaves the intent, and what was done so far: healing goes by both.

use std::convert::Infallible;
use std::error::Error;

use super::{EngineError, Recorder, now};
use crate::model::effect::Undo;
use crate::model::record::{ContainerRecord, Intent, JournalEntry, Nanos, SandboxRecord, Snapshot};
use crate::model::{Effect, Id};
use crate::store::{Commit, Folder, Guard, StoreError};

/// The machine, as far as transitions change it.
pub trait Performer {
    /// Why an effect failed.
    type Error: Error + 'static;

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
}

/// A performer of the effects of one room: each of them is idempotent.
pub trait Effects<X: Effect>: Performer {
    /// After an error it may be half done; doing it again is safe.
    fn perform(&mut self, effect: X) -> Result<(), Self::Error>;
}

/// There are none.
impl<M: Performer> Effects<Infallible> for M {
    fn perform(&mut self, effect: Infallible) -> Result<(), M::Error> {
        match effect {}
    }
}

/// A performer of effects that bring processes into being.
pub trait Known: Performer {
    /// What has come to be, as soon as every process of it is known: published before a creation is complete, and with
    /// the outcome of a renewal.
    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)>;
}

/// How long a transition's effects may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Only what sandkeep itself does.
    Quick,
    /// As long as somebody else's programs take.
    RunsHooks,
}

impl Pace {
    /// Of effects that may run hooks: whether there are any.
    pub fn with_hooks(any: bool) -> Pace {
        if any { Pace::RunsHooks } else { Pace::Quick }
    }
}

/// An effect failed.
#[derive(Debug)]
pub(super) struct Stopped<E> {
    /// How many came before it, and are done.
    pub done: usize,
    pub error: E,
}

impl<E: Error + 'static> From<Stopped<E>> for EngineError<E> {
    fn from(stopped: Stopped<E>) -> EngineError<E> {
        EngineError::Effect(stopped.error)
    }
}

/// Does all of them, in order. Returns when the first that cannot be taken back was done.
pub(super) fn perform_all<X: Effect, M: Effects<X>>(
    effects: &[X],
    machine: &mut M,
) -> Result<Option<Nanos>, Stopped<M::Error>> {
    let mut irrevocable = None;
    for (done, effect) in effects.iter().enumerate() {
        machine.perform(*effect).map_err(|error| Stopped { done, error })?;
        if effect.undo() == Undo::Irreversible {
            irrevocable.get_or_insert_with(now);
        }
    }
    Ok(irrevocable)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakenBack {
    Completely,
    /// One of them cannot be taken back: the transition must be completed.
    NotAll,
}

/// Takes effects back, last first. A failure stops none of the others; the first one is returned, and then the intent must
/// stay, so that recovery finishes it.
pub(super) fn take_back<X: Effect, M: Effects<X::Back>>(done: &[X], machine: &mut M) -> Result<TakenBack, M::Error> {
    let mut outcome = Ok(TakenBack::Completely);
    for effect in done.iter().rev() {
        match effect.undo() {
            Undo::Nothing => {}
            Undo::By(back) => {
                let undone = machine.perform(back);
                outcome = outcome.and_then(|before| undone.map(|()| before));
            }
            Undo::Irreversible => return outcome.and(Ok(TakenBack::NotAll)),
        }
    }
    outcome
}

/// The folder of a sandbox and its lock, and the store: where all that is remembered of a transition is written.
pub(super) struct Grip<'a> {
    pub folder: Folder,
    pub guard: Guard,
    pub recorder: Recorder<'a>,
}

impl Grip<'_> {
    /// Before the first effect: after this, whoever finds the lock free finishes or undoes the transition.
    pub fn announce(&self, intent: &Intent) -> Result<(), StoreError> {
        self.guard.write_intent(intent)
    }

    /// The effects of an announced transition. On an error they are taken back; where that cannot be, or where nobody knows
    /// whether the last one happened, the intent stays.
    pub fn carry_out<X: Effect, M: Effects<X> + Effects<X::Back>>(
        &self,
        effects: &[X],
        machine: &mut M,
    ) -> Result<Option<Nanos>, EngineError<<M as Performer>::Error>> {
        let Stopped { done, error } = match perform_all(effects, machine) {
            Ok(irrevocable) => return Ok(irrevocable),
            Err(stopped) => stopped,
        };
        let unknown = machine.outcome_unknown(&error);
        let error = EngineError::Effect(error);
        if unknown {
            return Err(error);
        }
        match take_back(&effects[..done], machine) {
            Ok(TakenBack::Completely) => self.guard.clear_intent()?,
            Ok(TakenBack::NotAll) => {}
            Err(second) => return Err(EngineError::not_undone(error, EngineError::Effect(second))),
        }
        Err(error)
    }

    /// Commit and publish: from here on the transition has happened. The intent is still to be cleared.
    pub fn settle(&mut self, snapshot: &Snapshot, journal: &[JournalEntry]) -> Result<(), StoreError> {
        self.recorder.commit(&Commit { id: &snapshot.sandbox.id, snapshot: Some(snapshot), journal });
        self.folder.publish(&self.guard, snapshot)
    }

    /// Nothing of this sandbox is to be remembered but its journal.
    pub fn forget(&mut self, id: &Id, journal: &[JournalEntry]) {
        self.recorder.commit(&Commit { id, snapshot: None, journal });
    }

    /// The id is free at the rename; removing what is in the folder can take its time. The lock is held until then: what
    /// is left is nobody's but ours.
    pub fn give_back(mut self) -> Result<(), StoreError> {
        self.folder.retire()?;
        self.folder.remove()
    }
}
