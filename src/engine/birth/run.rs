//! What is written around the stages: the intent and the claim before them, the record as soon as there is one, and either the
//! journal, the outcome and no intent any more, or nothing at all.

use super::stage::{Attempt, Born, Left, NewSandbox, OnRecord, Poststop, Stage, Unborn, Undone};
use crate::engine::effects::Grip;
use crate::engine::record::{Happened, Subject};
use crate::engine::{EngineError, Held, Pace, Recorder, facts, now};
use crate::model::pod::Pod;
use crate::model::record::{ContainerRecord, ContainerState, Nanos, SandboxRecord, Snapshot, State};
use crate::model::{Denial, Event, Id, Machine, Phase, Transition, table};
use crate::store::{Root, StoreError};

/// A birth under way: the id is claimed, and what was ordered stands in the intent.
pub(super) struct Run<'a> {
    grip: Grip<'a>,
    id: Id,
    claim: Transition,
    launch: Transition,
    began: Nanos,
    claimed: Nanos,
}

impl<'a> Run<'a> {
    pub fn claim<E: std::error::Error + 'static>(root: &'a Root, new: NewSandbox) -> Result<Run<'a>, EngineError<E>> {
        let NewSandbox { id, folder, guard, cgroups } = new;
        let began = now();
        let claim = table::step(Machine::Sandbox, id.as_str(), Phase::Absent, Event::CreateRequested)?;
        let launch = table::step(Machine::Sandbox, id.as_str(), claim.to, Event::LaunchRequested)?;
        guard.write_intent(&Subject::root(&id).intent(&launch, 2, began, cgroups)?)?;
        let folder = folder.claim(&id).map_err(|error| match error {
            StoreError::Exists { .. } => EngineError::Denied(taken(&id)),
            other => other.into(),
        })?;
        let grip = Grip { folder, guard, recorder: Recorder::new(root) };
        Ok(Run { grip, id, claim, launch, began, claimed: now() })
    }

    pub fn step<S: Stage>(self, stage: S) -> Attempt<(Run<'a>, S::Next), S::Left> {
        match stage.advance() {
            Ok(next) => Ok((self, next)),
            Err((left, error)) => Err(self.take_back(left, EngineError::Effect(error))),
        }
    }

    /// From here on it is there, if only on its way.
    pub fn publish<L: OnRecord>(mut self, launched: L) -> Attempt<(Run<'a>, Snapshot, L), L::Left> {
        let (sandbox, container) = launched.records();
        let snapshot = creating(sandbox, container, self.began);
        if let Err(error) = self.grip.folder.publish(&self.grip.guard, &snapshot) {
            return Err(self.take_back(launched.into(), error.into()));
        }
        if launched.pace() == Pace::Quick {
            self.grip.recorder.begin();
        }
        Ok((self, snapshot, launched))
    }

    /// Commit, publish, clear: from here on it is born.
    pub fn complete<A, X>(mut self, mut snapshot: Snapshot, adopted: A) -> Attempt<(Held<'a>, A), X>
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
        let entry = |seq, row, began, ended| {
            let happened = Happened { ended, ..Happened::by_command(began) };
            Subject::root(&self.id).entry(&snapshot.sandbox.incarnation, row, seq, happened)
        };
        let journal = [entry(1, &self.claim, self.began, self.claimed), entry(2, &self.launch, self.claimed, ended)];
        if let Err(error) = self.grip.settle(&snapshot, &journal) {
            self.grip.forget(&self.id, &[]);
            return Err(self.take_back(adopted.into(), error.into()));
        }
        self.grip.guard.clear_intent()?;
        Ok((Held { grip: self.grip, snapshot }, adopted))
    }

    /// After a failure with `why`. What cannot be taken back keeps its folder, its id and its intent, which is what recovery
    /// needs to finish it.
    fn take_back<X: Left>(mut self, left: X, why: EngineError<X::Error>) -> Unborn<X::Error> {
        self.grip.recorder.close();
        // What healing goes by as well, should we die in between.
        let poststop = match self.grip.folder.read_snapshot() {
            Ok(Some(_)) => Poststop::Owed,
            Ok(None) | Err(_) => Poststop::NotOwed,
        };
        let Undone { outcome, warnings } = left.take_back(poststop);
        let outcome = outcome.map_err(EngineError::Effect).and_then(|()| Ok(self.grip.give_back()?));
        let why = match outcome {
            Ok(()) => why,
            Err(second) => EngineError::not_undone(why, second),
        };
        Unborn { why, warnings }
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

fn taken(id: &Id) -> Denial {
    let event = Event::CreateRequested;
    Denial { machine: Machine::Sandbox, id: id.to_string(), from: Phase::Creating, event, sandbox: None }
}
