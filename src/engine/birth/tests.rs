//! Births that go wrong at each step, on a bench that only writes down what it is asked for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::engine::{EngineError, Pace, Recorder};
use crate::model::record::{ContainerRecord, RootIdentity, SandboxRecord, Snapshot};
use crate::model::{Effect, Event, Make, Phase};
use crate::store::schema::samples;

#[derive(Debug, thiserror::Error)]
#[error("{0} failed")]
struct Failed(String);

/// With so many steps behind it.
struct Fake<const STEPS: usize>(Bench);

#[derive(Clone, Default)]
struct Bench {
    /// What was asked for, in order.
    done: Rc<RefCell<Vec<String>>>,
    /// This step fails.
    breaks: Option<Make>,
    /// What is left cannot be taken back.
    stuck: bool,
    /// What the last step learns of the root.
    root: Option<RootIdentity>,
}

struct Rest {
    bench: Bench,
    steps: usize,
}

const STEPS: [Make; 4] = [Make::Cgroups, Make::Supervisor, Make::Init, Make::Adopt];

macro_rules! stages {
    ($($steps:literal to $next:literal),*) => {$(
        impl Stage for Fake<$steps> {
            const STEP: Make = STEPS[$steps];
            type Next = Fake<$next>;
            type Left = Rest;

            fn advance(self) -> Advanced<Fake<$next>, Rest> {
                let Fake(bench) = self;
                bench.done.borrow_mut().push(Self::STEP.name().to_owned());
                match bench.breaks {
                    Some(breaks) if breaks == Self::STEP => {
                        Err((Rest { bench, steps: $next }, Failed(Self::STEP.name().to_owned())))
                    }
                    _ => Ok(Fake(bench)),
                }
            }
        }
    )*};
}

stages!(0 to 1, 1 to 2, 2 to 3, 3 to 4);

impl<const STEPS: usize> From<Fake<STEPS>> for Rest {
    fn from(Fake(bench): Fake<STEPS>) -> Rest {
        Rest { bench, steps: STEPS }
    }
}

fn container() -> ContainerRecord {
    samples::snapshot("web").containers.into_values().next().unwrap()
}

impl OnRecord for Fake<3> {
    fn records(&self) -> (SandboxRecord, ContainerRecord) {
        (samples::snapshot("web").sandbox, container())
    }

    fn pace(&self) -> Pace {
        Pace::Quick
    }
}

impl Born for Fake<4> {
    fn container(&self) -> ContainerRecord {
        ContainerRecord { root: self.0.root, ..container() }
    }
}

impl Left for Rest {
    type Error = Failed;

    fn take_back(self, poststop: Poststop) -> Undone<Failed> {
        self.bench.done.borrow_mut().push(format!("take back {}, {poststop:?}", self.steps));
        let outcome = if self.bench.stuck { Err(Failed("taking back".into())) } else { Ok(()) };
        Undone { outcome, warnings: vec!["a warning".into()] }
    }
}

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open_or_make(dir.path()).unwrap();
    (dir, root)
}

fn born(root: &Root, bench: &Bench) -> Result<Snapshot, Box<Unborn<Failed>>> {
    let (folder, guard) = root.prepare().unwrap();
    let new = NewSandbox { id: samples::id("web"), folder, guard, cgroups: Vec::new() };
    bear(root, new, Fake::<0>(bench.clone())).map(|(held, _)| held.snapshot().clone()).map_err(Box::new)
}

fn steps(count: usize) -> Vec<String> {
    STEPS[..count].iter().map(|step| step.name().to_owned()).collect()
}

#[test]
fn whichever_step_fails_is_taken_back_with_all_before_it_and_nothing_is_left() {
    for (at, breaks) in STEPS.into_iter().enumerate() {
        let (_dir, root) = root();
        let bench = Bench { breaks: Some(breaks), ..Bench::default() };
        let unborn = born(&root, &bench).unwrap_err();
        assert_eq!(unborn.why.to_string(), format!("{breaks} failed"));
        assert_eq!(unborn.warnings, ["a warning"]);
        // What was on record is owed its hooks.
        let poststop = if breaks == STEPS[3] { "Owed" } else { "NotOwed" };
        let expected = [steps(at + 1), vec![format!("take back {}, {poststop}", at + 1)]].concat();
        assert_eq!(*bench.done.borrow(), expected);
        assert!(root.find(&samples::id("web")).unwrap().is_none() && root.leftovers().unwrap().is_empty());
        assert_eq!(Recorder::new(&root).history(None).unwrap(), []);
    }
}

#[test]
fn what_cannot_be_taken_back_keeps_what_recovery_needs_and_both_failures_are_told() {
    let (_dir, root) = root();
    let bench = Bench { breaks: Some(STEPS[3]), stuck: true, ..Bench::default() };
    let text = crate::sys::told::on_one_line(&born(&root, &bench).unwrap_err().why);
    assert!(text.starts_with("adopt-init failed; ") && text.ends_with(": taking back failed"), "{text}");
    let folder = root.find(&samples::id("web")).unwrap().expect("the folder is kept");
    assert_eq!(folder.intent_unlocked().unwrap().expect("the intent is kept").event, Event::LaunchRequested);
    assert_eq!(folder.read_snapshot().unwrap().expect("it was on record").state.sandbox.phase, Phase::Creating);
    folder.lock(Duration::ZERO).expect("the lock is free");
}

#[test]
fn one_that_is_born_is_on_record_with_what_was_learned_last() {
    let (_dir, root) = root();
    let learned = RootIdentity { mount_id: 1, device: 2, inode: 3 };
    let bench = Bench { root: Some(learned), ..Bench::default() };
    let snapshot = born(&root, &bench).map_err(|unborn| unborn.why).unwrap();
    assert_eq!(*bench.done.borrow(), steps(4));
    assert_eq!(snapshot.containers["web"].root, Some(learned));
    assert_eq!((snapshot.state.seq, snapshot.state.sandbox.phase), (2, Phase::Booted));
    let folder = root.find(&samples::id("web")).unwrap().unwrap();
    assert_eq!(folder.read_snapshot().unwrap(), Some(snapshot));
    assert_eq!(folder.intent_unlocked().unwrap(), None);
    let history = Recorder::new(&root).history(None).unwrap();
    let entries: Vec<_> = history.iter().map(|entry| (entry.seq, entry.event)).collect();
    assert_eq!(entries, [(1, Event::CreateRequested), (2, Event::LaunchRequested)]);
}

#[test]
fn for_an_id_that_somebody_has_nothing_is_made() {
    let (_dir, root) = root();
    let _first = root.prepare().unwrap().0.claim(&samples::id("web")).unwrap();
    let bench = Bench::default();
    let unborn = born(&root, &bench).unwrap_err();
    assert!(matches!(unborn.why, EngineError::Denied(_)), "{}", unborn.why);
    assert_eq!(*bench.done.borrow(), Vec::<String>::new());
}
