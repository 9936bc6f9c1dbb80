//! What crashes left behind in a root: found ([`examine`](examine())), finished or undone ([`recover`]).
//!
//! Owns no rule of its own: whether a left-over transition goes forward or back is the engine's verdict, so that
//! `recover` and the next command on the same sandbox cannot disagree. What runs on without a supervisor is given another.
//! May itself be killed at any point and run again.

mod examine;

use std::time::Instant;

use crate::cgroup;
use crate::engine::{self, Depth, Effects, EngineError, Held, Performer, Probe, Recorder, Wreck, heal};
use crate::host::kept::{destruction_of, ledger_of};
use crate::host::mend::Mender;
use crate::host::probe::Prober;
use crate::host::renewal::{self, Renewal};
use crate::host::{HostError, delete, poststart, rootless};
use crate::model::record::Snapshot;
use crate::model::{EndRequest, Id, Renew};
use crate::store::{Commit, Folder, LockError, Root, StoreError};
use crate::sys::patience;

pub use examine::{Finding, examine};

/// What was done about one folder.
#[derive(Debug)]
pub struct Report {
    /// The id, or the folder of what never had one.
    pub subject: String,
    /// What was done, in order; empty of one that was in order.
    pub actions: Vec<String>,
    /// Why it could not be healed; the intent is still there for the next attempt.
    pub failure: Option<String>,
}

/// Heals the sandboxes with these ids, or everything in the root. Never stops at a failure.
pub fn recover(root: &Root, only: &[Id]) -> Result<Vec<Report>, StoreError> {
    let mut reports = Vec::new();
    if only.is_empty() {
        for folder in root.folders()? {
            reports.push(recover_sandbox(root, folder));
        }
        for folder in root.leftovers()? {
            reports.push(remove_leftover(folder));
        }
        let mut recorder = Recorder::new(root);
        reports.push(settle_store(root, &mut recorder));
        reports.push(remove_orphans(root, &mut recorder));
    } else {
        for id in only {
            let folder = root.find(id)?;
            let missing = || Report {
                subject: id.to_string(),
                actions: Vec::new(),
                failure: Some(format!("container {:?} does not exist", id.as_str())),
            };
            reports.push(folder.map_or_else(missing, |folder| recover_sandbox(root, folder)));
        }
    }
    reports.retain(|report| !report.actions.is_empty() || report.failure.is_some());
    Ok(reports)
}

fn recover_sandbox(root: &Root, folder: Folder) -> Report {
    let subject = subject_of(&folder);
    let guard = match folder.lock(patience::GOOD_HANDS) {
        Ok(guard) => guard,
        // Another command works on it, or has just deleted it.
        Err(LockError::Busy { .. } | LockError::Gone) => return Report { subject, actions: Vec::new(), failure: None },
        Err(error) => return failed(subject, &error),
    };
    let healed = match heal::heal(folder, guard, Recorder::new(root), &Prober, &Mender) {
        Ok(healed) => healed,
        Err(error) => return failed::<EngineError<HostError>>(subject, &error),
    };
    let mut report = Report { subject, actions: healed.actions, failure: None };
    if let Some(mut held) = healed.held {
        report.actions.extend(held.recorder().take_notices());
        let held = match see_to_orphan(held, &mut report.actions) {
            Ok(held) => held,
            Err(error) => return Report { failure: Some(crate::sys::told::on_one_line(&error)), ..report },
        };
        let mut told = Vec::new();
        if let Err(error) = go_on_with_poststart(root, held, &mut told) {
            report.failure = Some(crate::sys::told::on_one_line(&error));
        }
        report.actions.extend(told.into_iter().map(|text| format!("{:?}: {text}", report.subject)));
    }
    report
}

/// A container that runs on without a supervisor is given another one. That of a foreground run is ended: the supervisor
/// would have ended it with its command, and nobody can tell a new one which that was.
fn see_to_orphan<'a>(held: Held<'a>, actions: &mut Vec<String>) -> Result<Held<'a>, EngineError<HostError>> {
    let snapshot = held.snapshot().clone();
    let id = snapshot.sandbox.id.as_str();
    renewal::await_end_of_unfinished(held.folder(), &snapshot).map_err(EngineError::Effect)?;
    if !engine::is_orphaned(&snapshot, &Prober.facts(held.folder(), &snapshot, Depth::Shallow)) {
        return Ok(held);
    }
    if snapshot.sandbox.attached {
        let mut destruction = destruction_of(&Wreck { folder: held.folder(), snapshot: Some(&snapshot), intent: None });
        let held = held.end(engine::inferred(engine::now()), &mut destruction)?;
        actions
            .push(format!("{id:?}: its supervisor was gone, and it ran on: ended it, as its command's end would have"));
        actions.extend(destruction.take_warnings().into_iter().map(|text| format!("{id:?}: {text}")));
        return Ok(held);
    }
    if rootless::needed() {
        return Err(EngineError::Effect(HostError::OnlyRootRenews { id: snapshot.sandbox.id.clone() }));
    }
    let folder = held.folder().try_clone()?;
    let mut renewal = Renewal::of(&folder, &snapshot).map_err(EngineError::Effect)?;
    let held = held.renew(&mut renewal)?;
    renewal.perform(Renew::Adopt).map_err(EngineError::Effect)?;
    let pid = renewal.pid().unwrap_or_default();
    actions.push(format!("{id:?}: its supervisor was gone, and it ran on: gave it another, process {pid}"));
    Ok(held)
}

