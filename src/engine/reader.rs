//! What a reader may say of a sandbox that it has not locked: the published snapshot in the light of the facts, and of a
//! transition that is not complete. Pure: nothing is written, and nothing healed.

use super::facts::{self, Depth, Facts};
use super::verdict::{Verdict, judge};
use crate::model::record::{Intent, Nanos, Snapshot};
use crate::model::{Event, Phase};

/// Whether there is an intent, and somebody who works on it.
#[derive(Debug, Clone, Copy)]
pub enum Unfinished<'a> {
    /// The last transition is complete.
    Nothing,
    /// Whoever wrote it lives.
    UnderWay,
    /// Whoever wrote it is dead: the next command that changes something heals it.
    LeftOver(&'a Intent),
}

impl<'a> Unfinished<'a> {
    /// `holder_lives`: whether the process that the intent names is that process still.
    pub fn of(intent: Option<&'a Intent>, holder_lives: impl FnOnce(&Intent) -> bool) -> Unfinished<'a> {
        match intent {
            None => Unfinished::Nothing,
            Some(intent) if holder_lives(intent) => Unfinished::UnderWay,
            Some(intent) => Unfinished::LeftOver(intent),
        }
    }

    /// How much has to be looked at for [`as_read`].
    pub fn depth(self) -> Depth {
        match self {
            Unfinished::LeftOver(_) => Depth::Deep,
            Unfinished::Nothing | Unfinished::UnderWay => Depth::Shallow,
        }
    }

    /// The phase of a sandbox of which nothing is published. None: there is none that is not; the snapshot is lost.
    pub fn phase_unborn(self) -> Option<Phase> {
        match self {
            Unfinished::Nothing => None,
            Unfinished::UnderWay => Some(Phase::Creating),
            // Its creator is dead, and everything it made with it.
            Unfinished::LeftOver(_) => Some(Phase::Stopped),
        }
    }
}

/// The sandbox as it is told. A transition that was cut short is told as what the facts show, and ends that nobody has
/// recorded yet are told as well. `at` is now.
pub fn as_read(mut snapshot: Snapshot, unfinished: Unfinished<'_>, facts: &Facts, at: Nanos) -> Snapshot {
    if let Unfinished::LeftOver(intent) = unfinished {
        take_in(&mut snapshot, intent, facts, at);
    }
    facts::observe(&snapshot, facts, at)
}

fn take_in(seen: &mut Snapshot, intent: &Intent, facts: &Facts, at: Nanos) {
    match judge(intent, Some(seen), facts) {
        Verdict::Record => {
            facts::apply(seen, intent.container.as_str(), intent.event, None, at);
        }
        // Its creator is dead, and everything it made with it.
        Verdict::Abandon if intent.event == Event::LaunchRequested => {
            seen.state.sandbox.phase = Phase::Stopped;
            // When it died nobody knows: every reader says the same.
            seen.state.sandbox.exit = Some(facts::inferred(intent.at));
        }
        // It is as if it had not been asked for, or was told already; what is half gone is told as what it was.
        Verdict::AlreadyDone
        | Verdict::Redo
        | Verdict::Forget
        | Verdict::TakeBack(_)
        | Verdict::Abandon
        | Verdict::Undecided => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::PidNamespace;
    use crate::store::schema::samples;

    const NOW: Nanos = 99;

    /// In this phase, with all alive.
    fn snapshot(phase: Phase) -> (Snapshot, Facts) {
        let mut snapshot = samples::snapshot("web");
        snapshot.sandbox.pid_namespace = PidNamespace::Own;
        snapshot.state.sandbox.phase = phase;
        snapshot.state.sandbox.exit = None;
        snapshot.state.containers.clear();
        let inits = [("web".to_owned(), true)].into();
        (snapshot, Facts { supervisor_alive: true, inits, ..Facts::default() })
    }

    fn left_over(event: Event, snapshot: &Snapshot) -> Intent {
        Intent { event, seq: snapshot.state.seq + 1, ..samples::intent("web") }
    }

    fn phase_read(snapshot: &Snapshot, event: Event, facts: &Facts) -> Phase {
        let intent = left_over(event, snapshot);
        as_read(snapshot.clone(), Unfinished::LeftOver(&intent), facts, NOW).state.sandbox.phase
    }

    #[test]
    fn what_was_cut_short_is_told_as_what_the_facts_show() {
        let (booted, mut facts) = snapshot(Phase::Booted);
        assert_eq!(phase_read(&booted, Event::StartRequested, &facts), Phase::Booted, "nobody knows");
        facts.released = Some([("web".to_owned(), true)].into());
        assert_eq!(phase_read(&booted, Event::StartRequested, &facts), Phase::Running);
        let (running, mut facts) = snapshot(Phase::Running);
        assert_eq!(phase_read(&running, Event::PauseRequested, &facts), Phase::Running);
        facts.frozen = [("web".to_owned(), true)].into();
        assert_eq!(phase_read(&running, Event::PauseRequested, &facts), Phase::Paused);
        assert_eq!(phase_read(&running, Event::DeleteRequested, &facts), Phase::Running, "somebody will go on with it");
    }

    #[test]
    fn a_creation_whose_creator_is_dead_has_ended_and_every_reader_says_when() {
        let (creating, facts) = snapshot(Phase::Creating);
        let intent = left_over(Event::LaunchRequested, &creating);
        let ended = |at| as_read(creating.clone(), Unfinished::LeftOver(&intent), &facts, at).state.sandbox;
        assert_eq!((ended(NOW).phase, ended(NOW).exit), (Phase::Stopped, Some(facts::inferred(intent.at))));
        assert_eq!(ended(NOW), ended(NOW + 1));
    }

    #[test]
    fn what_somebody_works_on_is_told_as_it_was_published() {
        let (creating, facts) = snapshot(Phase::Creating);
        let intent = left_over(Event::LaunchRequested, &creating);
        let unfinished = Unfinished::of(Some(&intent), |_| true);
        assert_eq!(unfinished.depth(), Depth::Shallow);
        assert_eq!(as_read(creating.clone(), unfinished, &facts, NOW), creating);
        assert_eq!(Unfinished::of(Some(&intent), |_| false).depth(), Depth::Deep);
    }

    #[test]
    fn without_a_snapshot_a_sandbox_is_being_made_or_never_will_be_or_it_is_lost() {
        let (creating, _) = snapshot(Phase::Creating);
        let intent = left_over(Event::LaunchRequested, &creating);
        assert_eq!(Unfinished::of(Some(&intent), |_| true).phase_unborn(), Some(Phase::Creating));
        assert_eq!(Unfinished::of(Some(&intent), |_| false).phase_unborn(), Some(Phase::Stopped));
        assert_eq!(Unfinished::of(None, |_| true).phase_unborn(), None);
    }
}
