//! A transition that was cut short is finished or undone before anything else happens to its sandbox.
//!
//! What is to be done about a transition is `judge`'s verdict.
//!
//! A sandbox whose snapshot is lost or unreadable is looked up in the store first. If that does not know it either, it may
//! be alive: it is reported, and nothing is touched.
//!
//! A container that is frozen although its sandbox runs is thawed: whoever freezes it only to signal it takes no lock.
//!
//! Then the ends that nobody has recorded yet are. What runs on without a supervisor, in a foreign PID namespace, is left
//! running: every command but start works without one, and `recover` gives it another ([`Held::renew`]). All of it is deterministic and may itself be cut short: it starts
//! again from the same intent.

use std::error::Error;

use super::effects::{Effects, Grip, Performer, perform_all};
use super::facts::unrecorded_ends;
use super::record::{Happened, taken_over};
use super::transition::{Next, Outcome};
use super::verdict::{Verdict, judge};
use super::{Depth, EngineError, Facts, Held, Probe, Recorder, now};
use crate::model::record::{Exit, Intent, Snapshot};
use crate::model::{Change, Effect, End, Event, Id, Machine, Phase, Work, table};
use crate::store::{self, Folder, Guard, StoreError};

/// What was found: enough to build the effects that clean it up.
#[derive(Clone, Copy)]
pub struct Wreck<'w> {
    /// Of a sandbox, or of one that was being made or removed.
    pub folder: &'w Folder,
    /// None: it is lost, or no process of it was ever known.
    pub snapshot: Option<&'w Snapshot>,
    /// None: no transition was cut short.
    pub intent: Option<&'w Intent>,
}

/// What heals. Each of the two is made only once there is something for it to do: whoever finds a sandbox in order reads
/// nothing of what they need.
pub trait Mend {
    /// Why an effect of healing failed.
    type Error: Error + 'static;
    /// Performs what takes back or completes a change.
    type Changes<'w>: Effects<Change> + Performer<Error = Self::Error>;
    /// Performs what ends it.
    type Ends<'w>: Effects<End> + Performer<Error = Self::Error>;

    /// For a sandbox that goes on.
    fn changes<'w>(&self, folder: &'w Folder, snapshot: &'w Snapshot) -> Self::Changes<'w>;
    /// For one that is to be gone, by whatever was found of it.
    fn ends<'w>(&self, wreck: Wreck<'w>) -> Self::Ends<'w>;
}

/// What a row orders of those who heal, which is about these two rooms only.
pub(super) fn perform_work<H: Mend>(work: Work, mend: &H, held: &Held<'_>) -> Result<(), EngineError<H::Error>> {
    let (folder, snapshot) = (&held.grip.folder, &held.snapshot);
    let (changes, ends) = (Change::of(work), End::of(work));
    if !changes.is_empty() {
        perform_all(changes, &mut mend.changes(folder, snapshot))?;
    }
    if !ends.is_empty() {
        perform_all(ends, &mut mend.ends(Wreck { folder, snapshot: Some(snapshot), intent: None }))?;
    }
    Ok(())
}

/// One thing that was done, in words for the user: `recover` prints them.
pub type Action = String;

/// What came of healing.
pub struct Healed<'a> {
    /// None: the sandbox is no more.
    pub held: Option<Held<'a>>,
    /// In the order in which they were done; empty: nothing was wrong.
    pub actions: Vec<Action>,
}

/// Heals a locked sandbox. An error leaves the intent where it is.
pub fn heal<'a, P: Probe, H: Mend>(
    folder: Folder,
    guard: Guard,
    recorder: Recorder<'a>,
    probe: &P,
    mend: &H,
) -> Result<Healed<'a>, EngineError<H::Error>> {
    let mut grip = Grip { folder, guard, recorder };
    let mut actions = Vec::new();
    let intent = grip.guard.intent()?;
    let snapshot = match grip.folder.read_snapshot() {
        Ok(Some(snapshot)) => snapshot,
        // Only a creation has nothing published yet.
        Ok(None) if intent.as_ref().is_some_and(is_creation) => {
            abandon(grip, None, intent.as_ref(), mend, &mut actions)?;
            return Ok(Healed { held: None, actions });
        }
        // Not damaged: somebody else could have written it.
        Err(error @ StoreError::Untrusted { .. }) => return Err(error.into()),
        // Lost or unreadable: the store is the durable truth. If it does not help either, the sandbox may well be
        // alive: nothing is touched.
        unreadable => {
            let snapshot = rescue(&mut grip, unreadable.err())?;
            grip.folder.publish(&grip.guard, &snapshot)?;
            actions.push(format!("rewrote the snapshot of {:?} from the store", snapshot.sandbox.id.as_str()));
            snapshot
        }
    };
    let depth = if intent.is_some() { Depth::Deep } else { Depth::Cgroups };
    let facts = probe.facts(&grip.folder, &snapshot, depth);
    let held = Held { grip, snapshot };
    let healed = match &intent {
        Some(intent) => heal_intent(held, intent, &facts, mend, &mut actions)?,
        None => heal_phase(held, &facts, mend, &mut actions)?,
    };
    let held = match healed {
        Some(held) => Some(record_ends(held, &facts, mend, &mut actions)?),
        None => None,
    };
    Ok(Healed { held, actions })
}

