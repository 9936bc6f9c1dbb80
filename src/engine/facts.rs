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
    /// As that very process, by its start time and the boot.
    pub supervisor_alive: bool,
    /// Whether each container's init is alive.
    pub inits: BTreeMap<String, bool>,
    /// What the supervisor wrote down.
    pub exits: Vec<ExitRecord>,
    /// To which containers the supervisor has sent the start message; None when it was not asked or did not answer. Of a
    /// dead one in a foreign PID namespace: which of its inits have not ended with it, as those that wait for the message
    /// do.
    pub released: Option<BTreeMap<String, bool>>,
    /// Whether each container is frozen as a whole, of those that could be looked at.
    pub frozen: BTreeMap<String, bool>,
    /// The seq of the transition that last changed each container's limits, if one ever did so completely.
    pub limited: BTreeMap<String, u64>,
}

impl Facts {
    /// One that was not looked at counts as dead.
    pub fn init_alive(&self, container: &str) -> bool {
        self.inits.get(container).copied().unwrap_or(false)
    }

    /// How it ended, as the supervisor wrote it down.
    pub fn exit_of(&self, container: &str) -> Option<Exit> {
        self.exits.iter().rev().find(|record| record.container == container).map(|record| record.exit)
    }
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
    /// Never fails: what could not be looked at is missing in the answer.
    fn facts(&self, folder: &Folder, snapshot: &Snapshot, depth: Depth) -> Facts;
}

/// The pod that a snapshot describes.
pub fn pod_of(snapshot: &Snapshot) -> Pod {
    let phases = snapshot.state.containers.iter().map(|(id, state)| (id.clone(), state.phase));
    Pod { sandbox: snapshot.state.sandbox.phase, containers: phases.collect() }
}

/// Whether the root container runs and nobody keeps it: in a foreign PID namespace the kernel ends nobody with a
/// supervisor. One that has not been started ends by itself: only its supervisor could have started it.
pub fn is_orphaned(snapshot: &Snapshot, facts: &Facts) -> bool {
    snapshot.sandbox.pid_namespace == PidNamespace::Foreign
        && !facts.supervisor_alive
        && snapshot.state.sandbox.phase.has_application()
        && facts.init_alive(snapshot.sandbox.id.as_str())
        && facts.exit_of(snapshot.sandbox.id.as_str()).is_none()
}

/// The ends that the facts show and the snapshot does not know yet, in the order in which they are to be recorded:
/// (container, event, how it ended). Pure; `at` is now, for ends that nobody wrote down.
///
/// In a PID namespace of its own the end of the supervisor is the end of everything, also of what the kernel has not got
/// round to (it may be frozen): the effects of recording it make it true first. Elsewhere what lives runs on.
pub fn unrecorded_ends(snapshot: &Snapshot, facts: &Facts, at: Nanos) -> Vec<(String, Event, Option<Exit>)> {
    let root = snapshot.sandbox.id.as_str();
    let mut ends = Vec::new();
    for (id, state) in states(snapshot) {
        if !state.phase.is_alive() {
            continue;
        }
        match (facts.exit_of(id), snapshot.sandbox.pid_namespace) {
            (Some(exit), namespace) => {
                ends.push((id.to_owned(), Event::InitExited, Some(exit)));
                if id == root && !facts.supervisor_alive && namespace == PidNamespace::Foreign {
                    // Not pid 1 of what it kept: the kernel has ended nobody else with it.
                    ends.push((id.to_owned(), Event::SupervisorGone, None));
                }
            }
            // The kernel kills everything with the supervisor, and nobody was left to write the status down.
            (None, PidNamespace::Own) if !facts.supervisor_alive => {
                ends.push((id.to_owned(), Event::SupervisorGone, Some(inferred(at))));
            }
            (None, _) if facts.init_alive(id) => {}
            (None, PidNamespace::Foreign) if !facts.supervisor_alive => {
                ends.push((id.to_owned(), Event::SupervisorGone, Some(unseen(at))));
            }
            // The supervisor will know the status in a moment, or once the caller has reaped.
            (None, _) => ends.push((id.to_owned(), Event::InitExited, None)),
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

/// Of what ran on after its supervisor had died: nobody saw how it ended.
fn unseen(at: Nanos) -> Exit {
    Exit { code: 255, signal: None, at, inferred: true }
}

/// The snapshot as it reads once the unrecorded ends are taken in: what `state` tells, without writing anything. What
/// still lives is not told dead, however soon that will be.
pub fn observe(snapshot: &Snapshot, facts: &Facts, at: Nanos) -> Snapshot {
    let mut seen = snapshot.clone();
    for (id, event, exit) in unrecorded_ends(snapshot, facts, at) {
        if facts.exit_of(&id).is_none() && facts.init_alive(&id) {
            continue;
        }
        apply(&mut seen, &id, event, exit, exit.map_or(at, |exit| exit.at));
    }
    fill_in_exits(&mut seen, facts);
    seen
}

/// An end that was recorded before its status was known.
fn fill_in_exits(seen: &mut Snapshot, facts: &Facts) {
    let (root, namespace) = (seen.sandbox.id.to_string(), seen.sandbox.pid_namespace);
    let states = std::iter::once((&root, &mut seen.state.sandbox)).chain(seen.state.containers.iter_mut());
    for (id, state) in states {
        if state.phase == Phase::Stopped && state.exit.is_none() {
            // Without a supervisor nobody will write it down any more.
            state.exit = facts.exit_of(id).or((!facts.supervisor_alive).then(|| nobody_saw(namespace, state.since)));
        }
    }
}

/// Of an end that its supervisor did not live to see.
pub fn nobody_saw(namespace: PidNamespace, at: Nanos) -> Exit {
    match namespace {
        PidNamespace::Own => inferred(at),
        PidNamespace::Foreign => unseen(at),
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
