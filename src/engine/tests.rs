//! What the engine does when things go wrong, with a machine that fails on demand.

use std::time::Duration;

use super::heal::{Healed, Wreck, heal};
use super::*;
use crate::model::record::{Intent, Snapshot};
use crate::model::{Event, Machine, Phase};
use crate::store::schema::samples;
use crate::store::{Commit, Folder, Guard, Root};

const LONG: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
#[error("{0} failed")]
struct Failed(Effect);

/// Writes down what it is asked for.
#[derive(Default)]
struct Machinery {
    done: Vec<Effect>,
    /// These fail.
    broken: Vec<Effect>,
}

impl Effects for Machinery {
    type Error = Failed;

    fn perform(&mut self, effect: Effect) -> Result<(), Failed> {
        self.done.push(effect);
        if self.broken.contains(&effect) { Err(Failed(effect)) } else { Ok(()) }
    }

    fn records(&self) -> Option<(SandboxRecord, ContainerRecord)> {
        let Snapshot { sandbox, containers, .. } = samples::snapshot("web");
        Some((sandbox, containers.into_values().next()?))
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
) -> (Result<Option<Snapshot>, EngineError<Failed>>, Vec<Effect>) {
    let done = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    struct Shared(std::rc::Rc<std::cell::RefCell<Vec<Effect>>>);
    impl Effects for Shared {
        type Error = Failed;
        fn perform(&mut self, effect: Effect) -> Result<(), Failed> {
            self.0.borrow_mut().push(effect);
            Ok(())
        }
    }
    let outcome = heal(folder, guard, Recorder::new(root), &Shows(facts), |_: &Wreck<'_>| Shared(done.clone()))
        .map(|Healed { held, .. }| held.map(|held| held.snapshot().clone()));
    (outcome, done.take())
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
        assert_eq!(done, []);
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
    assert_eq!(done, [Effect::KillSandbox, Effect::RemoveCgroups, Effect::RunPoststopHooks]);
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
    assert_eq!(done, []);
}

#[test]
fn what_undo_cannot_do_it_says_and_it_tries_all_of_it() {
    use super::transition::{Undone, undo};
    let mut machine = Machinery { broken: vec![Effect::Thaw], ..Machinery::default() };
    let failure = undo(&[Effect::MakeCgroups, Effect::Freeze], &mut machine).unwrap_err();
    assert_eq!(failure.0, Effect::Thaw);
    assert_eq!(machine.done, [Effect::Thaw, Effect::RemoveCgroups]);
    assert_eq!(undo(&[Effect::MakeCgroups], &mut machine).unwrap(), Undone::Completely);
    assert_eq!(undo(&[Effect::ReleaseInit], &mut machine).unwrap(), Undone::Irreversible);
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
    assert_eq!(done, []);
    let folder = root.find(&samples::id("web")).unwrap().unwrap();
    assert_eq!(folder.intent_unlocked().unwrap(), Some(start));
}

#[test]
fn what_runs_and_was_left_frozen_is_thawed_and_what_is_paused_is_not() {
    for (phase, effects) in [(Phase::Running, &[Effect::Thaw][..]), (Phase::Paused, &[])] {
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
    let broken = || Machinery { broken: vec![Effect::RunPoststopHooks], ..Machinery::default() };
    let outcome = heal(folder, guard, Recorder::new(&root), &Shows(Facts::default()), |_: &Wreck<'_>| broken());
    assert!(matches!(outcome.map(drop), Err(EngineError::Effect(Failed(Effect::RunPoststopHooks)))));
    let left = root.find(&samples::id("web")).unwrap().unwrap().intent_unlocked().unwrap().unwrap();
    let (holder, boot) = ourselves::<Failed>().unwrap();
    assert_eq!(left, Intent { holder, boot, ..intent });
}

#[test]
fn who_has_yet_to_fork_heals_without_opening_the_store() {
    let (_dir, root, folder, guard) = sandbox();
    folder.publish(&guard, &samples::snapshot("web")).unwrap();
    let facts = Shows(Facts::default());
    let recorder = Recorder::pending_only(&root);
    let healed = heal(folder, guard, recorder, &facts, |_: &Wreck<'_>| Machinery::default()).unwrap();
    let mut held = healed.held.expect("it has ended, and is still there");
    assert_eq!(held.snapshot().state.sandbox.phase, Phase::Stopped);
    assert!(held.recorder().take_notices().is_empty(), "that is as it should be");
    assert!(!root.path().join("store/db").exists(), "nobody has opened it");
    let history = Recorder::new(&root).history(None).unwrap();
    assert_eq!(history.len(), 1, "the next opener takes it in");
}