/// Nobody has left anything undone, and yet the sandbox may not be what its phase says. None: it is no more.
fn heal_phase<'a, H: Mend>(
    held: Held<'a>,
    facts: &Facts,
    mend: &H,
    actions: &mut Vec<Action>,
) -> Result<Option<Held<'a>>, EngineError<H::Error>> {
    let Held { grip, snapshot } = held;
    match snapshot.state.sandbox.phase {
        Phase::Creating => {
            abandon(grip, Some(&snapshot), None, mend, actions)?;
            return Ok(None);
        }
        Phase::Running if facts.frozen.values().any(|frozen| *frozen) => {
            perform_all(&[Change::Thaw], &mut mend.changes(&grip.folder, &snapshot))?;
            actions.push(format!("{:?}: it runs, and was left frozen; thawed it", snapshot.sandbox.id.as_str()));
        }
        Phase::Absent | Phase::Booted | Phase::Running | Phase::Paused | Phase::Stopped => {}
    }
    Ok(Some(Held { grip, snapshot }))
}

/// A transition that was cut short is finished, undone or forgotten. None: the sandbox is no more.
fn heal_intent<'a, H: Mend>(
    held: Held<'a>,
    intent: &Intent,
    facts: &Facts,
    mend: &H,
    actions: &mut Vec<Action>,
) -> Result<Option<Held<'a>>, EngineError<H::Error>> {
    let Held { mut grip, mut snapshot } = held;
    let id = snapshot.sandbox.id.clone();
    let mut verdict = judge(intent, Some(&snapshot), facts);
    if matches!(verdict, Verdict::Forget | Verdict::TakeBack(_) | Verdict::Undecided)
        && let Some(committed) = committed(&mut grip.recorder, intent, &snapshot)
    {
        grip.folder.publish(&grip.guard, &committed)?;
        (snapshot, verdict) = (committed, Verdict::AlreadyDone);
    }
    match verdict {
        Verdict::AlreadyDone => {
            grip.guard.clear_intent()?;
            actions.push(format!("{:?}: {} had been completed; cleared its intent", id.as_str(), intent.event));
        }
        Verdict::Forget => {
            grip.guard.clear_intent()?;
            actions.push(format!("{:?}: {} was cut short; took it back", id.as_str(), intent.event));
        }
        Verdict::TakeBack(back) => {
            grip.guard.take_over_intent(&taken_over(intent)?)?;
            let mut machine = mend.changes(&grip.folder, &snapshot);
            perform_all(&[back], &mut machine)?;
            actions.extend(machine.take_warnings().into_iter().map(|text| format!("{:?}: {text}", id.as_str())));
            drop(machine);
            grip.guard.clear_intent()?;
            actions.push(format!("{:?}: {} was cut short; took it back", id.as_str(), intent.event));
        }
        Verdict::Abandon => {
            abandon(grip, Some(&snapshot), Some(intent), mend, actions)?;
            return Ok(None);
        }
        Verdict::Undecided => {
            return Err(EngineError::Undecided { id: id.to_string(), event: intent.event });
        }
        Verdict::Redo => {
            grip.guard.take_over_intent(&taken_over(intent)?)?;
            let held = Held { grip, snapshot };
            let next = Next::of(&held, &intent.container, intent.event)?;
            let mut machine =
                mend.ends(Wreck { folder: &held.grip.folder, snapshot: Some(&held.snapshot), intent: Some(intent) });
            perform_all(End::of(next.row.work), &mut machine)?;
            actions.extend(machine.take_warnings());
            drop(machine);
            return go_on(held, &next, intent, actions);
        }
        Verdict::Record => {
            let held = Held { grip, snapshot };
            let next = Next::of(&held, &intent.container, intent.event)?;
            return go_on(held, &next, intent, actions);
        }
    }
    Ok(Some(Held { grip, snapshot }))
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

