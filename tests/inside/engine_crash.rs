//! The engine dies at every step of every transition, and of the healing after that: what is found then is what was
//! before or what would have been after, and nothing is left behind. On a simulated machine, so that "every" is
//! affordable; `crash.rs` does it to the real binary.

use std::collections::BTreeSet;

use crate::engine_support::machine::Fault;
use crate::engine_support::sequence;
use crate::engine_support::world::{Mishap, Trouble, Went, World};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sandkeep::model::record::PidNamespace;
use sandkeep::model::table::{Transition, transitions};
use sandkeep::model::{Event, Id, Machine, Phase};

const CRASHES: [Fault; 2] = [Fault::CrashBefore, Fault::CrashAfter];

fn id() -> Id {
    Id::parse("web").unwrap()
}

/// The requests of the table that a command can make: healing comes first, so nobody is ever found creating.
fn requests() -> impl Iterator<Item = Transition> {
    transitions()
        .filter(|row| row.machine == Machine::Sandbox && !row.event.is_observation() && row.from != Phase::Creating)
}

/// One of each kind: what keeps the phase has nothing to heal but its intent, and all deletions have the same effects.
fn kinds() -> impl Iterator<Item = Transition> {
    requests().filter(|row| row.from != row.to && (row.to != Phase::Absent || row.from == Phase::Paused))
}

/// Every one of these begins with a sandbox in the row's phase, and ends with nothing left of it.
fn each<T: std::fmt::Debug>(row: &Transition, cases: impl IntoIterator<Item = T>, try_one: impl Fn(&mut World, &T)) {
    let cases: Vec<T> = cases.into_iter().collect();
    for namespace in [PidNamespace::Own, PidNamespace::Foreign] {
        each_in(namespace, row, &cases, &try_one);
    }
}

fn each_in<T: std::fmt::Debug>(
    namespace: PidNamespace,
    row: &Transition,
    cases: &[T],
    try_one: impl Fn(&mut World, &T),
) {
    let mut world = World::new(namespace);
    for (tried, case) in cases.iter().enumerate() {
        if tried % 8 == 7 {
            // Every comparison reads the whole journal.
            world = World::new(namespace);
        }
        eprintln!("{namespace:?}, {} + {}: {case:?}", row.from, row.event);
        bring_to(&mut world, row.from);
        try_one(&mut world, case);
        world.end();
    }
}

fn bring_to(world: &mut World, phase: Phase) {
    let events: &[Event] = match phase {
        Phase::Absent => &[],
        Phase::Creating => unreachable!("nobody is found creating"),
        Phase::Booted | Phase::Stopped => &[Event::CreateRequested],
        Phase::Running => &[Event::CreateRequested, Event::StartRequested],
        Phase::Paused => &[Event::CreateRequested, Event::StartRequested, Event::PauseRequested],
    };
    for event in events {
        assert_eq!(world.ask(&id(), *event, Trouble::None), Went::Well, "{event}");
    }
    if phase == Phase::Stopped {
        world.suffer(&id(), Mishap::InitExits);
        assert_eq!(world.settle(&id(), Trouble::None), Went::Well);
    }
    assert_eq!(world.may_be(&id()), BTreeSet::from([phase]));
}

/// Everything that can go wrong with a request: at each effect that it performs when nothing does, and after the last.
fn troubles_of(row: &Transition, faults: &[Fault]) -> Vec<Trouble> {
    let mut world = World::new(PidNamespace::Own);
    bring_to(&mut world, row.from);
    assert_eq!(world.ask(&id(), row.event, Trouble::None), Went::Well, "{row:?}");
    let at = (0..world.performed()).flat_map(|at| faults.iter().map(move |fault| Trouble::At(at, *fault)));
    let after = match row.to {
        Phase::Absent => [Trouble::Committed, Trouble::Retired],
        _ => [Trouble::Committed, Trouble::Published],
    };
    at.chain(after).collect()
}

