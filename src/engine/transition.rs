//! One transition of a sandbox that exists, from the decision to the published outcome.

use std::error::Error;

use super::effects::{Effects, Known, Pace, perform_all};
use super::facts::{adopt, inferred, pod_of};
use super::record::{Happened, Subject};
use super::{EngineError, Facts, Held, now};
use crate::model::pod::Pod;
use crate::model::record::{Exit, Nanos, SignalAsked};
use crate::model::{
    Change, ChangeRequest, Effect, End, EndRequest, Event, Id, IdStep, Machine, Phase, Renew, Transition,
};

impl<'a> Held<'a> {
    /// Does what is asked for, if it is legal. On an error nothing has changed, or, once an effect that cannot be taken
    /// back was done, the intent stays and recovery completes it.
    pub fn change<M: Effects<Change>>(
        mut self,
        container: &Id,
        request: ChangeRequest,
        machine: &mut M,
    ) -> Result<Held<'a>, EngineError<M::Error>> {
        let began = now();
        let next = Next::of(&self, container, request.into())?;
        self.open_store_at(machine.pace());
        self.announce(&next, began)?;
        self.grip.carry_out(Change::of(next.row.work), machine)?;
        self.complete(&next, Happened::by_command(began))?.still_there(container)
    }

    /// The end of a sandbox or a container: nothing of it is left. `asked`: for whom whatever still lives is killed.
    pub fn destroy<M: Effects<End>>(
        mut self,
        container: &Id,
        request: EndRequest,
        machine: &mut M,
        asked: Option<SignalAsked>,
    ) -> Result<(), EngineError<M::Error>> {
        let began = now();
        let next = Next::of(&self, container, request.into())?;
        self.open_store_at(machine.pace());
        self.announce(&next, began)?;
        let irrevocable = self.grip.carry_out(End::of(next.row.work), machine)?;
        let mut happened = Happened::by_command(began);
        if next.kills() {
            happened.exit = Some(self.exit_of_killed(container, irrevocable.unwrap_or(began)));
            happened.signal = asked;
        }
        self.complete(&next, happened).map(drop)
    }

    /// Another supervisor for a sandbox that has none ([`super::is_orphaned`]). Once this returns, it is on record, and it
    /// is given the init next. Until then it dies with this process, and whoever looks then finds the sandbox as it was:
    /// without a supervisor.
    pub fn renew<M: Effects<Renew> + Known>(mut self, machine: &mut M) -> Result<Held<'a>, EngineError<M::Error>> {
        let began = now();
        let root = self.snapshot.sandbox.id.clone();
        let next = Next::of(&self, &root, Event::SupervisorLost)?;
        self.announce(&next, began)?;
        self.grip.carry_out(Renew::of(next.row.work), machine)?;
        let vanished = || EngineError::Vanished { id: root.to_string() };
        (self.snapshot.sandbox, _) = machine.records().ok_or_else(vanished)?;
        self.complete(&next, Happened::by_recovery(began))?.still_there(&root)
    }

    /// The end of a sandbox that nobody can keep any more: everything in it is killed, then that is recorded.
    pub fn end<M: Effects<End>>(self, exit: Exit, machine: &mut M) -> Result<Held<'a>, EngineError<M::Error>> {
        let root = self.snapshot.sandbox.id.clone();
        let next = Next::of(&self, &root, Event::SupervisorGone)?;
        perform_all(End::of(next.row.work), machine)?;
        let seen = Happened::seen(&self.snapshot, &root, Some(exit));
        self.complete(&next, seen)?.still_there(&root)
    }

    /// What has happened already, and needs nothing more. With an intent all the same: whoever finds it asks the store
    /// whether the entry is there, so that no two are of one number.
    pub(super) fn put_down<E: Error + 'static>(
        self,
        next: &Next,
        happened: Happened,
    ) -> Result<Held<'a>, EngineError<E>> {
        self.announce(next, happened.began)?;
        self.complete(next, happened)?.still_there(&next.container)
    }

    /// Commit, publish, clear: from here on the transition has happened.
    pub(super) fn complete<E: Error + 'static>(
        mut self,
        next: &Next,
        happened: Happened,
    ) -> Result<Outcome<'a>, EngineError<E>> {
        let (exit, ended) = (happened.exit, happened.ended);
        let id = self.snapshot.sandbox.id.clone();
        let subject = Subject { sandbox: &id, container: &next.container };
        let seq = self.snapshot.state.seq + 1;
        let entry = subject.entry(&self.snapshot.sandbox.incarnation, &next.row, seq, happened);
        if next.row.machine == Machine::Sandbox && next.row.id == IdStep::GivesBack {
            self.grip.forget(&id, &[entry]);
            self.grip.give_back()?;
            return Ok(Outcome::Gone);
        }
        adopt(&mut self.snapshot, &next.pod, next.container.as_str(), exit, ended);
        self.snapshot.state.seq = seq;
        match self.grip.settle(&self.snapshot, &[entry]) {
            // The store or `pending` has it; a full disk must not stop what has already happened.
            Err(error) if !error.is_full() => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        self.grip.guard.clear_intent()?;
        Ok(Outcome::Held(self))
    }

    /// How what a deletion has killed ended: as its supervisor wrote down, if that lived to see it.
    pub(super) fn exit_of_killed(&self, container: &Id, at: Nanos) -> Exit {
        // The id of another container than the root may have been that of one before it.
        let records = match *container == self.snapshot.sandbox.id {
            true => self.grip.folder.read_exits().unwrap_or_default(),
            false => Vec::new(),
        };
        let facts = Facts { exits: records, ..Facts::default() };
        facts.exit_of(container.as_str()).unwrap_or_else(|| inferred(at))
    }

    fn announce<E: Error + 'static>(&self, next: &Next, at: Nanos) -> Result<(), EngineError<E>> {
        let subject = Subject { sandbox: &self.snapshot.sandbox.id, container: &next.container };
        Ok(self.grip.announce(&subject.intent(&next.row, self.snapshot.state.seq + 1, at, Vec::new())?)?)
    }

    fn open_store_at(&mut self, pace: Pace) {
        match pace {
            Pace::Quick => self.grip.recorder.begin(),
            // It may be open from a transition before this one.
            Pace::RunsHooks => self.grip.recorder.close(),
        }
    }
}

/// A legal transition of a sandbox that exists, and the pod after it.
pub(super) struct Next {
    pub container: Id,
    pub row: Transition,
    pub pod: Pod,
}

impl Next {
    pub fn of(held: &Held<'_>, container: &Id, event: Event) -> Result<Next, crate::model::Denial> {
        let root = held.snapshot.sandbox.id.as_str();
        let (pod, row) = pod_of(&held.snapshot).step(root, container.as_str(), event)?;
        Ok(Next { container: container.clone(), row, pod })
    }

    /// A deletion of what lives: its end is in the entry of the deletion, since nobody comes after that.
    pub fn kills(&self) -> bool {
        self.row.to == Phase::Absent && self.row.from.is_alive()
    }
}

/// Whether the sandbox still exists afterwards.
#[allow(clippy::large_enum_variant)] // Made once a command, and taken apart at once.
pub(super) enum Outcome<'a> {
    Held(Held<'a>),
    Gone,
}

impl<'a> Outcome<'a> {
    /// After what leaves the sandbox where it is.
    pub fn still_there<E: Error + 'static>(self, container: &Id) -> Result<Held<'a>, EngineError<E>> {
        match self {
            Outcome::Held(held) => Ok(held),
            Outcome::Gone => Err(EngineError::Vanished { id: container.to_string() }),
        }
    }
}
