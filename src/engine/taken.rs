//! What stands in the way of somebody new: a sandbox that has the id, or that lives in the same cgroup. Pure.

use crate::model::record::{Intent, PidNamespace, Snapshot};
use crate::model::{Event, Phase};

use super::Facts;

/// Of a sandbox whose id is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTheWay {
    /// The id is its own.
    Stays,
    /// Its deletion is under way, or its creation or deletion was cut short: it is waited for, and healed away.
    Leaves,
}

/// Whatever else may have been cut short needs the store to be judged.
pub fn in_the_way(phase: Phase, intent: Option<&Intent>) -> InTheWay {
    let leaves = match intent.map(|intent| intent.event) {
        Some(Event::CreateRequested | Event::LaunchRequested) => phase == Phase::Stopped,
        Some(Event::DeleteRequested | Event::ForceDeleteRequested) => true,
        Some(
            Event::CreatorGone
            | Event::StartRequested
            | Event::PauseRequested
            | Event::ResumeRequested
            | Event::UpdateRequested
            | Event::SignalRequested
            | Event::ExecRequested
            | Event::ExecWhilePausedRequested
            | Event::InitExited
            | Event::SupervisorGone
            | Event::SupervisorLost,
        )
        | None => phase == Phase::Creating,
    };
    if leaves { InTheWay::Leaves } else { InTheWay::Stays }
}

/// Whose processes can be in the cgroup of a sandbox that has ended?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Whatever is in there is the sandbox's own.
    Ours,
    /// The cgroup's name is somebody else's by now.
    Strangers,
}

/// `boot_id`: of the machine now. `others`: all sandboxes, looked at only if they matter.
pub fn leftovers<E>(
    ours: &Snapshot,
    facts: &Facts,
    boot_id: &str,
    others: impl FnOnce() -> Result<Vec<Snapshot>, E>,
) -> Result<Leftovers, E> {
    if facts.supervisor_alive {
        return Ok(Leftovers::Ours);
    }
    // In a PID namespace of its own nothing outlives the supervisor, and nowhere does anything outlive the machine.
    let sandbox = &ours.sandbox;
    let outlives = sandbox.pid_namespace == PidNamespace::Foreign && boot_id == sandbox.boot.boot_id;
    if !outlives || others()?.iter().any(|other| has_taken_over(other, ours)) {
        return Ok(Leftovers::Strangers);
    }
    Ok(Leftovers::Ours)
}

/// Whether another sandbox that has not ended is in the same cgroup: a name is free once nothing is left in it.
fn has_taken_over(other: &Snapshot, ours: &Snapshot) -> bool {
    fn folders(snapshot: &Snapshot) -> impl Iterator<Item = &std::path::PathBuf> {
        snapshot.containers.values().flat_map(|container| &container.cgroup.folders)
    }
    other.sandbox.incarnation != ours.sandbox.incarnation
        && other.state.sandbox.phase.is_alive()
        && folders(other).any(|theirs| folders(ours).any(|folder| folder == theirs))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::store::schema::samples;

    #[test]
    fn an_id_is_left_by_what_is_being_deleted_and_by_what_never_came_to_be() {
        let intent = |event| Intent { event, ..samples::intent("web") };
        for (phase, event, expected) in [
            (Phase::Running, None, InTheWay::Stays),
            (Phase::Stopped, None, InTheWay::Stays),
            (Phase::Creating, None, InTheWay::Leaves),
            (Phase::Creating, Some(Event::LaunchRequested), InTheWay::Stays),
            (Phase::Stopped, Some(Event::LaunchRequested), InTheWay::Leaves),
            (Phase::Stopped, Some(Event::DeleteRequested), InTheWay::Leaves),
            (Phase::Running, Some(Event::ForceDeleteRequested), InTheWay::Leaves),
            (Phase::Running, Some(Event::PauseRequested), InTheWay::Stays),
        ] {
            assert_eq!(in_the_way(phase, event.map(intent).as_ref()), expected, "{phase:?}, {event:?}");
        }
    }

    /// One that has ended, in a foreign PID namespace.
    fn ended() -> Snapshot {
        let mut snapshot = samples::snapshot("web");
        snapshot.sandbox.pid_namespace = PidNamespace::Foreign;
        snapshot.state.sandbox.phase = Phase::Stopped;
        snapshot
    }

    fn whose(ours: &Snapshot, facts: &Facts, boot_id: &str, others: Vec<Snapshot>) -> Leftovers {
        leftovers(ours, facts, boot_id, || Ok::<_, Infallible>(others)).unwrap()
    }

    #[test]
    fn what_is_left_in_a_cgroup_is_ours_unless_it_cannot_be_or_another_is_in_it() {
        let (ours, dead) = (ended(), Facts::default());
        let boot = ours.sandbox.boot.boot_id.clone();
        assert_eq!(whose(&ours, &dead, &boot, vec![ours.clone()]), Leftovers::Ours);
        assert_eq!(whose(&ours, &dead, "another boot", Vec::new()), Leftovers::Strangers);
        let mut own = ours.clone();
        own.sandbox.pid_namespace = PidNamespace::Own;
        assert_eq!(whose(&own, &dead, &boot, Vec::new()), Leftovers::Strangers);
        let alive = Facts { supervisor_alive: true, ..Facts::default() };
        assert_eq!(whose(&own, &alive, &boot, Vec::new()), Leftovers::Ours);
        let mut other = ours.clone();
        other.sandbox.incarnation = "0".repeat(32);
        assert_eq!(whose(&ours, &dead, &boot, vec![other.clone()]), Leftovers::Ours, "it has ended, too");
        other.state.sandbox.phase = Phase::Running;
        assert_eq!(whose(&ours, &dead, &boot, vec![other]), Leftovers::Strangers);
    }
}
