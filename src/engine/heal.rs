//! A transition that was cut short is finished or undone before anything else happens to its sandbox.
//!
//! | left over | what is true | healing |
//! |---|---|---|
//! | create, launch | whatever | undone: kill, remove cgroups, release the id |
//! | start | the supervisor has sent the start message | recorded |
//! | start | it has not, or it is dead | forgotten: still created, or ended |
//! | start | it is dead, and the init is not, in a foreign PID namespace | recorded: it had been sent |
//! | start | it lives and does not answer | left as it is: an error |
//! | pause | frozen as a whole | recorded; otherwise thawed and forgotten |
//! | resume | thawed | recorded; otherwise frozen again and forgotten |
//! | update | its limits are kept | recorded; otherwise the old ones are set again, and it is forgotten |
//! | delete | whatever | done again to the end |
//! | any, already published | – | only the intent is cleared |
//! | any, not published but in the store | it happened, whatever became of it since | published |
//!
//! A sandbox whose snapshot is lost or unreadable is looked up in the store first. If that does not know it either, it may
//! be alive: it is reported, and nothing is touched.
//!
//! A container that is frozen although its sandbox runs is thawed: whoever freezes it only to signal it takes no lock.
//!
//! Then the ends that nobody has recorded yet are. What runs on without a supervisor, in a foreign PID namespace, is left
//! running: every command but start works without one, and `recover` gives it another ([`Held::renew`]). All of it is deterministic and may itself be cut short: it starts
//! again from the same intent.

use super::facts::{pod_of, unrecorded_ends};
use super::transition::{Happened, Outcome, kills};
use super::{Depth, Effects, EngineError, Facts, Held, Probe, Recorder, now};
use crate::model::record::{Intent, Snapshot};
use crate::model::{Effect, Event, Id, Machine, Phase, table};
use crate::store::{self, Commit, Folder, Guard, StoreError};

/// What was found: enough to build the effects that clean it up.
pub struct Wreck<'a> {
    pub folder: &'a Folder,
    pub snapshot: Option<&'a Snapshot>,
    pub intent: Option<&'a Intent>,
}

/// One thing that was done, in words for the user: `recover` prints them.
pub type Action = String;

pub struct Healed<'a> {
    /// None: the sandbox is no more.
    pub held: Option<Held<'a>>,
    pub actions: Vec<Action>,
}

/// The decision, pure: what a left-over intent means in the light of the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The outcome was published before the crash.
    AlreadyDone,
    /// The effects are complete: record the transition.
    Record,
    /// Do the effects again, then record it.
    Redo,
    /// Take this effect back, then forget the transition.
    TakeBack(Option<Effect>),
    /// It never came to be: remove all of it.
    Abandon,
    /// The one who knows lives and does not say: touch nothing.
    Undecided,
}

pub fn judge(intent: &Intent, snapshot: Option<&Snapshot>, facts: &Facts) -> Verdict {
    if snapshot.is_some_and(|snapshot| snapshot.state.seq >= intent.seq) {
        return Verdict::AlreadyDone;
    }
    let container = intent.container.as_str();
    let released = facts.released.as_ref().map(|released| released.get(container).copied().unwrap_or(false));
    let frozen = facts.frozen.get(container).copied();
    match intent.event {
        Event::CreateRequested | Event::LaunchRequested => Verdict::Abandon,
        Event::DeleteRequested | Event::ForceDeleteRequested | Event::CreatorGone => Verdict::Redo,
        // A start message cannot be called back: the application runs, or is about to.
        Event::StartRequested if released == Some(true) => Verdict::Record,
        Event::StartRequested if released.is_none() && facts.supervisor_alive => Verdict::Undecided,
        Event::PauseRequested if frozen == Some(true) => Verdict::Record,
        Event::PauseRequested => Verdict::TakeBack(Some(Effect::Thaw)),
        Event::ResumeRequested if frozen == Some(false) => Verdict::Record,
        Event::ResumeRequested => Verdict::TakeBack(Some(Effect::Freeze)),
        Event::UpdateRequested if facts.limited.get(container) == Some(&intent.seq) => Verdict::Record,
        Event::UpdateRequested => Verdict::TakeBack(Some(Effect::ApplyLimits)),
        _ => Verdict::TakeBack(None),
    }
}

