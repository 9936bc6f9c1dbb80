//! The decision about a transition that was cut short, pure: what its intent means in the light of the facts.
//!
//! | left over | what is true | healing |
//! |---|---|---|
//! | create, launch | whatever | undone: kill, remove cgroups, release the id |
//! | start | the supervisor has sent the start message | recorded |
//! | start | it has not, or it is dead | forgotten: still created, or ended |
//! | start | it is dead, and the init is not, in a foreign PID namespace | recorded: it had been sent |
//! | start | it lives and does not answer | left as it is: an error |
//! | pause | frozen as a whole | recorded; otherwise thawed and forgotten |
//! | resume | thawed | recorded; otherwise frozen again and forgotten |
//! | update | its limits are kept | recorded; otherwise the old ones are set again, and it is forgotten |
//! | delete | whatever | done again to the end |
//! | any, already published | – | only the intent is cleared |
//! | any, not published but in the store | it happened, whatever became of it since | published |

use super::Facts;
use crate::model::record::{Intent, Snapshot};
use crate::model::{Change, Event};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The outcome was published before the crash.
    AlreadyDone,
    /// The effects are complete: record the transition.
    Record,
    /// Do the effects again, then record it.
    Redo,
    /// Nothing has happened, or nothing that is left: forget the transition.
    Forget,
    /// Do this, which takes its effect back, then forget the transition.
    TakeBack(Change),
    /// It never came to be: remove all of it.
    Abandon,
    /// The one who knows lives and does not say: touch nothing.
    Undecided,
}

pub fn judge(intent: &Intent, snapshot: Option<&Snapshot>, facts: &Facts) -> Verdict {
    if snapshot.is_some_and(|snapshot| snapshot.state.seq >= intent.seq) {
        return Verdict::AlreadyDone;
    }
    let container = intent.container.as_str();
    match intent.event {
        Event::CreateRequested | Event::LaunchRequested => Verdict::Abandon,
        Event::DeleteRequested | Event::ForceDeleteRequested | Event::CreatorGone => Verdict::Redo,
        Event::StartRequested => match &facts.released {
            // A start message cannot be called back: the application runs, or is about to.
            Some(released) if released.get(container) == Some(&true) => Verdict::Record,
            None if facts.supervisor_alive => Verdict::Undecided,
            Some(_) | None => Verdict::Forget,
        },
        Event::PauseRequested => match facts.frozen.get(container) {
            Some(true) => Verdict::Record,
            Some(false) | None => Verdict::TakeBack(Change::Thaw),
        },
        Event::ResumeRequested => match facts.frozen.get(container) {
            Some(false) => Verdict::Record,
            Some(true) | None => Verdict::TakeBack(Change::Freeze),
        },
        Event::UpdateRequested if facts.limited.get(container) == Some(&intent.seq) => Verdict::Record,
        Event::UpdateRequested => Verdict::TakeBack(Change::SetLimitsBack),
        // They left nothing, whether they happened or not; what is true of an end is looked at next.
        Event::SignalRequested
        | Event::ExecRequested
        | Event::ExecWhilePausedRequested
        | Event::InitExited
        | Event::SupervisorGone
        | Event::SupervisorLost => Verdict::Forget,
    }
}