#[test]
fn a_transition_that_fails_or_dies_anywhere_is_healed_to_what_was_before_or_after_it() {
    for row in requests() {
        let mut faults = vec![Fault::Refuses, Fault::CrashBefore, Fault::CrashAfter];
        if row.event == Event::UpdateRequested {
            faults.push(Fault::CrashHalfway);
        }
        let troubles = troubles_of(&row, &faults);
        each(&row, troubles, |world, trouble| {
            world.ask(&id(), row.event, *trouble);
        });
    }
}

#[test]
fn an_effect_that_fails_although_it_happened_is_taken_back_or_completed() {
    for row in kinds() {
        let troubles = troubles_of(&row, &[Fault::FailsDone]);
        each(&row, troubles, |world, trouble| {
            world.ask(&id(), row.event, *trouble);
        });
    }
}

#[test]
fn a_healing_that_dies_anywhere_is_healed_by_the_next() {
    for row in kinds() {
        each(&row, troubles_of(&row, &CRASHES), |world, trouble| {
            world.ask(&id(), row.event, *trouble);
            // Each one dies a step later than the last, as far as the others left any to be made.
            for step in 0.. {
                let dies = Trouble::At(step / 2, CRASHES[step % 2]);
                if world.settle(&id(), dies) == Went::Well {
                    break;
                }
            }
        });
    }
}

#[test]
fn what_ends_between_the_crash_and_the_healing_is_seen_too() {
    for row in kinds() {
        let mishaps = [Mishap::InitExits, Mishap::InitExitsUnrecorded, Mishap::SupervisorDies];
        let crashes = troubles_of(&row, &CRASHES);
        let cases = crashes.iter().flat_map(|trouble| mishaps.map(|mishap| (*trouble, mishap)));
        each(&row, cases, |world, (trouble, mishap)| {
            world.ask(&id(), row.event, *trouble);
            world.suffer(&id(), *mishap);
        });
    }
}

#[test]
fn an_end_is_recorded_however_often_its_recorder_dies() {
    for row in requests().filter(|row| row.from.is_alive() && row.event == Event::ForceDeleteRequested) {
        let mishaps = [Mishap::InitExits, Mishap::InitExitsUnrecorded, Mishap::SupervisorDies];
        let cases = mishaps.into_iter().flat_map(|mishap| [0, 1, 2, 3].map(|step| (mishap, step)));
        each(&row, cases, |world, (mishap, step)| {
            world.suffer(&id(), *mishap);
            world.settle(&id(), Trouble::At(step / 2, CRASHES[step % 2]));
            world.suffer(&id(), Mishap::ExitIsRecorded);
        });
    }
}

/// A supervisor that died where it ends nobody is replaced, wherever the one who does so dies or fails.
#[test]
fn a_renewal_that_fails_or_dies_anywhere_is_completed_by_the_next() {
    let alive = requests().filter(|row| matches!(row.from, Phase::Running | Phase::Paused));
    for row in alive.filter(|row| row.event == Event::ForceDeleteRequested) {
        let faults = [Fault::Refuses, Fault::FailsDone, Fault::CrashBefore, Fault::CrashAfter];
        // It is spawned, and once it is on record it is given the init.
        let at = (0..2).flat_map(|at| faults.map(|fault| Trouble::At(at, fault)));
        let troubles: Vec<Trouble> = at.chain([Trouble::Committed, Trouble::Published]).collect();
        each_in(PidNamespace::Foreign, &row, &troubles, |world, trouble| {
            world.suffer(&id(), Mishap::SupervisorDies);
            assert_ne!(world.settle(&id(), *trouble), Went::Well);
            assert_eq!(world.settle(&id(), Trouble::None), Went::Well);
            assert_eq!(world.may_be(&id()), BTreeSet::from([row.from]), "it runs on");
            world.suffer(&id(), Mishap::InitExits);
        });
    }
}

#[test]
fn any_sequence_of_operations_converges() {
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 24, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    runner
        .run(&proptest::collection::vec(proptest::prelude::any::<u8>(), 0..46), |bytes| {
            sequence::run(&bytes);
            Ok(())
        })
        .unwrap();
}
