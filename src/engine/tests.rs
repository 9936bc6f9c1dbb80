//! What the engine does when things go wrong, with a machine that fails on demand.

use std::cell::RefCell;
use std::time::Duration;

use super::heal::{Healed, heal};
use super::verdict::{Verdict, judge};
use super::*;
use crate::model::record::{ContainerRecord, Intent, SandboxRecord, Snapshot};
use crate::model::{Change, Effect, End, Machine, Make, Phase};
use crate::store::schema::samples;
use crate::store::{Commit, Folder, Guard, Root};

const LONG: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
#[error("{0} failed")]
struct Failed(&'static str);

/// Writes down what it is asked for, by name.
#[derive(Default)]
struct Machinery {
    done: RefCell<Vec<&'static str>>,
    /// These fail.
    broken: Vec<&'static str>,
}

impl Machinery {
    fn with_broken<const N: usize>(broken: [&'static str; N]) -> Machinery {
        Machinery { broken: broken.into(), ..Machinery::default() }
    }

    fn note(&self, effect: &'static str) -> Result<(), Failed> {
        self.done.borrow_mut().push(effect);
        if self.broken.contains(&effect) { Err(Failed(effect)) } else { Ok(()) }
    }
}

impl Performer for &Machinery {
    type Error = Failed;
}

impl Effects<Make> for &Machinery {
    fn perform(&mut self, effect: Make) -> Result<(), Failed> {
        self.note(effect.name())
    }
}

impl Effects<Change> for &Machinery {
    fn perform(&mut self, effect: Change) -> Result<(), Failed> {
        self.note(effect.name())
    }
}

impl Effects<End> for &Machinery {
    fn perform(&mut self, effect: End) -> Result<(), Failed> {
        self.note(effect.name())
    }
}

impl Known for &Machinery {
    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)> {
        let Snapshot { sandbox, containers, .. } = samples::snapshot("web");
        Some((sandbox, containers.into_values().next()?))
    }
}

/// Says that it was asked, too.
struct Mender<'m> {
    machinery: &'m Machinery,
    asked: RefCell<Vec<&'static str>>,
}

impl<'m> Mender<'m> {
    fn of(machinery: &'m Machinery) -> Mender<'m> {
        Mender { machinery, asked: RefCell::default() }
    }
}

impl<'m> Mend for Mender<'m> {
    type Error = Failed;
    type Changes<'w> = &'m Machinery;
    type Ends<'w> = &'m Machinery;

    fn changes<'w>(&self, _: &'w Folder, _: &'w Snapshot) -> &'m Machinery {
        self.asked.borrow_mut().push("changes");
        self.machinery
    }

    fn ends<'w>(&self, _: Wreck<'w>) -> &'m Machinery {
        self.asked.borrow_mut().push("ends");
        self.machinery
    }
}

/// Shows these facts, whatever it is asked about.
struct Shows(Facts);

impl Probe for Shows {
    fn facts(&self, _: &Folder, _: &Snapshot, _: Depth) -> Facts {
        self.0.clone()
    }
}

/// A root with the folder of a sandbox called web, and nothing in it yet.
fn sandbox() -> (tempfile::TempDir, Root, Folder, Guard) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open_or_make(dir.path()).unwrap();
    let folder = root.prepare().unwrap().0.claim(&samples::id("web")).unwrap();
    let guard = folder.lock(LONG).unwrap();
    (dir, root, folder, guard)
}

fn left_over(event: Event, from: Phase, to: Phase) -> Intent {
    Intent { event, from, to, seq: 99, machine: Machine::Sandbox, ..samples::intent("web") }
}

fn is_there(root: &Root) -> bool {
    root.find(&samples::id("web")).unwrap().is_some()
}

/// Heals; gives the outcome and the effects that were performed.
fn healed(
    root: &Root,
    folder: Folder,
    guard: Guard,
    facts: Facts,
) -> (Result<Option<Snapshot>, EngineError<Failed>>, Vec<&'static str>) {
    let machinery = Machinery::default();
    let outcome = heal(folder, guard, Recorder::new(root), &Shows(facts), &Mender::of(&machinery))
        .map(|Healed { held, .. }| held.map(|held| held.snapshot().clone()));
    (outcome, machinery.done.into_inner())
}

#[test]
fn a_sandbox_that_nobody_knows_any_more_is_reported_and_not_touched() {
    let start = left_over(Event::StartRequested, Phase::Booted, Phase::Running);
    let launch = left_over(Event::LaunchRequested, Phase::Creating, Phase::Booted);
    for (intent, damage) in [(None, "lost"), (None, "broken"), (Some(start), "lost"), (Some(launch), "broken")] {
        let (_dir, root, folder, guard) = sandbox();
        if let Some(intent) = &intent {
            guard.write_intent(intent).unwrap();
        }
        if damage == "broken" {
            std::fs::write(folder.path().join("sandbox.json"), "{").unwrap();
        }
        let (outcome, done) = healed(&root, folder, guard, Facts::default());
        assert!(matches!(outcome, Err(EngineError::Unknown { .. })), "{damage}, {intent:?}");
        assert!(done.is_empty(), "{done:?}");
        assert!(is_there(&root));
        let left = root.find(&samples::id("web")).unwrap().unwrap().intent_unlocked().unwrap();
        assert_eq!(left, intent);
    }
}

