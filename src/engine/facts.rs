//! What is true of a sandbox right now, and what a snapshot means in its light. Pure but for the trait.

use std::collections::BTreeMap;

use crate::model::exits::ExitRecord;
use crate::model::pod::Pod;
use crate::model::record::{ContainerState, Exit, Nanos, PidNamespace, Snapshot};
use crate::model::{Event, Phase};
use crate::store::Folder;

/// What probing the machine shows. Ids are those of containers; the root container's is the sandbox's.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub supervisor_alive: bool,
    /// Whether each container's init is alive.
    pub inits: BTreeMap<String, bool>,
    /// What the supervisor wrote down.
    pub exits: Vec<ExitRecord>,
    /// To which containers the supervisor has sent the start message; None when it was not asked or did not answer.
    pub released: Option<BTreeMap<String, bool>>,
    /// Whether each container is frozen as a whole.
    pub frozen: BTreeMap<String, bool>,
    /// The seq of the transition that last changed each container's limits, if one ever did so completely.
    pub limited: BTreeMap<String, u64>,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Who is alive, and what was written down: enough for every reader.
    Shallow,
    /// Also whether the cgroups are frozen.
    Cgroups,
    /// Also what the supervisor says and which limits hold: what a left-over intent needs.
    Deep,
}

/// Looks at the machine.
pub trait Probe {
    fn facts(&self, folder: &Folder, snapshot: &Snapshot, depth: Depth) -> Facts;
}

/// The pod that a snapshot describes.
pub fn pod_of(snapshot: &Snapshot) -> Pod {
    let phases = snapshot.state.containers.iter().map(|(id, state)| (id.clone(), state.phase));
    Pod { sandbox: snapshot.state.sandbox.phase, containers: phases.collect() }
}

/// The ends that the facts show and the snapshot does not know yet, in the order in which they are to be recorded:
/// (container, event, how it ended). Pure; `at` is now, for ends that nobody wrote down.
pub fn unrecorded_ends(snapshot: &Snapshot, facts: &Facts, at: Nanos) -> Vec<(String, Event, Option<Exit>)> {
    let root = snapshot.sandbox.id.as_str();
    let mut ends = Vec::new();
    for (id, state) in states(snapshot) {
        if !state.phase.is_alive() {
            continue;
        }
        let recorded = facts.exits.iter().rev().find(|record| record.container == id).map(|record| record.exit);
        let init_alive = facts.inits.get(id).copied().unwrap_or(false);
        if let Some(exit) = recorded {
            ends.push((id.to_owned(), Event::InitExited, Some(exit)));
            if id == root && !facts.supervisor_alive && snapshot.sandbox.pid_namespace == PidNamespace::Foreign {
                // Not pid 1 of what it kept: the kernel has ended nobody else with it.
                ends.push((id.to_owned(), Event::SupervisorGone, None));
            }
        } else if !facts.supervisor_alive {
            // The kernel killed everything with the supervisor, and nobody was left to write the status down.
            ends.push((id.to_owned(), Event::SupervisorGone, Some(inferred(at))));
        } else if !init_alive {
            // The supervisor will know the status in a moment, or once the caller has reaped.
            ends.push((id.to_owned(), Event::InitExited, None));
        }
    }
    // The root's end takes the others along: record theirs first.
    ends.sort_by_key(|(id, ..)| id == root);
    ends
}

/// SIGKILL, assumed.
pub fn inferred(at: Nanos) -> Exit {
    Exit { code: 137, signal: Some(9), at, inferred: true }
}

/// The snapshot as it reads once the unrecorded ends are taken in: what `state` tells, without writing anything.
pub fn observe(snapshot: &Snapshot, facts: &Facts, at: Nanos) -> Snapshot {
    let mut seen = snapshot.clone();
    for (id, event, exit) in unrecorded_ends(snapshot, facts, at) {
        apply(&mut seen, &id, event, exit, exit.map_or(at, |exit| exit.at));
    }
    fill_in_exits(&mut seen, facts);
    seen
}

/// An end that was recorded before its status was known.
fn fill_in_exits(seen: &mut Snapshot, facts: &Facts) {
    let root = seen.sandbox.id.to_string();
    let states = std::iter::once((&root, &mut seen.state.sandbox)).chain(seen.state.containers.iter_mut());
    for (id, state) in states {
        if state.phase == Phase::Stopped && state.exit.is_none() {
            let recorded = facts.exits.iter().rev().find(|record| record.container == *id).map(|record| record.exit);
            // Without a supervisor nobody will write it down any more.
            state.exit = recorded.or((!facts.supervisor_alive).then(|| inferred(state.since)));
        }
    }
}

/// Takes one legal event into a snapshot; an illegal one changes nothing and is false.
pub fn apply(snapshot: &mut Snapshot, target: &str, event: Event, exit: Option<Exit>, at: Nanos) -> bool {
    let root = snapshot.sandbox.id.as_str().to_owned();
    let Ok((pod, _)) = pod_of(snapshot).step(&root, target, event) else { return false };
    adopt(snapshot, &pod, target, exit, at);
    true
}

/// Makes a snapshot's state that of `pod`, keeping times and exits of what did not change.
pub fn adopt(snapshot: &mut Snapshot, pod: &Pod, target: &str, exit: Option<Exit>, at: Nanos) {
    let root = snapshot.sandbox.id.as_str().to_owned();
    let change = |state: &mut ContainerState, phase: Phase, mine: bool| {
        if state.phase != phase {
            state.since = at;
        }
        let ended = phase == Phase::Stopped && state.exit.is_none();
        if ended && mine {
            state.exit = exit;
        } else if ended && state.phase != Phase::Stopped {
            state.exit = Some(inferred(at));
        }
        state.phase = phase;
    };
    change(&mut snapshot.state.sandbox, pod.sandbox, target == root);
    snapshot.state.containers.retain(|id, _| pod.containers.contains_key(id));
    snapshot.containers.retain(|id, _| *id == root || pod.containers.contains_key(id));
    for (id, phase) in &pod.containers {
        let fresh = ContainerState { phase: *phase, since: at, exit: None };
        change(snapshot.state.containers.entry(id.clone()).or_insert(fresh), *phase, target == id);
    }
}

fn states(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &ContainerState)> {
    let root = std::iter::once((snapshot.sandbox.id.as_str(), &snapshot.state.sandbox));
    root.chain(snapshot.state.containers.iter().map(|(id, state)| (id.as_str(), state)))
}
