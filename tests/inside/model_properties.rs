//! What must be true of the model as a whole, asked of every state it can reach.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use sandkeep::model::pod::Pod;
use sandkeep::model::record::{Actor, JournalEntry};
use sandkeep::model::table::transitions;
use sandkeep::model::{Event, Id, Machine, Phase};

const ROOT: &str = "web";
const SIDE: &str = "side";
const OTHER: &str = "other";

/// Every state that the root and these further containers can reach, and the rows used on the way.
fn explore(targets: &[&str]) -> (BTreeSet<Pod>, BTreeSet<(Machine, Phase, Event)>) {
    let mut seen = BTreeSet::from([Pod::absent()]);
    let mut rows = BTreeSet::new();
    let mut open = VecDeque::from([Pod::absent()]);
    while let Some(pod) = open.pop_front() {
        for target in targets {
            for event in Event::ALL {
                // Every reachable state × every event: steps or is denied, and a denial says something.
                match pod.step(ROOT, target, event) {
                    Ok((next, row)) => {
                        rows.insert((row.machine, row.from, row.event));
                        if seen.insert(next.clone()) {
                            open.push_back(next);
                        }
                    }
                    Err(denial) => assert!(denial.to_string().contains(denial.id.as_str())),
                }
            }
        }
    }
    (seen, rows)
}

#[test]
fn the_number_of_reachable_states_is_pinned() {
    assert_eq!(explore(&[ROOT]).0.len(), 6);
    // By the phase of the root: absent 1, creating 1, booted 4, running 6, paused 6, stopped 3.
    assert_eq!(explore(&[ROOT, SIDE]).0.len(), 21);
    assert_eq!(explore(&[ROOT, SIDE, OTHER]).0.len(), 1 + 1 + 4 * 4 + 6 * 6 + 6 * 6 + 3 * 3);
}

#[test]
fn every_row_of_the_table_is_reachable() {
    let reached = explore(&[ROOT, SIDE]).1;
    for row in transitions() {
        assert!(reached.contains(&(row.machine, row.from, row.event)), "nothing leads to {row:?}");
    }
}

#[test]
fn every_state_can_reach_deletion() {
    for pod in explore(&[ROOT, SIDE, OTHER]).0 {
        if pod == Pod::absent() {
            continue;
        }
        let (gone, _) =
            pod.step(ROOT, ROOT, Event::ForceDeleteRequested).unwrap_or_else(|why| panic!("{pod:?}: {why}"));
        assert_eq!(gone, Pod::absent());
        for container in pod.containers.keys() {
            let (gone, _) = pod.step(ROOT, container, Event::ForceDeleteRequested).unwrap();
            assert!(!gone.containers.contains_key(container));
        }
    }
}

#[test]
fn every_state_can_reach_deletion_without_force_through_observations_alone() {
    for pod in explore(&[ROOT, SIDE]).0 {
        let observed = [Event::CreatorGone, Event::SupervisorGone]
            .iter()
            .fold(pod.clone(), |pod, event| pod.step(ROOT, ROOT, *event).map_or(pod, |(next, _)| next));
        let end = observed.step(ROOT, ROOT, Event::DeleteRequested).map_or(observed, |(next, _)| next);
        assert_eq!(end, Pod::absent(), "from {pod:?}");
    }
}

#[test]
fn no_container_outlives_its_sandbox() {
    for pod in explore(&[ROOT, SIDE, OTHER]).0 {
        match pod.sandbox {
            Phase::Absent | Phase::Creating => assert!(pod.containers.is_empty(), "{pod:?}"),
            Phase::Stopped => assert!(pod.containers.values().all(|phase| !phase.is_alive()), "{pod:?}"),
            _ => {}
        }
        assert!(!pod.containers.values().any(|phase| *phase == Phase::Absent), "{pod:?}");
    }
}

#[test]
fn an_observation_made_twice_changes_nothing_more() {
    for pod in explore(&[ROOT, SIDE]).0 {
        for target in [ROOT, SIDE] {
            for event in [Event::InitExited, Event::SupervisorGone, Event::SupervisorLost] {
                if let Ok((once, _)) = pod.step(ROOT, target, event) {
                    assert_eq!(once.step(ROOT, target, event).unwrap().0, once);
                }
            }
        }
    }
}

fn entry(target: &str, seq: u64, from: Phase, event: Event, to: Phase) -> JournalEntry {
    JournalEntry {
        sandbox: Id::parse(ROOT).unwrap(),
        incarnation: "0".repeat(32),
        container: Id::parse(target).unwrap(),
        machine: if target == ROOT { Machine::Sandbox } else { Machine::Container },
        seq,
        from,
        event,
        to,
        began: seq as i64,
        ended: seq as i64,
        exit: None,
        by: Actor::Command,
        signal: None,
    }
}

fn target() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![ROOT, ROOT, SIDE, SIDE, OTHER])
}

proptest! {
    #[test]
    fn replay_of_any_prefix_of_the_journal_gives_the_state_of_that_moment(
        asked in prop::collection::vec((target(), prop::sample::select(Event::ALL.to_vec())), 0..120),
    ) {
        let mut pod = Pod::absent();
        let mut journal: Vec<JournalEntry> = Vec::new();
        let mut moments = vec![pod.clone()];
        for (target, event) in asked {
            let before = pod.clone();
            match pod.step(ROOT, target, event) {
                Ok((next, row)) => {
                    prop_assert_eq!(row.from, pod.phase(ROOT, target));
                    prop_assert_eq!(row.to, next.phase(ROOT, target));
                    journal.push(entry(target, journal.len() as u64, row.from, event, row.to));
                    pod = next;
                    moments.push(pod.clone());
                }
                Err(denial) => {
                    prop_assert_eq!(denial.event, event);
                    prop_assert_eq!(&pod, &before);
                }
            }
        }
        for (length, moment) in moments.iter().enumerate() {
            prop_assert_eq!(&Pod::replay(ROOT, &journal[..length]).unwrap(), moment);
        }
    }

    /// A reference written the other way round: each machine alone, by the table, and the rule that ties them.
    #[test]
    fn the_pod_agrees_with_its_machines_taken_alone(
        asked in prop::collection::vec((target(), prop::sample::select(Event::ALL.to_vec())), 0..120),
    ) {
        let mut pod = Pod::absent();
        let mut alone: BTreeMap<&str, Phase> = BTreeMap::new();
        for (target, event) in asked {
            let Ok((next, _)) = pod.step(ROOT, target, event) else { continue };
            pod = next;
            let machine = if target == ROOT { Machine::Sandbox } else { Machine::Container };
            let from = alone.get(target).copied().unwrap_or(Phase::Absent);
            let row = sandkeep::model::step(machine, target, from, event).expect("the pod never allows what the table denies");
            alone.insert(target, row.to);
            if target == ROOT && matches!(row.to, Phase::Stopped | Phase::Absent) {
                for (_, phase) in alone.iter_mut().filter(|(id, _)| **id != ROOT) {
                    *phase = match (row.to, *phase) {
                        (Phase::Absent, _) => Phase::Absent,
                        (_, phase) if phase.is_alive() => Phase::Stopped,
                        (_, phase) => phase,
                    };
                }
            }
            for (id, phase) in &alone {
                prop_assert_eq!(pod.phase(ROOT, id), *phase, "{}", id);
            }
        }
    }
}
