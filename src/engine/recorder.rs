//! The store of one command: opened on its own thread while other work goes on, closed as soon as it is not needed.

use std::time::Duration;

use crate::model::record::Snapshot;
use crate::store::{Commit, Db, Opening, Recorded, Root, StoreError, commit_or_pend};

/// How long a command waits for the store before its entries go to `pending`.
const DEADLINE: Duration = Duration::from_secs(10);

/// Opens the store at most once, and only after everything that forks has forked.
pub struct Recorder<'a> {
    root: &'a Root,
    opening: Option<Opening>,
    db: Option<Db>,
    notices: Vec<String>,
}

impl<'a> Recorder<'a> {
    pub fn new(root: &'a Root) -> Recorder<'a> {
        Recorder { root, opening: None, db: None, notices: Vec::new() }
    }

    pub fn root(&self) -> &'a Root {
        self.root
    }

    /// From here on this process has more than one thread.
    pub fn begin(&mut self) {
        if self.opening.is_none() && self.db.is_none() {
            self.opening = Some(Opening::begin(self.root, DEADLINE));
        }
    }

    /// Returns once the store has it, or `pending` has. A store that cannot be had never stops a transition: what it
    /// would have held is in the snapshot, and the notice says why.
    pub fn commit(&mut self, commit: &Commit<'_>) {
        self.begin();
        if let Some(db) = self.db.take() {
            match db.commit(commit) {
                Ok(()) => self.db = Some(db),
                Err(error) => {
                    drop(db);
                    let recorded = crate::store::pend(self.root, commit, &error.to_string());
                    self.take_in(recorded);
                }
            }
            return;
        }
        if let Some(opening) = self.opening.take() {
            let recorded = commit_or_pend(opening, self.root, commit);
            self.take_in(recorded);
        }
    }

    fn take_in(&mut self, recorded: Recorded) {
        match recorded {
            Recorded::Committed(db) => {
                self.notices.extend(db.notices().iter().cloned());
                self.db = Some(db);
            }
            Recorded::Pending { why } => {
                self.notices.push(format!("the store could not be written, the journal waits in store/pending: {why}"));
            }
            Recorded::Lost { why } => {
                self.notices.push(format!("neither the store nor store/pending could be written; history has a gap: {why}"));
            }
        }
    }

    /// Every snapshot that the store holds.
    pub fn snapshots(&mut self) -> Result<Vec<Snapshot>, StoreError> {
        self.begin();
        if let Some(opening) = self.opening.take() {
            self.db = Some(opening.finish()?);
        }
        self.db.as_ref().map_or(Ok(Vec::new()), Db::snapshots)
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
}
