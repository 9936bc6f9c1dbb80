//! The one maker of what is written of a transition: its intent before, its journal entry after.
//!
//! Whoever brings a sandbox into being, changes it, ends it, heals it or only sees what became of it writes these and no
//! others, so that no two of them can tell the same thing differently.

use std::error::Error;
use std::path::PathBuf;

use super::{EngineError, now};
use crate::model::record::{Actor, Boot, Exit, Intent, JournalEntry, Nanos, ProcessRef, SignalAsked, Snapshot};
use crate::model::{Id, Transition};
use crate::sys::procfs;

/// What a transition happens to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'s> {
    pub sandbox: &'s Id,
    /// The root container has the id of the sandbox.
    pub container: &'s Id,
}

impl<'s> Subject<'s> {
    pub fn root(id: &'s Id) -> Subject<'s> {
        Subject { sandbox: id, container: id }
    }

    /// `seq` is the one that the transition will have. `cgroups`: those that it is about to make.
    pub fn intent<E: Error + 'static>(
        self,
        row: &Transition,
        seq: u64,
        at: Nanos,
        cgroups: Vec<PathBuf>,
    ) -> Result<Intent, EngineError<E>> {
        let (holder, boot) = ourselves()?;
        Ok(Intent {
            seq,
            sandbox: self.sandbox.clone(),
            container: self.container.clone(),
            machine: row.machine,
            from: row.from,
            event: row.event,
            to: row.to,
            holder,
            boot,
            at,
            cgroups,
        })
    }

    /// `incarnation`: of the sandbox.
    pub fn entry(self, incarnation: &str, row: &Transition, seq: u64, happened: Happened) -> JournalEntry {
        let Happened { began, ended, exit, by, signal } = happened;
        JournalEntry {
            sandbox: self.sandbox.clone(),
            incarnation: incarnation.to_owned(),
            container: self.container.clone(),
            machine: row.machine,
            seq,
            from: row.from,
            event: row.event,
            to: row.to,
            began,
            ended,
            exit,
            by,
            signal,
        }
    }
}

/// The same intent with us as its holder: healing may take its time, with hooks above all.
pub(super) fn taken_over<E: Error + 'static>(intent: &Intent) -> Result<Intent, EngineError<E>> {
    let (holder, boot) = ourselves()?;
    Ok(Intent { holder, boot, ..intent.clone() })
}

/// This process, as an intent names it.
pub(super) fn ourselves<E: Error + 'static>() -> Result<(ProcessRef, Boot), EngineError<E>> {
    let failed = |source| EngineError::Ourselves { source };
    let us = procfs::process_ref(std::process::id() as i32).map_err(failed)?;
    let us = us.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok((us, procfs::boot().map_err(failed)?))
}

/// What a journal entry says beside which transition it was.
#[derive(Debug)]
pub(super) struct Happened {
    pub began: Nanos,
    pub ended: Nanos,
    pub exit: Option<Exit>,
    pub by: Actor,
    pub signal: Option<SignalAsked>,
}

impl Happened {
    /// Just now.
    pub fn by_command(began: Nanos) -> Happened {
        Happened { began, ended: now(), exit: None, by: Actor::Command, signal: None }
    }

    /// Just now, in the place of a command that began it and died.
    pub fn by_recovery(began: Nanos) -> Happened {
        Happened { by: Actor::Recovery, ..Happened::by_command(began) }
    }

    /// An end: at the time that was written down, or at which it was first seen, but not before what the journal has of the
    /// container already (an application may be gone before its start is recorded); else now.
    pub fn seen(snapshot: &Snapshot, container: &Id, exit: Option<Exit>) -> Happened {
        let now = now();
        let since = match *container == snapshot.sandbox.id {
            true => Some(snapshot.state.sandbox.since),
            false => snapshot.state.containers.get(container.as_str()).map(|state| state.since),
        };
        let at = match exit {
            Some(exit) => exit.at.max(since.unwrap_or(exit.at)).min(now),
            None => now,
        };
        Happened { began: at, ended: at, exit, by: Actor::Recovery, signal: None }
    }
}