/// Heals a locked sandbox. An error leaves the intent where it is.
pub fn heal<'a, E: Effects, P: Probe>(
    folder: Folder,
    guard: Guard,
    mut recorder: Recorder<'a>,
    probe: &P,
    mut machine: impl FnMut(&Wreck<'_>) -> E,
) -> Result<Healed<'a>, EngineError<E::Error>> {
    let mut actions = Vec::new();
    let intent = guard.intent()?;
    let snapshot = match folder.read_snapshot() {
        Ok(Some(snapshot)) => Some(snapshot),
        // Only a creation has nothing published yet.
        Ok(None) if intent.as_ref().is_some_and(is_creation) => None,
        // Not damaged: somebody else could have written it.
        Err(error @ StoreError::Untrusted { .. }) => return Err(error.into()),
        // Lost or unreadable: the store is the durable truth. If it does not help either, the sandbox may well be
        // alive: nothing is touched.
        unreadable => {
            let snapshot = rescue(&folder, &mut recorder, unreadable.err())?;
            folder.publish(&guard, &snapshot)?;
            actions.push(format!("rewrote the snapshot of {:?} from the store", snapshot.sandbox.id.as_str()));
            Some(snapshot)
        }
    };
    let wreck = Wreck { folder: &folder, snapshot: snapshot.as_ref(), intent: intent.as_ref() };
    let mut effects = machine(&wreck);
    let Some(mut snapshot) = snapshot else {
        take_over(&guard, intent.as_ref())?;
        let id = intent.as_ref().map(|intent| intent.sandbox.clone());
        abandon(folder, guard, &mut recorder, &mut effects, id, &mut actions)?;
        return Ok(Healed { held: None, actions });
    };
    let depth = if intent.is_some() { Depth::Deep } else { Depth::Cgroups };
    let facts = probe.facts(&folder, &snapshot, depth);
    let id = snapshot.sandbox.id.clone();
    if let Some(intent) = &intent {
        let mut verdict = judge(intent, Some(&snapshot), &facts);
        if matches!(verdict, Verdict::TakeBack(_) | Verdict::Undecided)
            && let Some(committed) = committed(&mut recorder, intent, &snapshot)
        {
            folder.publish(&guard, &committed)?;
            (snapshot, verdict) = (committed, Verdict::AlreadyDone);
        }
        if matches!(verdict, Verdict::TakeBack(Some(_)) | Verdict::Abandon | Verdict::Redo) {
            take_over(&guard, Some(intent))?;
        }
        match verdict {
            Verdict::AlreadyDone => {
                guard.clear_intent()?;
                actions.push(format!("{:?}: {} had been completed; cleared its intent", id.as_str(), intent.event));
            }
            Verdict::TakeBack(effect) => {
                if let Some(effect) = effect {
                    effects.perform(effect).map_err(EngineError::Effect)?;
                }
                if effect == Some(Effect::ApplyLimits) {
                    actions
                        .extend(effects.take_warnings().into_iter().map(|text| format!("{:?}: {text}", id.as_str())));
                }
                guard.clear_intent()?;
                actions.push(format!("{:?}: {} was cut short; took it back", id.as_str(), intent.event));
            }
            Verdict::Abandon => {
                abandon(folder, guard, &mut recorder, &mut effects, Some(id), &mut actions)?;
                return Ok(Healed { held: None, actions });
            }
            Verdict::Undecided => {
                return Err(EngineError::Undecided { id: id.to_string(), event: intent.event });
            }
            verdict @ (Verdict::Record | Verdict::Redo) => {
                let held = Held { folder, guard, snapshot, recorder };
                return go_on(held, intent, verdict, &facts, &mut effects, actions);
            }
        }
    } else if snapshot.state.sandbox.phase == Phase::Creating {
        abandon(folder, guard, &mut recorder, &mut effects, Some(id), &mut actions)?;
        return Ok(Healed { held: None, actions });
    } else if snapshot.state.sandbox.phase == Phase::Running && facts.frozen.values().any(|frozen| *frozen) {
        effects.perform(Effect::Thaw).map_err(EngineError::Effect)?;
        actions.push(format!("{:?}: it runs, and was left frozen; thawed it", id.as_str()));
    }
    let held = Held { folder, guard, snapshot, recorder };
    let held = record_ends(held, &facts, &mut effects, &mut actions)?;
    Ok(Healed { held: Some(held), actions })
}

/// Healing may take its time, with hooks above all: from here on the intent names us as its holder.
fn take_over<E: std::error::Error + 'static>(guard: &Guard, intent: Option<&Intent>) -> Result<(), EngineError<E>> {
    let Some(intent) = intent else { return Ok(()) };
    let (holder, boot) = super::ourselves()?;
    Ok(guard.take_over_intent(&Intent { holder, boot, ..intent.clone() })?)
}

/// What the store holds, if the transition was committed before it was cut short: from there on it has happened, and its
/// journal entry stands. A store that cannot be asked stops no healing.
fn committed(recorder: &mut Recorder<'_>, intent: &Intent, published: &Snapshot) -> Option<Snapshot> {
    let stored = recorder.snapshot(&intent.sandbox);
    // What follows may take its time.
    recorder.close();
    let stored = stored.ok()??;
    let same = stored.sandbox.incarnation == published.sandbox.incarnation;
    (same && stored.state.seq >= intent.seq).then_some(stored)
}

