//! The store as its users see it: commit what happened, read what is remembered.

use std::fs::File;
use std::path::PathBuf;

use super::db::{Trees, Write};
use super::names::name_of;
use super::schema::{Change, Pending, Records};
use super::witness::Witness;
use super::{StoreError, room};
use crate::model::Id;
use crate::model::record::{JournalEntry, Snapshot, State};

/// How many journal entries are kept.
const JOURNAL_BOUND: u64 = 10_000;

/// The store, opened: no other process has it while this lives.
pub struct Db {
    trees: Option<Trees>,
    path: PathBuf,
    /// Held until the database is let go of.
    lock: File,
    notices: Vec<String>,
    journal_bound: u64,
}

/// What one transition leaves behind.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// Whose.
    pub id: &'a Id,
    /// None: the sandbox is deleted.
    pub snapshot: Option<&'a Snapshot>,
    /// Oldest first.
    pub journal: &'a [JournalEntry],
}

impl Db {
    pub(super) fn new(trees: Trees, path: PathBuf, lock: File, notices: Vec<String>) -> Db {
        Db { trees: Some(trees), path, lock, notices, journal_bound: JOURNAL_BOUND }
    }

    /// What there was to tell of an opening before this one, which nobody was told.
    pub(super) fn with_earlier_notices(mut self, mut earlier: Vec<String>) -> Db {
        earlier.append(&mut self.notices);
        self.notices = earlier;
        self
    }

    /// Keep so many journal entries instead of 10,000.
    pub fn with_journal_bound(mut self, entries: u64) -> Db {
        self.journal_bound = entries;
        self
    }

    /// When this returns, it is remembered whatever happens; when it fails, nothing is (or all of it: an entry that is
    /// committed again is kept once).
    pub fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let change = match commit.snapshot {
            Some(snapshot) => Write::put(snapshot),
            None => Write::Delete,
        };
        let id = commit.id.as_str();
        self.trees()
            .write(id, &change, commit.journal, self.journal_bound)
            .and_then(|()| self.trees().flush())
            .map_err(|source| self.doubt(StoreError::Commit { id: id.to_owned(), source }))?;
        self.witness()
    }

    /// Commits one that had to wait. What the store knows of a later sandbox or a later state stays.
    pub(super) fn commit_pending(&self, pending: &Pending) -> Result<(), StoreError> {
        let id = pending.id.as_str();
        let known = self.known(&pending.id)?;
        let same = |(records, _): &(Records, State)| records.sandbox.incarnation == pending.incarnation;
        let change = match (&pending.change, &known) {
            (Change::Put(new), Some(old)) if same(old) && old.1.seq > new.state.seq => Write::Nothing,
            (Change::Put(new), _) => Write::put(new),
            (Change::PutState(new), Some(old)) if same(old) && old.1.seq <= new.seq => Write::put_state(new),
            (Change::PutState(_), _) => Write::Nothing,
            (Change::Delete, Some(old)) if !same(old) => Write::Nothing,
            (Change::Delete, _) => Write::Delete,
        };
        self.trees()
            .write(id, &change, &pending.journal, self.journal_bound)
            .map_err(|source| StoreError::Commit { id: id.to_owned(), source })
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.trees().flush().map_err(|source| StoreError::ReadDb { source })?;
        self.witness()
    }

    /// It was opened: nobody died of it.
    pub(super) fn settle(&self) {
        let _ = self.witness();
    }

    /// Writes down beside the database how far it has come, so that one which loses its end is found out.
    fn witness(&self) -> Result<(), StoreError> {
        let (_, next) = self.trees().ends().map_err(|source| StoreError::ReadDb { source })?;
        // It is not worth failing for: what was committed is committed.
        let _ = Witness::write(&self.lock, next);
        Ok(())
    }

    /// A database that turns out to be corrupt only now is not opened again: the next opener makes a new one. What it
    /// says at the end of the disk does not count.
    fn doubt(&self, error: StoreError) -> StoreError {
        if matches!(&error, StoreError::Commit { source, .. } if source.is_corrupt()) && !room::is_short(&self.path) {
            let _ = Witness::condemn(&self.lock);
        }
        error
    }

    /// Everything that happened, oldest first; only to this sandbox, if one is named.
    pub fn history(&self, of: Option<&Id>) -> Result<Vec<JournalEntry>, StoreError> {
        let wanted = |entry: &Result<JournalEntry, StoreError>| match (entry, of) {
            (Ok(entry), Some(id)) => entry.sandbox == *id,
            _ => true,
        };
        self.trees().entries().filter(wanted).collect()
    }

    /// What is remembered of every sandbox that was not deleted, by id.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, StoreError> {
        let mut snapshots = Vec::new();
        for name in self.trees().names() {
            snapshots.extend(self.trees().known(&name?)?.map(|(records, state)| join(records, state)));
        }
        Ok(snapshots)
    }

    /// What is remembered of this one.
    pub fn snapshot(&self, id: &Id) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.known(id)?.map(|(records, state)| join(records, state)))
    }

    /// What the user must be told of this opening: that the store was corrupt, and what was done.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    fn known(&self, id: &Id) -> Result<Option<(Records, State)>, StoreError> {
        self.trees().known(name_of(id.as_str()).as_bytes())
    }

    fn trees(&self) -> &Trees {
        self.trees.as_ref().expect("they are taken only when it is dropped")
    }
}

impl Drop for Db {
    /// First the database, then the lock that keeps others from opening it.
    fn drop(&mut self) {
        if let Some(trees) = self.trees.take() {
            trees.close(&self.path);
        }
        let _ = fs2::FileExt::unlock(&self.lock);
    }
}

fn join(records: Records, state: State) -> Snapshot {
    Snapshot { sandbox: records.sandbox, containers: records.containers, state }
}
