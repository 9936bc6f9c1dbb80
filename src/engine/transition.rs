//! One transition of a sandbox that exists, from the decision to the published outcome.

use super::facts::{adopt, inferred, pod_of};
use super::{Effects, EngineError, Facts, Held, Pace, now};
use crate::model::effect::Undo;
use crate::model::record::{Actor, Exit, Intent, JournalEntry, Nanos, SignalAsked, Snapshot};
use crate::model::{Effect, Event, Id, Phase, Transition};
use crate::store::Commit;

/// Whether the sandbox still exists afterwards.
#[allow(clippy::large_enum_variant)] // Made once a command, and taken apart at once.
pub enum Outcome<'a> {
    Held(Held<'a>),
    Gone,
}

impl<'a> Held<'a> {
    /// Does what `event` asks for, if it is legal. On an error nothing has changed, or, once an effect that cannot be
    /// taken back was done, the intent stays and recovery completes it.
    pub fn transition<E: Effects>(
        self,
        container: &Id,
        event: Event,
        effects: &mut E,
    ) -> Result<Outcome<'a>, EngineError<E::Error>> {
        self.transition_for(container, event, effects, None)
    }

    /// The same; `asked`: for whom whatever still lives is killed, should it be a deletion.
    pub fn transition_for<E: Effects>(
        mut self,
        container: &Id,
        event: Event,
        effects: &mut E,
        asked: Option<SignalAsked>,
    ) -> Result<Outcome<'a>, EngineError<E::Error>> {
        let began = now();
        let root = self.snapshot.sandbox.id.clone();
        let (pod, row) = pod_of(&self.snapshot).step(root.as_str(), container.as_str(), event)?;
        match effects.pace() {
            Pace::Quick => self.recorder.begin(),
            // It may be open from a transition before this one.
            Pace::RunsHooks => self.recorder.close(),
        }
        let intent = self.intent(container, row, began)?;
        self.guard.write_intent(&intent)?;
        let done = self.perform_all(row, effects)?;
        let mut happened = Happened::by_command(began);
        if kills(row) {
            happened.exit = Some(self.exit_of_killed(container, done.irrevocable.unwrap_or(began)));
            happened.signal = asked;
        }
        self.complete(container, row, &pod, happened)
    }

    /// How what a deletion has killed ended: as its supervisor wrote down, if that lived to see it.
    pub(super) fn exit_of_killed(&self, container: &Id, at: Nanos) -> Exit {
        // The id of another container than the root may have been that of one before it.
        let records = match *container == self.snapshot.sandbox.id {
            true => self.folder.read_exits().unwrap_or_default(),
            false => Vec::new(),
        };
        let facts = Facts { exits: records, ..Facts::default() };
        facts.exit_of(container.as_str()).unwrap_or_else(|| inferred(at))
    }

    /// Records an end that was seen: no effects but those of the table. One that the supervisor wrote down has its time,
    /// whenever that is.
    pub(super) fn observe<E: Effects>(
        self,
        container: &Id,
        event: Event,
        exit: Option<Exit>,
        effects: &mut E,
    ) -> Result<Held<'a>, EngineError<E::Error>> {
        let root = self.snapshot.sandbox.id.clone();
        let (pod, row) = pod_of(&self.snapshot).step(root.as_str(), container.as_str(), event)?;
        for effect in row.effects {
            effects.perform(*effect).map_err(EngineError::Effect)?;
        }
        let seen = Happened::seen(&self.snapshot, container, exit);
        match self.complete(container, row, &pod, seen)? {
            Outcome::Held(held) => Ok(held),
            Outcome::Gone => Err(EngineError::Vanished { id: root.to_string() }),
        }
    }

    pub(super) fn perform_all<E: Effects>(
        &mut self,
        row: &Transition,
        effects: &mut E,
    ) -> Result<Done, EngineError<E::Error>> {
        let mut all = Done::default();
        for (done, effect) in row.effects.iter().enumerate() {
            if *effect == Effect::ReleaseId {
                continue; // Ours: see `complete`.
            }
            if let Err(error) = effects.perform(*effect) {
                let unknown = effects.outcome_unknown(&error);
                let error = EngineError::Effect(error);
                if unknown {
                    return Err(error);
                }
                match undo(&row.effects[..done], effects) {
                    Ok(Undone::Completely) => self.guard.clear_intent()?,
                    Ok(Undone::Irreversible) => {}
                    Err(second) => return Err(EngineError::not_undone(error, EngineError::Effect(second))),
                }
                return Err(error);
            }
            if effect.undo() == Undo::Irreversible {
                all.irrevocable.get_or_insert_with(now);
            }
        }
        Ok(all)
    }

    /// Commit, publish, clear: from here on the transition has happened.
    pub(super) fn complete<E: std::error::Error + 'static>(
        mut self,
        container: &Id,
        row: &Transition,
        pod: &crate::model::pod::Pod,
        happened: Happened,
    ) -> Result<Outcome<'a>, EngineError<E>> {
        let (exit, ended) = (happened.exit, happened.ended);
        let entry = happened.entry(&self.snapshot, container, row);
        let id = self.snapshot.sandbox.id.clone();
        if row.machine == crate::model::Machine::Sandbox && row.to == Phase::Absent {
            self.recorder.commit(&Commit { id: &id, snapshot: None, journal: &[entry] });
            self.folder.retire()?;
            self.folder.remove()?;
            return Ok(Outcome::Gone);
        }
        adopt(&mut self.snapshot, pod, container.as_str(), exit, ended);
        self.snapshot.state.seq += 1;
        self.recorder.commit(&Commit { id: &id, snapshot: Some(&self.snapshot), journal: &[entry] });
        match self.folder.publish(&self.guard, &self.snapshot) {
            // The store or `pending` has it; a full disk must not stop what has already happened.
            Err(error) if !error.is_full() => return Err(error.into()),
            _ => {}
        }
        self.guard.clear_intent()?;
        Ok(Outcome::Held(self))
    }

    /// What has happened already, and needs nothing more. With an intent all the same: whoever finds it asks the store
    /// whether the entry is there, so that no two are of one number.
    pub(super) fn put_down<E: std::error::Error + 'static>(
        self,
        container: &Id,
        row: &Transition,
        pod: &crate::model::pod::Pod,
        happened: Happened,
    ) -> Result<Held<'a>, EngineError<E>> {
        let intent = self.intent(container, row, happened.began)?;
        self.guard.write_intent(&intent)?;
        match self.complete(container, row, pod, happened)? {
            Outcome::Held(held) => Ok(held),
            Outcome::Gone => Err(EngineError::Vanished { id: container.to_string() }),
        }
    }

    pub(super) fn intent<E: std::error::Error + 'static>(
        &self,
        container: &Id,
        row: &Transition,
        at: Nanos,
    ) -> Result<Intent, EngineError<E>> {
        let (holder, boot) = super::ourselves()?;
        Ok(Intent {
            seq: self.snapshot.state.seq + 1,
            sandbox: self.snapshot.sandbox.id.clone(),
            container: container.clone(),
            machine: row.machine,
            from: row.from,
            event: row.event,
            to: row.to,
            holder,
            boot,
            at,
            cgroups: Vec::new(),
        })
    }
}