#[test]
fn a_creation_that_had_published_nothing_is_removed() {
    let (_dir, root, folder, guard) = sandbox();
    guard.write_intent(&left_over(Event::LaunchRequested, Phase::Creating, Phase::Booted)).unwrap();
    let (outcome, done) = healed(&root, folder, guard, Facts::default());
    assert!(outcome.unwrap().is_none());
    assert_eq!(done, ["kill-sandbox", "remove-cgroups", "run-poststop-hooks"]);
    assert!(!is_there(&root));
}

#[test]
fn a_start_that_was_cut_short_in_a_sandbox_without_a_snapshot_is_judged_by_what_the_store_knows() {
    let (_dir, root, folder, guard) = sandbox();
    let mut known = samples::snapshot("web");
    known.state.sandbox.phase = Phase::Booted;
    Recorder::new(&root).commit(&Commit { id: &samples::id("web"), snapshot: Some(&known), journal: &[] });
    guard.write_intent(&left_over(Event::StartRequested, Phase::Booted, Phase::Running)).unwrap();
    let facts = Facts {
        supervisor_alive: true,
        inits: [("web".to_owned(), true)].into(),
        released: Some([("web".to_owned(), true)].into()),
        ..Facts::default()
    };
    let (outcome, done) = healed(&root, folder, guard, facts);
    assert_eq!(outcome.unwrap().unwrap().state.sandbox.phase, Phase::Running);
    assert!(done.is_empty(), "{done:?}");
}

#[test]
fn what_cannot_be_taken_back_is_said_and_all_of_it_is_tried() {
    use super::effects::{TakenBack, take_back};
    let machine = Machinery::with_broken(["kill-container"]);
    let failure = take_back(&[Make::Cgroups, Make::Init], &mut &machine).unwrap_err();
    assert_eq!(failure.0, "kill-container");
    assert_eq!(machine.done.take(), ["kill-container", "remove-cgroups"]);
    assert_eq!(take_back(&[Make::Cgroups], &mut &machine).unwrap(), TakenBack::Completely);
    assert_eq!(take_back(&[Change::Release], &mut &machine).unwrap(), TakenBack::NotAll);
    assert_eq!(take_back(&[End::KillContainer], &mut &machine).unwrap(), TakenBack::NotAll);
    assert_eq!(machine.done.take(), ["remove-cgroups"]);
}

#[test]
fn a_start_message_that_was_sent_is_recorded_and_a_silent_supervisor_leaves_the_intent() {
    let start = left_over(Event::StartRequested, Phase::Booted, Phase::Running);
    let booted = || {
        let mut snapshot = samples::snapshot("web");
        snapshot.state.sandbox.phase = Phase::Booted;
        snapshot
    };
    let told = |released: Option<bool>, supervisor_alive| Facts {
        supervisor_alive,
        inits: [("web".to_owned(), supervisor_alive)].into(),
        released: released.map(|released| [("web".to_owned(), released)].into()),
        ..Facts::default()
    };
    for (facts, phase) in [
        (told(Some(true), true), Phase::Running),
        (told(Some(false), true), Phase::Booted),
        (told(None, false), Phase::Stopped),
    ] {
        let (_dir, root, folder, guard) = sandbox();
        folder.publish(&guard, &booted()).unwrap();
        guard.write_intent(&start).unwrap();
        let (outcome, _) = healed(&root, folder, guard, facts);
        assert_eq!(outcome.unwrap().unwrap().state.sandbox.phase, phase);
    }
    let (_dir, root, folder, guard) = sandbox();
    folder.publish(&guard, &booted()).unwrap();
    guard.write_intent(&start).unwrap();
    let (outcome, done) = healed(&root, folder, guard, told(None, true));
    assert!(matches!(outcome, Err(EngineError::Undecided { .. })));
    assert!(done.is_empty(), "{done:?}");
    let folder = root.find(&samples::id("web")).unwrap().unwrap();
    assert_eq!(folder.intent_unlocked().unwrap(), Some(start));
}

#[test]
fn what_runs_and_was_left_frozen_is_thawed_and_what_is_paused_is_not() {
    for (phase, effects) in [(Phase::Running, &["thaw"][..]), (Phase::Paused, &[])] {
        let (_dir, root, folder, guard) = sandbox();
        let mut snapshot = samples::snapshot("web");
        snapshot.state.sandbox.phase = phase;
        snapshot.state.sandbox.exit = None;
        folder.publish(&guard, &snapshot).unwrap();
        let facts = Facts {
            supervisor_alive: true,
            inits: snapshot.containers.keys().map(|id| (id.clone(), true)).collect(),
            frozen: [("web".to_owned(), true)].into(),
            ..Facts::default()
        };
        let (outcome, done) = healed(&root, folder, guard, facts);
        assert_eq!(outcome.unwrap().unwrap().state.sandbox.phase, phase);
        assert_eq!(done, effects);
    }
}

