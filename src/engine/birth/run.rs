//! What is written around the stages: the intent and the claim before them, the record as soon as there is one, and either the
//! journal, the outcome and no intent any more, or nothing at all.

use std::path::PathBuf;

use super::{Born, Known, Left, NewSandbox, Outcome, Poststop, Stage, TakenBack, Unborn};
use crate::engine::{EngineError, Held, Pace, Recorder, facts, now, ourselves};
use crate::model::pod::Pod;
use crate::model::record::{
    Actor, ContainerRecord, ContainerState, Intent, JournalEntry, Nanos, SandboxRecord, Snapshot, State,
};
use crate::model::{Denial, Event, Id, Machine, Phase, Transition, table};
use crate::store::{Commit, Folder, Guard, Root, StoreError};

/// A birth under way: the id is claimed, and what was ordered stands in the intent.
pub(super) struct Run<'a> {
    folder: Folder,
    guard: Guard,
    recorder: Recorder<'a>,
    id: Id,
    claim: &'static Transition,
    launch: &'static Transition,
    began: Nanos,
    claimed: Nanos,
}

impl<'a> Run<'a> {
    pub fn claim<E: std::error::Error + 'static>(root: &'a Root, new: NewSandbox) -> Result<Run<'a>, EngineError<E>> {
        let NewSandbox { id, folder, guard, cgroups } = new;
        let began = now();
        let claim = table::step(Machine::Sandbox, id.as_str(), Phase::Absent, Event::CreateRequested)?;
        let launch = table::step(Machine::Sandbox, id.as_str(), claim.to, Event::LaunchRequested)?;
        guard.write_intent(&intent(&id, cgroups, began)?)?;
        let folder = folder.claim(&id).map_err(|error| match error {
            StoreError::Exists { .. } => EngineError::Denied(taken(&id)),
            other => other.into(),
        })?;
        Ok(Run { folder, guard, recorder: Recorder::new(root), id, claim, launch, began, claimed: now() })
    }

    pub fn step<S: Stage>(self, stage: S) -> Outcome<(Run<'a>, S::Next), S::Left> {
        match stage.advance() {
            Ok(next) => Ok((self, next)),
            Err((left, error)) => Err(self.take_back(left, EngineError::Effect(error)).1),
        }
    }

    /// From here on it is there, if only on its way.
    pub fn publish<L: Known>(mut self, launched: L) -> Outcome<(Run<'a>, Snapshot, L), L::Left> {
        let (sandbox, container) = launched.records();
        let snapshot = creating(sandbox, container, self.began);
        if let Err(error) = self.folder.publish(&self.guard, &snapshot) {
            return Err(self.take_back(launched.into(), error.into()).1);
        }
        if launched.pace() == Pace::Quick {
            self.recorder.begin();
        }
        Ok((self, snapshot, launched))
    }

    /// Commit, publish, clear: from here on it is born.
    pub fn complete<A, X>(mut self, mut snapshot: Snapshot, adopted: A) -> Outcome<(Held<'a>, A), X>
    where
        X: Left,
        A: Born + Into<X>,
    {
        let container = adopted.container();
        snapshot.containers.insert(container.id.to_string(), container);
        let ended = now();
        let booted = Pod { sandbox: self.launch.to, ..Pod::absent() };
        facts::adopt(&mut snapshot, &booted, self.id.as_str(), None, ended);
        snapshot.state.seq = 2;
        let journal = [
            self.entry(&snapshot, 1, self.claim, self.began, self.claimed),
            self.entry(&snapshot, 2, self.launch, self.claimed, ended),
        ];
        self.recorder.commit(&Commit { id: &self.id, snapshot: Some(&snapshot), journal: &journal });
        if let Err(error) = self.folder.publish(&self.guard, &snapshot) {
            let id = self.id.clone();
            let (mut recorder, unborn) = self.take_back(adopted.into(), error.into());
            if !matches!(unborn.why, EngineError::NotUndone { .. }) {
                recorder.commit(&Commit { id: &id, snapshot: None, journal: &[] });
            }
            return Err(unborn);
        }
        self.guard.clear_intent()?;
        let Run { folder, guard, recorder, .. } = self;
        Ok((Held { folder, guard, snapshot, recorder }, adopted))
    }

    fn entry(&self, of: &Snapshot, seq: u64, row: &Transition, began: Nanos, ended: Nanos) -> JournalEntry {
        JournalEntry {
            sandbox: self.id.clone(),
            incarnation: of.sandbox.incarnation.clone(),
            container: self.id.clone(),
            machine: Machine::Sandbox,
            seq,
            from: row.from,
            event: row.event,
            to: row.to,
            began,
            ended,
            exit: None,
            by: Actor::Command,
            signal: None,
        }
    }

    /// After a failure with `why`. What cannot be taken back keeps its folder, its id and its intent, which is what recovery
    /// needs to finish it.
    fn take_back<X: Left>(mut self, left: X, why: EngineError<X::Error>) -> (Recorder<'a>, Unborn<X::Error>) {
        self.recorder.close();
        // What healing goes by as well, should we die in between.
        let poststop = match self.folder.read_snapshot() {
            Ok(Some(_)) => Poststop::Owed,
            _ => Poststop::NotOwed,
        };
        let TakenBack { outcome, warnings } = left.take_back(poststop);
        let Run { folder, guard, recorder, .. } = self;
        let undone = outcome.map_err(EngineError::Effect).and_then(|()| Ok(release(folder, guard)?));
        let why = match undone {
            Ok(()) => why,
            Err(second) => EngineError::not_undone(why, second),
        };
        (recorder, Unborn { why, warnings })
    }
}

fn creating(sandbox: SandboxRecord, container: ContainerRecord, at: Nanos) -> Snapshot {
    let state = State {
        seq: 1,
        sandbox: ContainerState { phase: Phase::Creating, since: at, exit: None },
        containers: Default::default(),
    };
    let containers = [(container.id.to_string(), container)].into();
    Snapshot { sandbox, containers, state }
}

fn intent<E: std::error::Error + 'static>(id: &Id, cgroups: Vec<PathBuf>, at: Nanos) -> Result<Intent, EngineError<E>> {
    let (holder, boot) = ourselves()?;
    Ok(Intent {
        seq: 2,
        sandbox: id.clone(),
        container: id.clone(),
        machine: Machine::Sandbox,
        from: Phase::Creating,
        event: Event::LaunchRequested,
        to: Phase::Booted,
        holder,
        boot,
        at,
        cgroups,
    })
}

fn taken(id: &Id) -> Denial {
    let event = Event::CreateRequested;
    Denial { machine: Machine::Sandbox, id: id.to_string(), from: Phase::Creating, event, sandbox: None }
}

/// The id is free at the rename; removing what is in the folder can take its time.
fn release(mut folder: Folder, guard: Guard) -> Result<(), StoreError> {
    folder.retire()?;
    drop(guard);
    folder.remove()
}