/// Its effects are complete: what the command that began it would have written is written.
fn go_on<'a, E: Error + 'static>(
    held: Held<'a>,
    next: &Next,
    intent: &Intent,
    actions: &mut Vec<Action>,
) -> Result<Option<Held<'a>>, EngineError<E>> {
    actions.push(format!("{:?}: completed {}, which was cut short", intent.container.as_str(), intent.event));
    let mut happened = Happened::by_recovery(intent.at);
    if next.kills() {
        happened.exit = Some(held.exit_of_killed(&intent.container, happened.ended));
    }
    match held.complete(next, happened)? {
        Outcome::Gone => Ok(None),
        Outcome::Held(held) => Ok(Some(held)),
    }
}

/// Ends that were seen: no effects but those of the table. One that the supervisor wrote down has its time, whenever that
/// is.
fn record_ends<'a, H: Mend>(
    mut held: Held<'a>,
    facts: &Facts,
    mend: &H,
    actions: &mut Vec<Action>,
) -> Result<Held<'a>, EngineError<H::Error>> {
    for (container, event, exit) in unrecorded_ends(&held.snapshot, facts, now()) {
        let Ok(container) = Id::parse(&container) else { continue };
        let next = Next::of(&held, &container, event)?;
        perform_work(next.row.work, mend, &held)?;
        let seen = Happened::seen(&held.snapshot, &container, exit);
        held = held.complete(&next, seen)?.still_there(&container)?;
        actions.push(format!("{:?}: recorded that {}", container.as_str(), how_it_ended(event, exit)));
    }
    Ok(held)
}

fn how_it_ended(event: Event, exit: Option<Exit>) -> String {
    let alone = event == Event::SupervisorGone;
    match exit {
        Some(exit) if exit.is_unknown() && alone => {
            "it had ended after its supervisor; nobody saw its status".to_owned()
        }
        Some(exit) if exit.is_unknown() => "it had ended; nobody could tell its status".to_owned(),
        Some(exit) if exit.inferred => format!("its supervisor was gone: status {} inferred", exit.code),
        Some(exit) => format!("it had ended with status {}", exit.code),
        None if alone => "its supervisor was gone: ended whatever ran on".to_owned(),
        None => "it had ended; its status is not known yet".to_owned(),
    }
}

/// Everything of a sandbox that never came to be. Its journal shows nothing but that it was abandoned.
fn abandon<H: Mend>(
    mut grip: Grip<'_>,
    snapshot: Option<&Snapshot>,
    intent: Option<&Intent>,
    mend: &H,
    actions: &mut Vec<Action>,
) -> Result<(), EngineError<H::Error>> {
    if let Some(intent) = intent {
        grip.guard.take_over_intent(&taken_over(intent)?)?;
    }
    let published = snapshot.map(|snapshot| &snapshot.sandbox.id);
    let id = published.or(intent.map(|intent| &intent.sandbox));
    let name = id.map_or(grip.folder.name().to_owned(), |id| id.to_string());
    let row = table::step(Machine::Sandbox, &name, Phase::Creating, Event::CreatorGone)?;
    let mut machine = mend.ends(Wreck { folder: &grip.folder, snapshot, intent });
    perform_all(End::of(row.work), &mut machine)?;
    actions.extend(machine.take_warnings().into_iter().map(|warning| format!("{name:?}: {warning}")));
    drop(machine);
    if let Some(id) = id {
        grip.forget(id, &[]);
    }
    grip.give_back()?;
    actions.push(format!("{name:?}: its creation was cut short; removed all of it"));
    Ok(())
}

fn is_creation(intent: &Intent) -> bool {
    intent.machine == Machine::Sandbox && matches!(intent.event, Event::CreateRequested | Event::LaunchRequested)
}

/// What the store knows of the sandbox in this folder, whose snapshot is lost, or `unreadable`.
fn rescue<E: Error + 'static>(grip: &mut Grip<'_>, unreadable: Option<StoreError>) -> Result<Snapshot, EngineError<E>> {
    let name = || grip.folder.name().to_owned();
    let stored = grip.recorder.snapshots().map_err(|source| EngineError::Rescue { folder: name(), source })?;
    let found = stored.into_iter().find(|snapshot| store::name_of(snapshot.sandbox.id.as_str()) == grip.folder.name());
    found.ok_or_else(|| EngineError::Unknown { folder: name(), source: unreadable })
}