/// The hooks that a start which was killed still owed to its container, and what it would have done after one that failed.
fn go_on_with_poststart(root: &Root, held: Held<'_>, told: &mut Vec<String>) -> Result<(), EngineError<HostError>> {
    let snapshot = held.snapshot().clone();
    let Some(ledger) = ledger_of(held.folder(), &snapshot).map_err(EngineError::Effect)? else { return Ok(()) };
    if !poststart::is_due(&ledger, &snapshot).map_err(EngineError::Effect)? {
        return Ok(());
    }
    told.extend(ledger.settle().map_err(EngineError::Effect)?);
    // What was settled may have been all.
    if !poststart::is_due(&ledger, &snapshot).map_err(EngineError::Effect)? {
        return Ok(());
    }
    ledger.claim_poststart().map_err(EngineError::Effect)?;
    // As for start: a hook that hangs keeps nobody from the sandbox.
    drop(held);
    match poststart::run(&ledger, &snapshot) {
        Ok(()) => told.push("ran the poststart hooks that its start had left".to_owned()),
        Err(error) => {
            told.extend(destroy(root, &snapshot)?);
            told.push(format!("destroyed it, since {}", crate::sys::told::on_one_line(&error)));
        }
    }
    Ok(())
}

/// Whatever it is doing; one that is gone, or whose id is another's by now, is none of ours. What the user must know.
fn destroy(root: &Root, snapshot: &Snapshot) -> Result<Vec<String>, EngineError<HostError>> {
    let id = &snapshot.sandbox.id;
    let held = Held::acquire(root, id, patience::WHAT_RECOVER_DESTROYS, Recorder::new(root), &Prober, &Mender)?;
    let Some(held) = held.filter(|held| held.snapshot().sandbox.incarnation == snapshot.sandbox.incarnation) else {
        return Ok(Vec::new());
    };
    delete::one_held(held, EndRequest::ForceDelete, None)
}

/// A folder that never got its id, or has lost it: nothing in it is of use to anybody.
fn remove_leftover(folder: Folder) -> Report {
    let subject = folder.name().to_owned();
    match folder.try_lock() {
        Ok(Some(guard)) => {
            let removed = folder.remove();
            drop(guard);
            match removed {
                Ok(()) => {
                    Report { actions: vec![format!("removed the left-over folder {subject}")], subject, failure: None }
                }
                Err(error) => failed(subject, &error),
            }
        }
        Ok(None) | Err(LockError::Gone) => Report { subject, actions: Vec::new(), failure: None },
        Err(error) => failed(subject, &error),
    }
}

/// The store and the folders are made to say the same: a sandbox without a folder is gone, a published state that the
/// store has missed is taken in.
fn settle_store(root: &Root, recorder: &mut Recorder<'_>) -> Report {
    let subject = "store".to_owned();
    let mut actions = Vec::new();
    let disagreements = match examine::disagreements(root, recorder) {
        Ok(disagreements) => disagreements,
        // Nothing is broken, and nothing can be written: the next recovery compares.
        Err(error) if error.is_full() => return Report { subject, actions: Vec::new(), failure: None },
        Err(error) => return failed(subject, &error),
    };
    for disagreement in disagreements {
        recorder.commit(&Commit { id: &disagreement.id, snapshot: disagreement.published.as_ref(), journal: &[] });
        actions.push(format!("store: {}", disagreement.text));
    }
    actions.extend(recorder.take_notices());
    Report { subject, actions, failure: None }
}

/// Cgroups that `doctor` would complain about. Whoever has entered one meanwhile keeps it: the kernel removes none with
/// processes in it.
fn remove_orphans(root: &Root, recorder: &mut Recorder<'_>) -> Report {
    let subject = "cgroups".to_owned();
    let snapshots = root.folders().map(|folders| folders.iter().filter_map(|f| f.read_snapshot().ok()?).collect());
    let orphans = snapshots.and_then(|snapshots: Vec<_>| examine::orphaned_cgroups(root, &snapshots, recorder));
    let orphans = match orphans {
        Ok(orphans) => orphans,
        // Nothing is broken: the next recovery looks again.
        Err(error) if error.is_full() => return Report { subject, actions: Vec::new(), failure: None },
        Err(error) => return failed(subject, &error),
    };
    let mut actions = Vec::new();
    for folder in orphans.found {
        match cgroup::remove_emptied(std::slice::from_ref(&folder), Instant::now()) {
            Ok(populated) if populated.is_empty() => {
                actions.push(format!("removed the empty cgroup {folder:?} of a sandbox that is gone"));
            }
            Ok(_) => {}
            Err(error) => return Report { actions, ..failed(subject, &error) },
        }
    }
    Report { subject, actions, failure: orphans.unseen.as_ref().map(|error| crate::sys::told::on_one_line(error)) }
}

fn subject_of(folder: &Folder) -> String {
    let published = folder.read_snapshot().ok().flatten().map(|snapshot| snapshot.sandbox.id.to_string());
    let intended = || Some(folder.intent_unlocked().ok()??.sandbox.to_string());
    published.or_else(intended).unwrap_or_else(|| folder.name().to_owned())
}

fn failed<E: std::error::Error + 'static>(subject: String, error: &E) -> Report {
    Report { subject, actions: Vec::new(), failure: Some(crate::sys::told::on_one_line(error)) }
}
