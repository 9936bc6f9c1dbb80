//! The one statement of what is legal: every transition of a sandbox and of a container, and what each one does.

use super::{Effect, Event, Machine, Phase};

/// One legal transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub machine: Machine,
    pub from: Phase,
    pub event: Event,
    pub to: Phase,
    /// In order. A failure takes back those already done, last first.
    pub effects: &'static [Effect],
}

/// A request or observation that the table has no row for. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    pub machine: Machine,
    pub id: String,
    pub from: Phase,
    pub event: Event,
    /// The sandbox in whose phase a container's own event is not legal. None: the container itself stands in the way.
    pub sandbox: Option<(String, Phase)>,
}

macro_rules! rows {
    ($($machine:ident: $from:ident + $event:ident => $to:ident [$($effect:ident),*];)*) => {
        &[$(Transition {
            machine: Machine::$machine,
            from: Phase::$from,
            event: Event::$event,
            to: Phase::$to,
            effects: &[$(Effect::$effect),*],
        }),*]
    };
}

impl std::fmt::Display for Denial {
    /// Callers steer by some of these words: containerd's shim looks for "does not exist" and "container not running".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Denial { id, from, event, sandbox, .. } = self;
        let verb = event.verb();
        if let Some((sandbox, phase)) = sandbox {
            return match phase {
                Phase::Absent => write!(f, "cannot {verb} container {id:?}: its sandbox {sandbox:?} does not exist"),
                _ => write!(f, "cannot {verb} container {id:?}: its sandbox {sandbox:?} is {}", phase.oci_status()),
            };
        }
        match (from, event) {
            (Phase::Absent, _) => write!(f, "container {id:?} does not exist"),
            (_, Event::CreateRequested) => write!(
                f,
                "cannot create container {id:?}: the id already exists (its container is {})",
                from.oci_status()
            ),
            (Phase::Stopped, Event::SignalRequested) => {
                write!(f, "cannot signal container {id:?}: container not running (it is stopped)")
            }
            (_, Event::DeleteRequested) => write!(
                f,
                "cannot delete container {id:?}: it is {}, not stopped; stop it first, or use delete --force",
                from.oci_status()
            ),
            (Phase::Paused, Event::ExecRequested) => {
                // runc's words first, which its callers look for.
                write!(f, "cannot exec in a paused container: {id:?}; resume it first, or use --ignore-paused")
            }
            (Phase::Stopped, Event::ExecRequested | Event::ExecWhilePausedRequested) => {
                write!(f, "cannot exec in a stopped container: {id:?}")
            }
            _ => write!(f, "cannot {verb} container {id:?}: it is {}", from.oci_status()),
        }
    }
}

