//! The one statement of what is legal: every transition of a sandbox and of a container, and what each one does.
//!
//! Both machines have the same rows. Where what is done differs, a name stands for both (`LAUNCH`, `RENEW`,
//! `GONE`): the root of a sandbox comes and goes with its supervisor, a further container without.
//!
//! Which room a row is about follows from its event alone, and the compiler looks through the whole table for that: who
//! asks by a [`super::event::ChangeRequest`] gets effects of the room that changes things, and none else.

use super::effect::{Change, End, IdStep, Make, Renew, Work};
use super::{Event, Machine, Phase};

/// What may happen in a phase, of either machine.
#[derive(Debug)]
struct Row {
    from: Phase,
    event: Event,
    to: Phase,
    id: IdStep,
    work: Works,
}

/// What is done, by the machine that it is done for.
#[derive(Debug, Clone, Copy)]
struct Works {
    sandbox: Work,
    container: Work,
}

/// One legal transition of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Whose row it is.
    pub machine: Machine,
    /// The phase in which it is legal.
    pub from: Phase,
    /// What happens.
    pub event: Event,
    /// The phase after it.
    pub to: Phase,
    /// Done before all work, or after it.
    pub id: IdStep,
    /// What is done.
    pub work: Work,
}

impl Row {
    fn of(&self, machine: Machine) -> Transition {
        let work = match machine {
            Machine::Sandbox => self.work.sandbox,
            Machine::Container => self.work.container,
        };
        Transition { machine, from: self.from, event: self.event, to: self.to, id: self.id, work }
    }
}

const fn both(work: Work) -> Works {
    Works { sandbox: work, container: work }
}

const NOTHING: Works = both(Work::Nothing);
const RELEASE: Works = both(Work::Change(&[Change::Release]));
const FREEZE: Works = both(Work::Change(&[Change::Freeze]));
const THAW: Works = both(Work::Change(&[Change::Thaw]));
const LIMIT: Works = both(Work::Change(&[Change::SetLimits]));
/// It has ended already.
const ENDED: Works = both(Work::Change(&[]));
const KILL: Works = both(Work::End(&[End::KillContainer]));

const LAUNCH: Works = Works {
    sandbox: Work::Make(&[Make::Cgroups, Make::Supervisor, Make::Init, Make::Adopt]),
    container: Work::Make(&[Make::Cgroups, Make::Init, Make::Adopt]),
};

const RENEW: Works = Works { sandbox: Work::Renew(&[Renew::Supervisor]), container: Work::Renew(&[Renew::Adopt]) };

const GONE: Works = Works {
    sandbox: Work::End(&[End::KillSandbox, End::RemoveCgroups, End::Poststop]),
    container: Work::End(&[End::KillContainer, End::RemoveCgroups, End::Poststop]),
};

macro_rules! rows {
    ($($from:ident + $event:ident => $to:ident $work:ident $($id:ident)?;)*) => {
        &[$(Row {
            from: Phase::$from,
            event: Event::$event,
            to: Phase::$to,
            id: rows!(@id $($id)?),
            work: $work,
        }),*]
    };
    (@id) => { IdStep::Keeps };
    (@id $id:ident) => { IdStep::$id };
}

/// All there is. What is not here is denied.
const TABLE: &[Row] = rows! {
    Absent   + CreateRequested      => Creating NOTHING Claims;
    Creating + LaunchRequested      => Booted   LAUNCH;
    Creating + CreatorGone          => Absent   GONE GivesBack;
    Creating + ForceDeleteRequested => Absent   GONE GivesBack;

    Booted + StartRequested           => Running RELEASE;
    Booted + SignalRequested          => Booted  NOTHING;
    Booted + ExecRequested            => Booted  NOTHING;
    Booted + ExecWhilePausedRequested => Booted  NOTHING;
    Booted + UpdateRequested          => Booted  LIMIT;
    Booted + DeleteRequested          => Absent  GONE GivesBack;
    Booted + ForceDeleteRequested     => Absent  GONE GivesBack;
    Booted + InitExited               => Stopped ENDED;
    Booted + SupervisorGone           => Stopped KILL;

    Running + PauseRequested           => Paused  FREEZE;
    Running + SignalRequested          => Running NOTHING;
    Running + ExecRequested            => Running NOTHING;
    Running + ExecWhilePausedRequested => Running NOTHING;
    Running + UpdateRequested          => Running LIMIT;
    Running + ForceDeleteRequested     => Absent  GONE GivesBack;
    Running + InitExited               => Stopped ENDED;
    Running + SupervisorGone           => Stopped KILL;
    Running + SupervisorLost           => Running RENEW;

    Paused + ResumeRequested          => Running THAW;
    Paused + SignalRequested          => Paused  NOTHING;
    Paused + ExecWhilePausedRequested => Paused  NOTHING;
    Paused + UpdateRequested          => Paused  LIMIT;
    Paused + ForceDeleteRequested     => Absent  GONE GivesBack;
    Paused + InitExited               => Stopped THAW;
    Paused + SupervisorGone           => Stopped KILL;
    Paused + SupervisorLost           => Paused  RENEW;

    Stopped + DeleteRequested      => Absent  GONE GivesBack;
    Stopped + ForceDeleteRequested => Absent  GONE GivesBack;
    Stopped + InitExited           => Stopped ENDED;
    Stopped + SupervisorGone       => Stopped KILL;
};

