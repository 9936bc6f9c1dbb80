//! A sandbox with its further containers: two machines of the table, and what each demands of the other.
//!
//! The phase of the sandbox is the phase of its root container. What the sandbox's phase allows its further
//! containers, beyond what the table says of them:
//!
//! | the sandbox is | its containers may |
//! |---|---|
//! | absent, creating | nothing: there are none yet |
//! | created (`Booted`) | be created and launched, and whatever ends them |
//! | running | everything |
//! | paused | whatever ends them; have their limits changed; `exec --ignore-paused` |
//! | stopped | be deleted |
//!
//! *Whatever ends them* (a signal, delete, and every observation) is never refused for the sandbox's sake.
//! The end of the sandbox is the end of every process in it, and its deletion takes all its containers away.

use std::collections::BTreeMap;

use super::record::JournalEntry;
use super::table::{Denial, Transition};
use super::{Event, Machine, Phase, table};

/// A sandbox and its further containers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pod {
    /// And of its root container, which lives and dies with it.
    pub sandbox: Phase,
    /// The further containers, by id. One that is absent has no entry.
    pub containers: BTreeMap<String, Phase>,
}

impl Pod {
    /// Before the sandbox is created, and after it is deleted.
    pub fn absent() -> Pod {
        Pod { sandbox: Phase::Absent, containers: BTreeMap::new() }
    }

    /// May `event` happen to `target`, and what is the pod then? `root` is the id of the sandbox; any other target is
    /// one of its further containers.
    pub fn step(&self, root: &str, target: &str, event: Event) -> Result<(Pod, Transition), Denial> {
        if target == root {
            let row = table::step(Machine::Sandbox, root, self.sandbox, event)?;
            return Ok((self.with_sandbox(&row), row));
        }
        let from = self.phase(root, target);
        let row = table::step(Machine::Container, target, from, event)?;
        if !sandbox_allows(self.sandbox, event) {
            let sandbox = Some((root.to_owned(), self.sandbox));
            return Err(Denial { machine: Machine::Container, id: target.to_owned(), from, event, sandbox });
        }
        let mut next = self.clone();
        match row.to {
            Phase::Absent => next.containers.remove(target),
            to => next.containers.insert(target.to_owned(), to),
        };
        Ok((next, row))
    }

    /// The phase that the machine of `target` is in.
    pub fn phase(&self, root: &str, target: &str) -> Phase {
        if target == root { self.sandbox } else { self.containers.get(target).copied().unwrap_or(Phase::Absent) }
    }

    /// The phase that an onlooker sees: in a paused sandbox a running container is frozen like everything else. It
    /// keeps its own phase meanwhile, so that resuming the sandbox does not wake one that was paused by itself.
    pub fn visible_phase(&self, root: &str, target: &str) -> Phase {
        match self.phase(root, target) {
            Phase::Running if self.sandbox == Phase::Paused => Phase::Paused,
            own => own,
        }
    }

    /// The pod after these transitions, from before its creation. Fails at the first that is not legal.
    pub fn replay<'a>(root: &str, entries: impl IntoIterator<Item = &'a JournalEntry>) -> Result<Pod, Denial> {
        let mut pod = Pod::absent();
        for entry in entries {
            pod = pod.step(root, entry.container.as_str(), entry.event)?.0;
        }
        Ok(pod)
    }

    fn with_sandbox(&self, row: &Transition) -> Pod {
        let mut next = Pod { sandbox: row.to, containers: self.containers.clone() };
        match row.to {
            Phase::Absent => next.containers.clear(),
            Phase::Stopped => {
                for phase in next.containers.values_mut().filter(|phase| phase.is_alive()) {
                    *phase = Phase::Stopped;
                }
            }
            Phase::Creating | Phase::Booted | Phase::Running | Phase::Paused => {}
        }
        next
    }
}

/// Whether a sandbox in this phase lets `event` happen to one of its further containers.
fn sandbox_allows(sandbox: Phase, event: Event) -> bool {
    let is_there = sandbox.is_alive() || sandbox == Phase::Stopped;
    match event {
        Event::CreateRequested | Event::LaunchRequested => sandbox == Phase::Booted || sandbox == Phase::Running,
        Event::StartRequested | Event::PauseRequested | Event::ResumeRequested | Event::ExecRequested => {
            sandbox == Phase::Running
        }
        Event::ExecWhilePausedRequested | Event::UpdateRequested => {
            sandbox == Phase::Running || sandbox == Phase::Paused
        }
        Event::SignalRequested
        | Event::DeleteRequested
        | Event::ForceDeleteRequested
        | Event::CreatorGone
        | Event::InitExited
        | Event::SupervisorGone
        | Event::SupervisorLost => is_there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(sandbox: Phase, container: Phase) -> Pod {
        Pod { sandbox, containers: BTreeMap::from([("side".to_owned(), container)]) }
    }

    #[test]
    fn nothing_starts_in_a_paused_sandbox_and_the_refusal_says_why() {
        let denial = pod(Phase::Paused, Phase::Booted).step("web", "side", Event::StartRequested).unwrap_err();
        assert_eq!(denial.to_string(), "cannot start container \"side\": its sandbox \"web\" is paused");
    }

    #[test]
    fn a_container_can_be_killed_and_deleted_whatever_its_sandbox_does() {
        for sandbox in [Phase::Booted, Phase::Running, Phase::Paused, Phase::Stopped] {
            let pod = pod(sandbox, Phase::Stopped);
            assert!(pod.step("web", "side", Event::DeleteRequested).unwrap().0.containers.is_empty());
        }
        for sandbox in [Phase::Booted, Phase::Running, Phase::Paused] {
            pod(sandbox, Phase::Running).step("web", "side", Event::SignalRequested).unwrap();
        }
    }

    #[test]
    fn the_end_of_the_sandbox_is_the_end_of_every_container_in_it() {
        for event in [Event::InitExited, Event::SupervisorGone] {
            let (next, _) = pod(Phase::Running, Phase::Paused).step("web", "web", event).unwrap();
            assert_eq!(next, pod(Phase::Stopped, Phase::Stopped));
        }
    }

    #[test]
    fn deleting_the_sandbox_takes_its_containers_away() {
        let (next, _) = pod(Phase::Running, Phase::Running).step("web", "web", Event::ForceDeleteRequested).unwrap();
        assert_eq!(next, Pod::absent());
    }

    #[test]
    fn a_paused_sandbox_shows_its_running_containers_as_paused_and_wakes_none_that_was_paused_by_itself() {
        let paused = pod(Phase::Paused, Phase::Running);
        assert_eq!(paused.visible_phase("web", "side"), Phase::Paused);
        let (resumed, _) = pod(Phase::Paused, Phase::Paused).step("web", "web", Event::ResumeRequested).unwrap();
        assert_eq!(resumed.phase("web", "side"), Phase::Paused);
    }

    #[test]
    fn a_container_cannot_be_created_in_a_sandbox_that_is_not_there() {
        let denial = Pod::absent().step("web", "side", Event::CreateRequested).unwrap_err();
        assert_eq!(denial.to_string(), "cannot create container \"side\": its sandbox \"web\" does not exist");
        assert_eq!(
            Pod::absent().step("web", "side", Event::StartRequested).unwrap_err().to_string(),
            "container \"side\" does not exist"
        );
    }
}