/// All there is. What is not here is denied.
pub static TABLE: &[Transition] = rows! {
    Sandbox: Absent   + CreateRequested => Creating [ClaimId];
    Sandbox: Creating + LaunchRequested => Booted   [MakeCgroups, SpawnSupervisor, LaunchInit, AdoptInit];
    Sandbox: Creating + CreatorGone     => Absent   [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Creating + ForceDeleteRequested => Absent [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];

    Sandbox: Booted + StartRequested           => Running [ReleaseInit];
    Sandbox: Booted + SignalRequested          => Booted  [SendSignal];
    Sandbox: Booted + ExecRequested            => Booted  [LaunchExec];
    Sandbox: Booted + ExecWhilePausedRequested => Booted  [LaunchExec];
    Sandbox: Booted + UpdateRequested          => Booted  [ApplyLimits];
    Sandbox: Booted + DeleteRequested          => Absent  [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Booted + ForceDeleteRequested     => Absent  [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Booted + InitExited               => Stopped [];
    Sandbox: Booted + SupervisorGone           => Stopped [KillContainer];

    Sandbox: Running + PauseRequested           => Paused  [Freeze];
    Sandbox: Running + SignalRequested          => Running [SendSignal];
    Sandbox: Running + ExecRequested            => Running [LaunchExec];
    Sandbox: Running + ExecWhilePausedRequested => Running [LaunchExec];
    Sandbox: Running + UpdateRequested          => Running [ApplyLimits];
    Sandbox: Running + ForceDeleteRequested     => Absent  [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Running + InitExited               => Stopped [];
    Sandbox: Running + SupervisorGone           => Stopped [KillContainer];
    Sandbox: Running + SupervisorLost           => Running [RenewSupervisor];

    Sandbox: Paused + ResumeRequested          => Running [Thaw];
    Sandbox: Paused + SignalRequested          => Paused  [SendSignal];
    Sandbox: Paused + ExecWhilePausedRequested => Paused  [LaunchExec];
    Sandbox: Paused + UpdateRequested          => Paused  [ApplyLimits];
    Sandbox: Paused + ForceDeleteRequested     => Absent  [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Paused + InitExited               => Stopped [Thaw];
    Sandbox: Paused + SupervisorGone           => Stopped [Thaw, KillContainer];
    Sandbox: Paused + SupervisorLost           => Paused  [RenewSupervisor];

    Sandbox: Stopped + DeleteRequested      => Absent  [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Stopped + ForceDeleteRequested => Absent  [KillSandbox, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Sandbox: Stopped + InitExited           => Stopped [];
    Sandbox: Stopped + SupervisorGone       => Stopped [KillContainer];

    Container: Absent   + CreateRequested => Creating [ClaimId];
    Container: Creating + LaunchRequested => Booted   [MakeCgroups, LaunchInit, AdoptInit];
    Container: Creating + CreatorGone     => Absent   [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Creating + ForceDeleteRequested => Absent [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];

    Container: Booted + StartRequested           => Running [ReleaseInit];
    Container: Booted + SignalRequested          => Booted  [SendSignal];
    Container: Booted + ExecRequested            => Booted  [LaunchExec];
    Container: Booted + ExecWhilePausedRequested => Booted  [LaunchExec];
    Container: Booted + UpdateRequested          => Booted  [ApplyLimits];
    Container: Booted + DeleteRequested          => Absent  [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Booted + ForceDeleteRequested     => Absent  [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Booted + InitExited               => Stopped [];
    Container: Booted + SupervisorGone           => Stopped [KillContainer];

    Container: Running + PauseRequested           => Paused  [Freeze];
    Container: Running + SignalRequested          => Running [SendSignal];
    Container: Running + ExecRequested            => Running [LaunchExec];
    Container: Running + ExecWhilePausedRequested => Running [LaunchExec];
    Container: Running + UpdateRequested          => Running [ApplyLimits];
    Container: Running + ForceDeleteRequested     => Absent  [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Running + InitExited               => Stopped [];
    Container: Running + SupervisorGone           => Stopped [KillContainer];
    Container: Running + SupervisorLost           => Running [AdoptInit];

    Container: Paused + ResumeRequested          => Running [Thaw];
    Container: Paused + SignalRequested          => Paused  [SendSignal];
    Container: Paused + ExecWhilePausedRequested => Paused  [LaunchExec];
    Container: Paused + UpdateRequested          => Paused  [ApplyLimits];
    Container: Paused + ForceDeleteRequested     => Absent  [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Paused + InitExited               => Stopped [Thaw];
    Container: Paused + SupervisorGone           => Stopped [Thaw, KillContainer];
    Container: Paused + SupervisorLost           => Paused  [AdoptInit];

    Container: Stopped + DeleteRequested      => Absent  [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Stopped + ForceDeleteRequested => Absent  [KillContainer, RemoveCgroups, RunPoststopHooks, ReleaseId];
    Container: Stopped + InitExited           => Stopped [];
    Container: Stopped + SupervisorGone       => Stopped [KillContainer];
};

/// May `event` happen to the `machine` with this id in phase `from`, and what must then be done?
pub fn step(machine: Machine, id: &str, from: Phase, event: Event) -> Result<&'static Transition, Denial> {
    TABLE.iter().find(|row| row.machine == machine && row.from == from && row.event == event).ok_or_else(|| Denial {
        machine,
        id: id.to_owned(),
        from,
        event,
        sandbox: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Undo;

    #[test]
    fn no_two_rows_answer_the_same_question() {
        let mut asked = BTreeSet::new();
        for row in TABLE {
            assert!(asked.insert((row.machine, row.from, row.event)), "two rows for {row:?}");
        }
    }

    #[test]
    fn every_effect_has_an_undo_or_is_marked_irreversible_or_leaves_nothing() {
        for effect in Effect::ALL {
            match effect.undo() {
                Undo::By(other) => assert!(Effect::ALL.contains(&other)),
                Undo::Irreversible => {}
                Undo::Nothing => assert!(
                    matches!(effect, Effect::LaunchExec | Effect::RenewSupervisor),
                    "{effect} claims to leave nothing behind"
                ),
            }
        }
    }

    #[test]
    fn after_an_irreversible_effect_of_a_row_none_has_to_be_undone() {
        for row in TABLE {
            let first = row.effects.iter().position(|effect| effect.undo() == Undo::Irreversible);
            for effect in first.map_or(&[][..], |first| &row.effects[first..]) {
                assert_eq!(effect.undo(), Undo::Irreversible, "{effect} in {row:?} could be neither kept nor undone");
            }
        }
    }

    #[test]
    fn every_effect_is_ordered_by_some_row() {
        let used: BTreeSet<Effect> = TABLE.iter().flat_map(|row| row.effects).copied().collect();
        assert_eq!(used, Effect::ALL.into_iter().collect());
    }

    #[test]
    fn both_machines_know_the_same_events_in_the_same_phases() {
        let of = |machine| -> BTreeSet<(Phase, Event, Phase)> {
            TABLE.iter().filter(|row| row.machine == machine).map(|row| (row.from, row.event, row.to)).collect()
        };
        assert_eq!(of(Machine::Sandbox), of(Machine::Container));
    }

    #[test]
    fn a_denial_names_the_id_the_state_and_what_was_asked() {
        let denial = step(Machine::Sandbox, "web", Phase::Running, Event::StartRequested).unwrap_err();
        assert_eq!(denial.to_string(), "cannot start container \"web\": it is running");
        let denial = step(Machine::Sandbox, "web", Phase::Booted, Event::PauseRequested).unwrap_err();
        assert_eq!(denial.to_string(), "cannot pause container \"web\": it is created");
        let denial = step(Machine::Sandbox, "web", Phase::Absent, Event::DeleteRequested).unwrap_err();
        assert_eq!(denial.to_string(), "container \"web\" does not exist");
    }
}