fn go_on<'a, E: Effects>(
    held: Held<'a>,
    intent: &Intent,
    verdict: Verdict,
    facts: &Facts,
    effects: &mut E,
    mut actions: Vec<Action>,
) -> Result<Healed<'a>, EngineError<E::Error>> {
    let root = held.snapshot.sandbox.id.clone();
    let (pod, row) = pod_of(&held.snapshot).step(root.as_str(), intent.container.as_str(), intent.event)?;
    if verdict == Verdict::Redo {
        for effect in row.effects.iter().filter(|effect| **effect != Effect::ReleaseId) {
            effects.perform(*effect).map_err(EngineError::Effect)?;
        }
        actions.extend(effects.take_warnings());
    }
    actions.push(format!("{:?}: completed {}, which was cut short", intent.container.as_str(), intent.event));
    let mut happened = Happened::by_recovery(intent.at);
    if kills(row) {
        happened.exit = Some(held.exit_of_killed(&intent.container, happened.ended));
    }
    match held.complete(&intent.container, row, &pod, happened)? {
        Outcome::Gone => Ok(Healed { held: None, actions }),
        Outcome::Held(held) => {
            let held = record_ends(held, facts, effects, &mut actions)?;
            Ok(Healed { held: Some(held), actions })
        }
    }
}

fn record_ends<'a, E: Effects>(
    mut held: Held<'a>,
    facts: &Facts,
    effects: &mut E,
    actions: &mut Vec<Action>,
) -> Result<Held<'a>, EngineError<E::Error>> {
    for (container, event, exit) in unrecorded_ends(&held.snapshot, facts, now()) {
        let Ok(container) = Id::parse(&container) else { continue };
        let how = match exit {
            Some(exit) if exit.is_unknown() && event == Event::SupervisorGone => {
                "it had ended after its supervisor; nobody saw its status".to_owned()
            }
            Some(exit) if exit.is_unknown() => "it had ended; nobody could tell its status".to_owned(),
            Some(exit) if exit.inferred => format!("its supervisor was gone: status {} inferred", exit.code),
            Some(exit) => format!("it had ended with status {}", exit.code),
            None if event == Event::SupervisorGone => "its supervisor was gone: ended whatever ran on".to_owned(),
            None => "it had ended; its status is not known yet".to_owned(),
        };
        held = held.observe(&container, event, exit, effects)?;
        actions.push(format!("{:?}: recorded that {how}", container.as_str()));
    }
    Ok(held)
}

/// Everything of a sandbox that never came to be. Its journal shows nothing but that it was abandoned.
fn abandon<E: Effects>(
    mut folder: Folder,
    guard: Guard,
    recorder: &mut Recorder<'_>,
    effects: &mut E,
    id: Option<Id>,
    actions: &mut Vec<Action>,
) -> Result<(), EngineError<E::Error>> {
    let name = id.as_ref().map_or(folder.name().to_owned(), |id| id.to_string());
    let row = table::step(Machine::Sandbox, &name, Phase::Creating, Event::CreatorGone)?;
    for effect in row.effects.iter().filter(|effect| **effect != Effect::ReleaseId) {
        effects.perform(*effect).map_err(EngineError::Effect)?;
    }
    actions.extend(effects.take_warnings().into_iter().map(|warning| format!("{name:?}: {warning}")));
    if let Some(id) = &id {
        recorder.commit(&Commit { id, snapshot: None, journal: &[] });
    }
    folder.retire()?;
    drop(guard);
    folder.remove()?;
    actions.push(format!("{name:?}: its creation was cut short; removed all of it"));
    Ok(())
}

fn is_creation(intent: &Intent) -> bool {
    intent.machine == Machine::Sandbox && matches!(intent.event, Event::CreateRequested | Event::LaunchRequested)
}

/// What the store knows of the sandbox in this folder, whose snapshot is lost, or `unreadable`.
fn rescue<E: std::error::Error + 'static>(
    folder: &Folder,
    recorder: &mut Recorder<'_>,
    unreadable: Option<StoreError>,
) -> Result<Snapshot, EngineError<E>> {
    let name = || folder.name().to_owned();
    let stored = recorder.snapshots().map_err(|source| EngineError::Rescue { folder: name(), source })?;
    let found = stored.into_iter().find(|snapshot| store::name_of(snapshot.sandbox.id.as_str()) == folder.name());
    found.ok_or_else(|| EngineError::Unknown { folder: name(), source: unreadable })
}
