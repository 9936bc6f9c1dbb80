//! The store of one command: opened on its own thread while other work goes on, closed as soon as it is not needed.

use crate::model::Id;
use crate::model::record::{JournalEntry, Snapshot};
use crate::store::{Commit, Db, Opening, Recorded, Root, StoreError, commit_or_pend, pending_bytes};
use crate::sys::patience;

/// In bytes: half of what is allocated ahead for those who find the disk full.
const MUCH: u64 = 32 << 10;

/// Opens the store at most once, and only after everything that forks has forked.
pub struct Recorder<'a> {
    root: &'a Root,
    reach: Reach,
    opening: Option<Opening>,
    db: Option<Db>,
    notices: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Store,
    PendingOnly,
}

impl<'a> Recorder<'a> {
    /// Of this root's store, which is not opened yet.
    pub fn new(root: &'a Root) -> Recorder<'a> {
        Recorder { root, reach: Reach::Store, opening: None, db: None, notices: Vec::new() }
    }

    /// For a process that has yet to fork: it never opens the store, whose threads would stay. What it commits waits in
    /// `pending` for the next opener, and nothing can be read.
    pub fn pending_only(root: &'a Root) -> Recorder<'a> {
        Recorder { reach: Reach::PendingOnly, ..Recorder::new(root) }
    }

    /// From here on this process has more than one thread.
    pub fn begin(&mut self) {
        if self.reach == Reach::Store && self.opening.is_none() && self.db.is_none() {
            self.opening = Some(Opening::begin(self.root, patience::THE_STORE));
        }
    }

    /// Returns once the store has it, or `pending` has. A store that cannot be had never stops a transition: what it
    /// would have held is in the snapshot, and the notice says why.
    pub fn commit(&mut self, commit: &Commit<'_>) {
        let opened = self.open();
        match commit_or_pend(opened, self.root, commit) {
            Recorded::Committed(db) => self.db = Some(db),
            Recorded::Pending { .. } if self.reach == Reach::PendingOnly => {}
            Recorded::Pending { why } => {
                self.notices.push(format!("the store could not be written, the journal waits in store/pending: {why}"));
            }
            Recorded::Lost { why } => {
                self.notices
                    .push(format!("neither the store nor store/pending could be written, history has a gap: {why}"));
            }
        }
    }

    /// What the store holds of one sandbox.
    pub fn snapshot(&mut self, id: &Id) -> Result<Option<Snapshot>, StoreError> {
        let db = self.open()?;
        let snapshot = db.snapshot(id);
        self.db = Some(db);
        snapshot
    }

    /// Every snapshot that the store holds.
    pub fn snapshots(&mut self) -> Result<Vec<Snapshot>, StoreError> {
        let db = self.open()?;
        let snapshots = db.snapshots();
        self.db = Some(db);
        snapshots
    }

    /// The journal, of one sandbox or of all, oldest first.
    pub fn history(&mut self, of: Option<&Id>) -> Result<Vec<JournalEntry>, StoreError> {
        let db = self.open()?;
        let entries = db.history(of);
        self.db = Some(db);
        entries
    }

    /// Folds what is pending into the store, should there be much of it: nobody else may come for long.
    pub fn fold_much(root: &Root, id: &Id) {
        if pending_bytes(root) > MUCH {
            // Opening it does that.
            let _ = Recorder::new(root).snapshot(id);
        }
    }

    /// Lets other processes have it.
    pub fn close(&mut self) {
        self.db = None;
        self.opening = None;
    }

    /// What the user must be told, once.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn open(&mut self) -> Result<Db, StoreError> {
        if self.reach == Reach::PendingOnly {
            return Err(StoreError::NotOpened);
        }
        if let Some(db) = self.db.take() {
            return Ok(db);
        }
        self.begin();
        let opening = self.opening.take().unwrap_or_else(|| Opening::begin(self.root, patience::THE_STORE));
        let db = opening.finish()?;
        self.notices.extend(db.notices().iter().cloned());
        Ok(db)
    }
}
