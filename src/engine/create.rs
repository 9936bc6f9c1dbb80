//! Bringing a sandbox into being: from an id nobody has to `Booted`.

use std::path::PathBuf;

use super::effects::{Effects, Grip, Known, Pace, Performer, take_back};
use super::record::{Happened, Subject};
use super::{EngineError, Held, Recorder, now};
use crate::model::pod::Pod;
use crate::model::record::{ContainerRecord, ContainerState, SandboxRecord, Snapshot, State};
use crate::model::{Denial, Effect, End, Event, Id, Machine, Make, Phase, table};
use crate::store::{Folder, Guard, Root, StoreError};

/// What create starts from: a prepared folder that has no name yet.
pub struct NewSandbox {
    pub id: Id,
    pub folder: Folder,
    /// The folder's lock, held since it was made.
    pub guard: Guard,
    /// The cgroups that will be made; named in the intent, so that a crash cannot leak them.
    pub cgroups: Vec<PathBuf>,
}

/// Claims the id and launches. On an error everything made so far has been taken back.
///
/// Once the claim has happened, recovery finds the sandbox; before it, the sandbox does not exist. Until the end, a
/// crash of this process means that the sandbox never was: its supervisor and init die with us, and recovery removes the
/// rest by the intent. Once the container is there, which is when `state` shows it, poststop hooks are owed to it.
pub fn create<'a, M: Effects<Make> + Effects<End> + Known>(
    root: &'a Root,
    new: NewSandbox,
    machine: &mut M,
) -> Result<Held<'a>, EngineError<<M as Performer>::Error>> {
    let NewSandbox { id, folder, guard, cgroups } = new;
    let subject = Subject::root(&id);
    let began = now();
    let claim = table::step(Machine::Sandbox, id.as_str(), Phase::Absent, Event::CreateRequested)?;
    let launch = table::step(Machine::Sandbox, id.as_str(), claim.to, Event::LaunchRequested)?;
    guard.write_intent(&subject.intent(&launch, 2, began, cgroups)?)?;
    let folder = folder.claim(&id).map_err(|error| match error {
        StoreError::Exists { .. } => EngineError::Denied(taken(&id)),
        other => other.into(),
    })?;
    let claimed = now();
    let mut grip = Grip { folder, guard, recorder: Recorder::new(root) };
    let effects = Make::of(launch.work);
    let mut early = None;
    for (done, effect) in effects.iter().enumerate() {
        let outcome = machine.perform(*effect).map_err(EngineError::Effect).and_then(|()| {
            if *effect == Make::Init {
                // Hooks ask for the state, and recovery for the pids.
                if let Some((sandbox, container)) = machine.records() {
                    let snapshot = creating(sandbox, container, began);
                    grip.folder.publish(&grip.guard, &snapshot)?;
                    early = Some(snapshot);
                }
                if machine.pace() == Pace::Quick {
                    grip.recorder.begin();
                }
            }
            Ok(())
        });
        if let Err(error) = outcome {
            return Err(give_up(&effects[..=done], machine, grip, error));
        }
    }
    let Some(mut snapshot) = early else {
        let error = EngineError::Vanished { id: id.to_string() };
        return Err(give_up(effects, machine, grip, error));
    };
    // What was not known of the container when its processes were.
    if let Some((_, container)) = machine.records() {
        snapshot.containers.insert(container.id.to_string(), container);
    }
    let ended = now();
    let booted = Pod { sandbox: launch.to, ..Pod::absent() };
    super::facts::adopt(&mut snapshot, &booted, id.as_str(), None, ended);
    snapshot.state.seq = 2;
    let entry = |seq, row, began, ended| {
        let happened = Happened { ended, ..Happened::by_command(began) };
        subject.entry(&snapshot.sandbox.incarnation, row, seq, happened)
    };
    let journal = [entry(1, &claim, began, claimed), entry(2, &launch, claimed, ended)];
    if let Err(error) = grip.settle(&snapshot, &journal) {
        grip.forget(&id, &[]);
        return Err(give_up(effects, machine, grip, error.into()));
    }
    grip.guard.clear_intent()?;
    Ok(Held { grip, snapshot })
}

fn creating(sandbox: SandboxRecord, container: ContainerRecord, at: i64) -> Snapshot {
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

/// Undoes a creation that failed with `error`. What cannot be undone keeps its folder, its id and its intent, which is
/// what recovery needs to finish it.
fn give_up<M: Effects<End>>(
    done: &[Make],
    machine: &mut M,
    mut grip: Grip<'_>,
    error: EngineError<M::Error>,
) -> EngineError<M::Error> {
    grip.recorder.close();
    match undo(done, machine, &grip.folder).map_err(EngineError::Effect).and_then(|()| Ok(grip.give_back()?)) {
        Ok(()) => error,
        Err(second) => EngineError::not_undone(error, second),
    }
}

/// Nothing of a creation is irreversible: what takes it back is of a room that has an answer to each of its effects.
fn undo<M: Effects<End>>(done: &[Make], machine: &mut M, folder: &Folder) -> Result<(), M::Error> {
    take_back(done, machine)?;
    if owes_poststop(folder) { machine.perform(End::Poststop) } else { Ok(()) }
}

/// Whether the container had come to be: what healing goes by as well, should we die in between.
fn owes_poststop(folder: &Folder) -> bool {
    matches!(folder.read_snapshot(), Ok(Some(_)))
}