/// Whether a row of this event may order this.
const fn is_about(event: Event, work: Work) -> bool {
    match event {
        Event::CreateRequested | Event::SignalRequested | Event::ExecRequested | Event::ExecWhilePausedRequested => {
            matches!(work, Work::Nothing)
        }
        Event::LaunchRequested => matches!(work, Work::Make(_)),
        Event::SupervisorLost => matches!(work, Work::Renew(_)),
        Event::StartRequested
        | Event::PauseRequested
        | Event::ResumeRequested
        | Event::UpdateRequested
        | Event::InitExited => matches!(work, Work::Change(_)),
        Event::DeleteRequested | Event::ForceDeleteRequested | Event::CreatorGone | Event::SupervisorGone => {
            matches!(work, Work::End(_))
        }
    }
}

/// What engine code relies on that asks for the effects of a room.
const _: () = {
    let mut row = 0;
    while row < TABLE.len() {
        let Row { event, work, .. } = &TABLE[row];
        assert!(is_about(*event, work.sandbox) && is_about(*event, work.container), "a row is about another room");
        row += 1;
    }
};

/// What a birth does, for the compiler to compare with the steps of who does it.
pub const fn launch(of: Machine) -> &'static [Make] {
    let work = match of {
        Machine::Sandbox => LAUNCH.sandbox,
        Machine::Container => LAUNCH.container,
    };
    match work {
        Work::Make(effects) => effects,
        Work::Nothing | Work::Renew(_) | Work::Change(_) | Work::End(_) => &[],
    }
}

/// Every transition there is, of one machine after the other.
pub fn transitions() -> impl Iterator<Item = Transition> {
    Machine::ALL.into_iter().flat_map(|machine| TABLE.iter().map(move |row| row.of(machine)))
}

/// May `event` happen to the `machine` with this id in phase `from`, and what must then be done?
pub fn step(machine: Machine, id: &str, from: Phase, event: Event) -> Result<Transition, Denial> {
    let row = TABLE.iter().find(|row| row.from == from && row.event == event);
    row.map(|row| row.of(machine)).ok_or_else(|| Denial { machine, id: id.to_owned(), from, event, sandbox: None })
}

/// A request or observation that the table has no row for. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    /// What it was asked of.
    pub machine: Machine,
    /// Of the sandbox or the container.
    pub id: String,
    /// The phase in which it is.
    pub from: Phase,
    /// What was asked or seen.
    pub event: Event,
    /// The sandbox in whose phase a container's own event is not legal. None: the container itself stands in the way.
    pub sandbox: Option<(String, Phase)>,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::effect::{Effect, Undo};

    #[test]
    fn no_two_rows_answer_the_same_question() {
        let mut asked = BTreeSet::new();
        for row in TABLE {
            assert!(asked.insert((row.from, row.event)), "two rows for {row:?}");
        }
    }

    #[test]
    fn after_an_irreversible_effect_of_a_row_none_has_to_be_undone() {
        fn hold<X: Effect>(row: &Transition) {
            let effects = X::of(row.work);
            let first = effects.iter().position(|effect| effect.undo() == Undo::Irreversible);
            for effect in first.map_or(&[][..], |first| &effects[first..]) {
                assert_eq!(effect.undo(), Undo::Irreversible, "{effect} in {row:?} could be neither kept nor undone");
            }
        }
        for row in transitions() {
            hold::<Make>(&row);
            hold::<Renew>(&row);
            hold::<Change>(&row);
            hold::<End>(&row);
        }
    }

    #[test]
    fn what_makes_is_undone_by_what_the_end_of_the_same_machine_does() {
        for machine in Machine::ALL {
            let of = |event| step(machine, "web", Phase::Creating, event).unwrap().work;
            for effect in Make::of(of(Event::LaunchRequested)) {
                let Undo::By(back) = effect.undo() else { panic!("{effect} cannot be taken back") };
                let gone = End::of(of(Event::CreatorGone));
                // The end of the sandbox is the end of its container.
                assert!(gone.contains(&back) || gone.contains(&End::KillSandbox), "{back} of {effect}");
            }
        }
    }

    #[test]
    fn an_id_is_claimed_once_and_given_back_with_the_last_phase() {
        for row in transitions() {
            let wanted = match (row.from, row.to) {
                (Phase::Absent, _) => IdStep::Claims,
                (_, Phase::Absent) => IdStep::GivesBack,
                _ => IdStep::Keeps,
            };
            assert_eq!(row.id, wanted, "{row:?}");
        }
    }

    #[test]
    fn the_machines_differ_in_how_they_come_go_and_are_kept_and_in_nothing_else() {
        let differ = |event| TABLE.iter().any(|row| row.event == event && row.work.sandbox != row.work.container);
        let differing: Vec<Event> = Event::ALL.into_iter().filter(|event| differ(*event)).collect();
        assert_eq!(
            differing,
            [
                Event::LaunchRequested,
                Event::DeleteRequested,
                Event::ForceDeleteRequested,
                Event::CreatorGone,
                Event::SupervisorLost
            ]
        );
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
