//! Bringing a sandbox into being: from an id nobody has to `Booted`, by stages of which each is a type that consumes the one
//! before (`host::create` has them).
//!
//! Once the claim has happened, recovery finds the sandbox; before it, the sandbox does not exist. Until the end, a crash of
//! this process means that the sandbox never was: its supervisor and init die with us, and recovery removes the rest by the
//! intent. Once the container is there, which is when `state` shows it, poststop hooks are owed to it.

use std::path::PathBuf;

use super::{EngineError, Held, Pace, Recorder, now};
use crate::model::pod::Pod;
use crate::model::record::{
    Actor, ContainerRecord, ContainerState, Intent, JournalEntry, Nanos, SandboxRecord, Snapshot, State,
};
use crate::model::table::{self, TABLE};
use crate::model::{Denial, Effect, Event, Id, Machine, Phase, Transition};
use crate::store::{Commit, Folder, Guard, Root, StoreError};

/// What a birth starts from: a prepared folder that has no name yet.
pub struct NewSandbox {
    pub id: Id,
    pub folder: Folder,
    /// The folder's lock, held since it was made.
    pub guard: Guard,
    /// The cgroups that will be made; named in the intent, so that a crash cannot leak them.
    pub cgroups: Vec<PathBuf>,
}

/// What has come to be so far, and the one step that leads on from it.
pub trait Stage: Sized {
    /// The effect of the table's row.
    const STEP: Effect;
    type Next;
    type Left: Left;

    /// A step that fails gives back all that is there by then, what it has made itself by halves included.
    fn advance(self) -> Result<Self::Next, (Self::Left, <Self::Left as Left>::Error)>;
}

/// A stage at which every process is known.
pub trait Known: Stage + Into<<Self as Stage>::Left> {
    /// Published at once: hooks ask for the state, and recovery for the pids.
    fn records(&self) -> (SandboxRecord, ContainerRecord);

    /// Whether somebody else's programs run before the next: then the store is opened only afterwards, since a slow hook must
    /// not keep other sandboxes from it.
    fn pace(&self) -> Pace;
}

/// The last one.
pub trait Born {
    /// With what was not known of it when its processes were.
    fn container(&self) -> &ContainerRecord;
}

/// What is to be taken back of a birth that failed.
pub trait Left {
    type Error: std::error::Error + 'static;

    /// Last first. What cannot be taken back stops nothing else from it.
    fn take_back(self, poststop: Poststop) -> TakenBack<Self::Error>;
}

/// Whether the container had come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poststop {
    /// Its poststop hooks run once everything else is taken back.
    Owed,
    NotOwed,
}

pub struct TakenBack<E> {
    pub outcome: Result<(), E>,
    /// What the user must be told all the same.
    pub warnings: Vec<String>,
}

/// Why there is no container, and what went wrong besides.
#[derive(Debug)]
pub struct Unborn<E: std::error::Error + 'static> {
    pub why: EngineError<E>,
    pub warnings: Vec<String>,
}

impl<E: std::error::Error + 'static, W: Into<EngineError<E>>> From<W> for Unborn<E> {
    fn from(why: W) -> Unborn<E> {
        Unborn { why: why.into(), warnings: Vec::new() }
    }
}

/// Claims the id and walks the stages. On an error everything made so far has been taken back.
///
/// The steps are those of the table's row, in its order, or this does not compile. Neither does any way around a stage:
///
/// ```compile_fail,E0277
/// use sandkeep::engine::Stage;
/// use sandkeep::host::create::{Launched, Prepared};
/// /// The init before its supervisor.
/// fn launch<'a>(prepared: Prepared<'a>) where Prepared<'a>: Stage<Next = Launched<'a>> {}
/// fn any(prepared: Prepared<'_>) {
///     launch(prepared);
/// }
/// ```
/// ```compile_fail,E0382
/// use sandkeep::engine::Stage;
/// /// A stage used twice.
/// fn twice<S: Stage>(stage: S) {
///     let _ = stage.advance();
///     let _ = stage.advance();
/// }
/// ```
/// ```compile_fail,E0277
/// use sandkeep::engine::Born;
/// use sandkeep::host::create::Launched;
/// /// What nobody has adopted is not born.
/// fn born(of: impl Born) {}
/// fn any(launched: Launched<'_>) {
///     born(launched);
/// }
/// ```
/// ```compile_fail,E0080
/// use sandkeep::engine::is_row_of_launch;
/// use sandkeep::host::create::{Grouped, Launched, Prepared, Spawned};
/// /// Another order than the table's.
/// const _: () = assert!(is_row_of_launch::<Prepared, Spawned, Grouped, Launched>());
/// ```
pub fn bear<'a, P, G, S, L, A, X>(root: &'a Root, new: NewSandbox, prepared: P) -> Result<(Held<'a>, A), Unborn<X::Error>>
where
    X: Left,
    P: Stage<Next = G, Left = X>,
    G: Stage<Next = S, Left = X>,
    S: Stage<Next = L, Left = X>,
    L: Known + Stage<Next = A, Left = X>,
    A: Born + Into<X>,
{
    const { assert!(is_row_of_launch::<P, G, S, L>(), "the stages are not the row of the table") };
    let run = Run::claim(root, new)?;
    let (run, grouped) = run.step(prepared)?;
    let (run, spawned) = run.step(grouped)?;
    let (run, launched) = run.step(spawned)?;
    let (run, snapshot, launched) = run.publish(launched)?;
    let (run, adopted) = run.step(launched)?;
    run.complete(snapshot, adopted)
}

/// Whether these are the steps that the table orders, each in its place.
pub const fn is_row_of_launch<P: Stage, G: Stage, S: Stage, L: Stage>() -> bool {
    let (ordered, steps) = (launch_of(Machine::Sandbox).effects, [P::STEP, G::STEP, S::STEP, L::STEP]);
    let mut same = ordered.len() == steps.len();
    let mut at = 0;
    while same && at < steps.len() {
        same = ordered[at] as u8 == steps[at] as u8;
        at += 1;
    }
    same
}

const fn launch_of(machine: Machine) -> &'static Transition {
    let mut at = 0;
    while TABLE[at].machine as u8 != machine as u8 || TABLE[at].event as u8 != Event::LaunchRequested as u8 {
        at += 1;
    }
    &TABLE[at]
}

/// A birth under way: the id is claimed, and what was ordered stands in the intent.
struct Run<'a> {
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
    fn claim<E: std::error::Error + 'static>(root: &'a Root, new: NewSandbox) -> Result<Run<'a>, EngineError<E>> {
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

    fn step<S: Stage>(self, stage: S) -> Result<(Run<'a>, S::Next), Unborn<<S::Left as Left>::Error>> {
        match stage.advance() {
            Ok(next) => Ok((self, next)),
            Err((left, error)) => Err(self.take_back(left, EngineError::Effect(error)).1),
        }
    }

    /// From here on it is there, if only on its way.
    fn publish<L: Known>(mut self, launched: L) -> Result<(Run<'a>, Snapshot, L), Unborn<<L::Left as Left>::Error>> {
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
    fn complete<A, X>(mut self, mut snapshot: Snapshot, adopted: A) -> Result<(Held<'a>, A), Unborn<X::Error>>
    where
        X: Left,
        A: Born + Into<X>,
    {
        let container = adopted.container();
        snapshot.containers.insert(container.id.to_string(), container.clone());
        let ended = now();
        let booted = Pod { sandbox: self.launch.to, ..Pod::absent() };
        super::facts::adopt(&mut snapshot, &booted, self.id.as_str(), None, ended);
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
    let (holder, boot) = super::ourselves()?;
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
