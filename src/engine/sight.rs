//! What happened without a transition of a command: ends that are seen, and signals that were sent. Both are put in the
//! journal where that can be done at once, and never kept from happening, or from being told, where it cannot: when another
//! command works on the sandbox, when one has left its work undone, when nothing can be written.
//!
//! What is written here goes to `store/pending`: it costs one append, and no store is opened for it.

use std::convert::Infallible;
use std::time::Duration;

use super::effects::Grip;
use super::facts::{self, pod_of};
use super::heal::{Mend, perform_work};
use super::record::{Happened, Subject};
use super::transition::Next;
use super::{EngineError, Facts, Held, Recorder, now};
use crate::model::exits::ExitRecord;
use crate::model::record::{Exit, JournalEntry, Nanos, PidNamespace, SandboxRecord, SignalAsked, Snapshot};
use crate::model::{Event, Id, Work};
use crate::store::{Folder, Root, StoreError};
use crate::sys::patience;

/// A reader waits for nobody.
const NO_PATIENCE: Duration = Duration::ZERO;

/// The entries that the next command would write of ends that nobody has recorded yet.
pub fn unrecorded_entries(snapshot: &Snapshot, facts: &Facts) -> Vec<JournalEntry> {
    let (mut seen, root, mut entries) = (snapshot.clone(), snapshot.sandbox.id.clone(), Vec::new());
    for (id, event, exit) in facts::unrecorded_ends(snapshot, facts, now()) {
        let (Ok(container), Ok((_, row))) = (Id::parse(&id), pod_of(&seen).step(root.as_str(), &id, event)) else {
            continue;
        };
        // What has not come round to its end is not told dead, as `observe` has it.
        if facts.exit_of(&id).is_none() && facts.init_alive(&id) {
            continue;
        }
        let happened = Happened::seen(&seen, &container, exit);
        let at = happened.ended;
        let subject = Subject { sandbox: &root, container: &container };
        entries.push(subject.entry(&seen.sandbox.incarnation, &row, seen.state.seq + 1, happened));
        facts::apply(&mut seen, &id, event, exit, at);
        seen.state.seq += 1;
    }
    entries
}

/// Puts ends in the journal, since they are seen now: those that the supervisor has written down, and its own, where that
/// was the end of everything. Whatever else has happened is for the next command: recording it takes more than that.
///
/// `mend` is asked only where nothing of the sandbox lives any more: what its last row orders is to be so already.
/// `told`: how the sandbox ended, as the caller has seen it: nobody is told anything else later.
pub fn note_ends<H: Mend>(
    root: &Root,
    id: &Id,
    facts: impl FnOnce(&Folder, &Snapshot) -> Facts,
    mend: &H,
    told: Option<Exit>,
) -> Result<(), EngineError<H::Error>> {
    let Some(mut held) = hold(root, id, NO_PATIENCE)? else { return Ok(()) };
    let facts = facts(&held.grip.folder, &held.snapshot);
    if held.snapshot.sandbox.pid_namespace == PidNamespace::Foreign {
        return Ok(keep(&held, &facts, told)?);
    }
    let all_over = !facts.supervisor_alive && !facts.inits.values().any(|alive| *alive);
    for (container, event, exit) in facts::unrecorded_ends(&held.snapshot, &facts, now()) {
        let (Ok(container), Some(_)) = (Id::parse(&container), exit) else { return Ok(()) };
        let exit = match event {
            Event::SupervisorGone if container == held.snapshot.sandbox.id => told.or(exit),
            _ => exit,
        };
        let Ok(next) = Next::of(&held, &container, event) else { return Ok(()) };
        if !all_over && (event != Event::InitExited || next.row.work != Work::Change(&[])) {
            return Ok(());
        }
        perform_work(next.row.work, mend, &held)?;
        let seen = Happened::seen(&held.snapshot, &container, exit);
        held = held.put_down(&next, seen)?;
    }
    Ok(())
}

/// Of what ended after its supervisor, in a foreign PID namespace: that is written where the supervisor would have. It is no
/// transition yet, since what else is left there has to be ended with it.
fn keep(held: &Held<'_>, facts: &Facts, told: Option<Exit>) -> Result<(), StoreError> {
    if facts.supervisor_alive {
        return Ok(());
    }
    for (container, event, exit) in facts::unrecorded_ends(&held.snapshot, facts, now()) {
        let told = told.filter(|_| container == held.snapshot.sandbox.id.as_str());
        if let (Event::SupervisorGone, Some(exit)) = (event, told.or(exit))
            && facts.exit_of(&container).is_none()
        {
            held.grip.folder.append_exit(&held.grip.guard, &ExitRecord { container, exit })?;
        }
    }
    Ok(())
}

/// A sandbox that is held while a signal is sent to it, so that the entry of that comes before those of what it brings about.
pub struct Noted<'a> {
    held: Held<'a>,
    began: Nanos,
}

impl<'a> Noted<'a> {
    /// `seen` is the one that is meant. None: somebody works on it, or it is gone. The signal is sent all the same.
    pub fn begin(root: &'a Root, seen: &SandboxRecord) -> Result<Option<Noted<'a>>, StoreError> {
        let held = hold(root, &seen.id, patience::A_COMMAND_IN_PASSING)?;
        let held = held.filter(|held| held.snapshot.sandbox.incarnation == seen.incarnation);
        Ok(held.map(|held| Noted { held, began: now() }))
    }

    /// It was sent.
    pub fn sent(self, signal: SignalAsked) -> Result<(), EngineError<Infallible>> {
        let root = self.held.snapshot.sandbox.id.clone();
        let event = Event::SignalRequested;
        // What has ended meanwhile is not signalled any more.
        let Ok(next) = Next::of(&self.held, &root, event) else { return Ok(()) };
        // Of before it was sent: what it brings about may be over by now.
        let (began, ended) = (self.began, self.began);
        let happened = Happened { ended, signal: Some(signal), ..Happened::by_command(began) };
        self.held.put_down(&next, happened).map(drop)
    }
}

/// Locked as it is, without healing: None where that is somebody else's to do first.
fn hold<'a>(root: &'a Root, id: &Id, patience: Duration) -> Result<Option<Held<'a>>, StoreError> {
    let Some(folder) = root.find(id)? else { return Ok(None) };
    let Ok(guard) = folder.lock(patience) else { return Ok(None) };
    if guard.intent()?.is_some() {
        return Ok(None);
    }
    let Some(snapshot) = folder.read_snapshot()? else { return Ok(None) };
    let grip = Grip { folder, guard, recorder: Recorder::pending_only(root) };
    Ok(Some(Held { grip, snapshot }))
}
