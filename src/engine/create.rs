//! Bringing a sandbox into being: from an id nobody has to `Booted`.

use std::path::PathBuf;

use super::transition::undo;
use super::{Effects, EngineError, Held, Pace, Recorder, now};
use crate::model::pod::Pod;
use crate::model::record::{
    Actor, ContainerRecord, ContainerState, Intent, JournalEntry, SandboxRecord, Snapshot, State,
};
use crate::model::{Denial, Effect, Event, Id, Machine, Phase, table};
use crate::store::{Commit, Folder, Guard, Root, StoreError};

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
pub fn create<'a, E: Effects>(
    root: &'a Root,
    new: NewSandbox,
    effects: &mut E,
) -> Result<Held<'a>, EngineError<E::Error>> {
    let NewSandbox { id, folder, guard, cgroups } = new;
    let began = now();
    let claim = table::step(Machine::Sandbox, id.as_str(), Phase::Absent, Event::CreateRequested)?;
    let launch = table::step(Machine::Sandbox, id.as_str(), claim.to, Event::LaunchRequested)?;
    guard.write_intent(&intent(&id, cgroups, began)?)?;
    let folder = folder.claim(&id).map_err(|error| match error {
        StoreError::Exists { .. } => EngineError::Denied(taken(&id)),
        other => other.into(),
    })?;
    let claimed = now();
    let mut recorder = Recorder::new(root);
    let mut early = None;
    for (done, effect) in launch.effects.iter().enumerate() {
        let outcome = effects.perform(*effect).map_err(EngineError::Effect).and_then(|()| {
            if *effect == Effect::LaunchInit {
                // Hooks ask for the state, and recovery for the pids.
                if let Some((sandbox, container)) = effects.records() {
                    let snapshot = creating(sandbox, container, began);
                    folder.publish(&guard, &snapshot)?;
                    early = Some(snapshot);
                }
                if effects.pace() == Pace::Quick {
                    recorder.begin();
                }
            }
            Ok(())
        });
        if let Err(error) = outcome {
            recorder.close();
            return Err(take_back(&launch.effects[..=done], effects, folder, guard, error));
        }
    }
    let Some(mut snapshot) = early else {
        let error = EngineError::Vanished { id: id.to_string() };
        return Err(take_back(launch.effects, effects, folder, guard, error));
    };
    // What was not known of the container when its processes were.
    if let Some((_, container)) = effects.records() {
        snapshot.containers.insert(container.id.to_string(), container);
    }
    let ended = now();
    let booted = Pod { sandbox: launch.to, ..Pod::absent() };
    super::facts::adopt(&mut snapshot, &booted, id.as_str(), None, ended);
    snapshot.state.seq = 2;
    let entry = |seq, row: &crate::model::Transition, began, ended| JournalEntry {
        sandbox: id.clone(),
        incarnation: snapshot.sandbox.incarnation.clone(),
        container: id.clone(),
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
    };
    let journal = [entry(1, claim, began, claimed), entry(2, launch, claimed, ended)];
    recorder.commit(&Commit { id: &id, snapshot: Some(&snapshot), journal: &journal });
    if let Err(error) = folder.publish(&guard, &snapshot) {
        recorder.close();
        let error = take_back(launch.effects, effects, folder, guard, error.into());
        if !matches!(error, EngineError::NotUndone { .. }) {
            recorder.commit(&Commit { id: &id, snapshot: None, journal: &[] });
        }
        return Err(error);
    }
    guard.clear_intent()?;
    Ok(Held { folder, guard, snapshot, recorder })
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

fn intent<E: std::error::Error + 'static>(id: &Id, cgroups: Vec<PathBuf>, at: i64) -> Result<Intent, EngineError<E>> {
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

/// Undoes a creation that failed with `error`. What cannot be undone keeps its folder, its id and its intent, which is
/// what recovery needs to finish it.
fn take_back<E: Effects>(
    done: &[Effect],
    effects: &mut E,
    folder: Folder,
    guard: Guard,
    error: EngineError<E::Error>,
) -> EngineError<E::Error> {
    // Nothing of a creation is irreversible: the table's tests hold that.
    let undone = undo(done, effects).and_then(|_| match owes_poststop(&folder) {
        true => effects.perform(Effect::RunPoststopHooks),
        false => Ok(()),
    });
    match undone.map_err(EngineError::Effect).and_then(|()| Ok(release(folder, guard)?)) {
        Ok(()) => error,
        Err(second) => EngineError::not_undone(error, second),
    }
}

/// Whether the container had come to be: what healing goes by as well, should we die in between.
fn owes_poststop(folder: &Folder) -> bool {
    matches!(folder.read_snapshot(), Ok(Some(_)))
}

/// The id is free at the rename; removing what is in the folder can take its time.
fn release(mut folder: Folder, guard: Guard) -> Result<(), StoreError> {
    folder.retire()?;
    drop(guard);
    folder.remove()
}