#[test]
fn who_heals_is_named_by_the_intent_meanwhile() {
    let (_dir, root, folder, guard) = sandbox();
    folder.publish(&guard, &samples::snapshot("web")).unwrap();
    let intent = left_over(Event::ForceDeleteRequested, Phase::Running, Phase::Absent);
    guard.write_intent(&intent).unwrap();
    let broken = Machinery::with_broken(["run-poststop-hooks"]);
    let outcome = heal(folder, guard, Recorder::new(&root), &Shows(Facts::default()), &Mender::of(&broken));
    assert!(matches!(outcome.map(drop), Err(EngineError::Effect(Failed("run-poststop-hooks")))));
    let left = root.find(&samples::id("web")).unwrap().unwrap().intent_unlocked().unwrap().unwrap();
    let (holder, boot) = super::record::ourselves::<Failed>().unwrap();
    assert_eq!(left, Intent { holder, boot, ..intent });
}

#[test]
fn who_has_yet_to_fork_heals_without_opening_the_store() {
    let (_dir, root, folder, guard) = sandbox();
    folder.publish(&guard, &samples::snapshot("web")).unwrap();
    let facts = Shows(Facts::default());
    let recorder = Recorder::pending_only(&root);
    let machinery = Machinery::default();
    let healed = heal(folder, guard, recorder, &facts, &Mender::of(&machinery)).unwrap();
    let mut held = healed.held.expect("it has ended, and is still there");
    assert_eq!(held.snapshot().state.sandbox.phase, Phase::Stopped);
    assert!(held.recorder().take_notices().is_empty(), "that is as it should be");
    assert!(!root.path().join("store/db").exists(), "nobody has opened it");
    let history = Recorder::new(&root).history(None).unwrap();
    assert_eq!(history.len(), 1, "the next opener takes it in");
}

#[test]
fn nobody_is_asked_to_mend_what_is_in_order() {
    let whole = samples::snapshot("web");
    for phase in [Phase::Booted, Phase::Running, Phase::Paused, Phase::Stopped] {
        for intent in [None, Some(left_over(Event::PauseRequested, Phase::Running, Phase::Paused))] {
            let (_dir, root, folder, guard) = sandbox();
            let mut snapshot = whole.clone();
            snapshot.state.sandbox.phase = phase;
            // Whoever was cut short had published its outcome.
            snapshot.state.seq = 99;
            folder.publish(&guard, &snapshot).unwrap();
            if let Some(intent) = &intent {
                guard.write_intent(intent).unwrap();
            }
            let facts = Facts {
                supervisor_alive: true,
                inits: snapshot.containers.keys().map(|id| (id.clone(), true)).collect(),
                ..Facts::default()
            };
            let machinery = Machinery::default();
            let mender = Mender::of(&machinery);
            let healed = heal(folder, guard, Recorder::new(&root), &Shows(facts), &mender).unwrap();
            assert_eq!(healed.held.unwrap().snapshot().state.sandbox.phase, phase);
            assert!(mender.asked.borrow().is_empty(), "{phase}: {:?}", mender.asked);
        }
    }
}

#[test]
fn who_ends_something_is_asked_only_where_something_has_to_end() {
    let (_dir, root, folder, guard) = sandbox();
    let mut snapshot = samples::snapshot("web");
    snapshot.state.sandbox.phase = Phase::Running;
    folder.publish(&guard, &snapshot).unwrap();
    guard.write_intent(&left_over(Event::PauseRequested, Phase::Running, Phase::Paused)).unwrap();
    let facts = Facts {
        supervisor_alive: true,
        inits: snapshot.containers.keys().map(|id| (id.clone(), true)).collect(),
        ..Facts::default()
    };
    let machinery = Machinery::default();
    let mender = Mender::of(&machinery);
    heal(folder, guard, Recorder::new(&root), &Shows(facts), &mender).unwrap();
    assert_eq!(mender.asked.take(), ["changes"]);
    assert_eq!(machinery.done.take(), ["thaw"]);
}

#[test]
fn every_event_that_an_intent_can_name_has_a_verdict() {
    let judged = |event| {
        let intent = left_over(event, Phase::Running, Phase::Running);
        judge(&intent, None, &Facts { supervisor_alive: true, ..Facts::default() })
    };
    let verdicts = Event::ALL.map(judged);
    assert_eq!(
        verdicts,
        [
            Verdict::Abandon,
            Verdict::Abandon,
            Verdict::Undecided,
            Verdict::TakeBack(Change::Thaw),
            Verdict::TakeBack(Change::Freeze),
            Verdict::Forget,
            Verdict::Forget,
            Verdict::Forget,
            Verdict::TakeBack(Change::SetLimitsBack),
            Verdict::Redo,
            Verdict::Redo,
            Verdict::Redo,
            Verdict::Forget,
            Verdict::Forget,
            Verdict::Forget,
        ]
    );
}