/// What was done of a transition.
#[derive(Default)]
pub(super) struct Done {
    /// When the first that cannot be taken back was.
    pub irrevocable: Option<Nanos>,
}

/// A deletion of what lives: its end is in the entry of the deletion, since nobody comes after that.
pub(super) fn kills(row: &Transition) -> bool {
    row.to == Phase::Absent && row.from.is_alive()
}

/// What a journal entry says beside which transition it was.
pub(super) struct Happened {
    pub began: Nanos,
    pub ended: Nanos,
    pub exit: Option<Exit>,
    pub by: Actor,
    pub signal: Option<SignalAsked>,
}

impl Happened {
    /// Just now.
    pub fn by_command(began: Nanos) -> Happened {
        Happened { began, ended: now(), exit: None, by: Actor::Command, signal: None }
    }

    /// Just now, in the place of a command that began it and died.
    pub fn by_recovery(began: Nanos) -> Happened {
        Happened { by: Actor::Recovery, ..Happened::by_command(began) }
    }

    /// An end: at the time that was written down, or at which it was first seen, but not before what the journal has of the
    /// container already (an application may be gone before its start is recorded); else now.
    pub fn seen(snapshot: &Snapshot, container: &Id, exit: Option<Exit>) -> Happened {
        let now = now();
        let since = match *container == snapshot.sandbox.id {
            true => Some(snapshot.state.sandbox.since),
            false => snapshot.state.containers.get(container.as_str()).map(|state| state.since),
        };
        let at = match exit {
            Some(exit) => exit.at.max(since.unwrap_or(exit.at)).min(now),
            None => now,
        };
        Happened { began: at, ended: at, exit, by: Actor::Recovery, signal: None }
    }

    /// As it is put down behind what `snapshot` says.
    pub fn entry(self, snapshot: &Snapshot, container: &Id, row: &Transition) -> JournalEntry {
        let Happened { began, ended, exit, by, signal } = self;
        JournalEntry {
            sandbox: snapshot.sandbox.id.clone(),
            incarnation: snapshot.sandbox.incarnation.clone(),
            container: container.clone(),
            machine: row.machine,
            seq: snapshot.state.seq + 1,
            from: row.from,
            event: row.event,
            to: row.to,
            began,
            ended,
            exit,
            by,
            signal,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undone {
    Completely,
    /// One of them cannot be taken back: the transition must be completed.
    Irreversible,
}

/// Takes effects back, last first. A failure stops none of the others; the first one is returned, and then the intent must
/// stay, so that recovery finishes it.
pub(super) fn undo<E: Effects>(done: &[Effect], effects: &mut E) -> Result<Undone, E::Error> {
    let mut outcome = Ok(Undone::Completely);
    for effect in done.iter().rev() {
        match effect.undo() {
            Undo::By(Effect::ReleaseId) | Undo::Nothing => {}
            Undo::By(back) => {
                let undone = effects.perform(back);
                outcome = outcome.and_then(|before| undone.map(|()| before));
            }
            Undo::Irreversible => return outcome.and(Ok(Undone::Irreversible)),
        }
    }
    outcome
}
