//! The database: the only place that speaks to sled.
//!
//! Five trees, written in one transaction and flushed: when [`Db::commit`] returns, all of it happened, and a crash
//! before that leaves none of it. `records` and `states` hold the two halves of each snapshot by id, `journal` the
//! entries by a number that grows, `index` the number by what an entry is about (so that writing one down twice is
//! writing it once), `meta` the format and the ends of the journal.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sled::transaction::{
    ConflictableTransactionError, TransactionError, Transactional, TransactionalTree, UnabortableTransactionError,
};

use super::StoreError;
use super::error::is_full;
use super::schema::{self, Change, Pending, Records};
use crate::model::Id;
use crate::model::record::{JournalEntry, Snapshot, State};

/// How many journal entries are kept.
const JOURNAL_BOUND: u64 = 10_000;
/// Ours is a few hundred kilobytes; sled's default would be a gigabyte.
const CACHE: u64 = 8 << 20;

const FORMAT_KEY: &[u8] = b"format";
const ENDS_KEY: &[u8] = b"journal";

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
    pub id: &'a Id,
    /// None: the sandbox is deleted.
    pub snapshot: Option<&'a Snapshot>,
    pub journal: &'a [JournalEntry],
}

/// The database said no.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// sled's own words for it say where it looked in vain, and no more.
    #[error("a checksum in it does not fit")]
    Checksum,
    #[error(transparent)]
    Sled(sled::Error),
    #[error("the database gave up: {0}")]
    Panicked(String),
}

impl DbError {
    pub fn is_full(&self) -> bool {
        matches!(self, DbError::Sled(sled::Error::Io(error)) if is_full(error))
    }

    /// What is on disk cannot be what was written; anything that the machine did instead (no room, no permission, a
    /// broken disk) is not that.
    pub(super) fn is_corrupt(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match self {
            DbError::Sled(sled::Error::Io(error)) => {
                matches!(error.kind(), UnexpectedEof | InvalidData | InvalidInput)
            }
            DbError::Checksum | DbError::Sled(_) | DbError::Panicked(_) => true,
        }
    }
}

impl From<sled::Error> for DbError {
    fn from(error: sled::Error) -> DbError {
        match error {
            sled::Error::Corruption { .. } => DbError::Checksum,
            other => DbError::Sled(other),
        }
    }
}

impl Db {
    pub(super) fn new(trees: Trees, path: PathBuf, lock: File, notices: Vec<String>) -> Db {
        Db { trees: Some(trees), path, lock, notices, journal_bound: JOURNAL_BOUND }
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
        let _ = super::opening::Witness::write(&self.lock, next);
        Ok(())
    }

    /// A database that turns out to be corrupt only now is not opened again: the next opener makes a new one.
    fn doubt(&self, error: StoreError) -> StoreError {
        if matches!(&error, StoreError::Commit { source, .. } if source.is_corrupt()) {
            let _ = super::opening::Witness::condemn(&self.lock);
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
        for row in &self.trees().records {
            let (id, _) = row.map_err(|error| StoreError::ReadDb { source: error.into() })?;
            let Some((records, state)) = self.trees().known(&id)? else { continue };
            snapshots.push(join(records, state));
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
        self.trees().known(id.as_str().as_bytes())
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

/// What happens to the two halves of a snapshot, as bytes.
pub(super) enum Write {
    Put { records: Vec<u8>, state: Vec<u8> },
    PutState(Vec<u8>),
    Delete,
    Nothing,
}

impl Write {
    pub(super) fn put(snapshot: &Snapshot) -> Write {
        let records = Records { sandbox: snapshot.sandbox.clone(), containers: snapshot.containers.clone() };
        Write::Put { records: schema::encode_records(&records), state: schema::encode_state(&snapshot.state) }
    }

    fn put_state(state: &State) -> Write {
        Write::PutState(schema::encode_state(state))
    }
}

pub(super) struct Trees {
    sled: sled::Db,
    records: sled::Tree,
    states: sled::Tree,
    journal: sled::Tree,
    index: sled::Tree,
    meta: sled::Tree,
}

impl Trees {
    /// Opens the database, or makes one.
    pub(super) fn open(path: &Path) -> Result<Trees, DbError> {
        caught(|| {
            let sled = sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None).open()?;
            Ok(Trees {
                records: sled.open_tree("records")?,
                states: sled.open_tree("states")?,
                journal: sled.open_tree("journal")?,
                index: sled.open_tree("index")?,
                meta: sled.open_tree("meta")?,
                sled,
            })
        })
    }

    /// Damage that sled does not notice shows as an empty database.
    pub(super) fn is_marked(&self) -> Result<bool, DbError> {
        caught(|| self.meta.contains_key(FORMAT_KEY))
    }

    pub(super) fn mark(&self) -> Result<(), DbError> {
        caught(|| self.meta.insert(FORMAT_KEY, &schema::VERSION.to_be_bytes()))?;
        self.flush()
    }

    pub(super) fn flush(&self) -> Result<(), DbError> {
        caught(|| self.sled.flush().map(drop))
    }

    fn known(&self, id: &[u8]) -> Result<Option<(Records, State)>, StoreError> {
        let get = |tree: &sled::Tree| tree.get(id).map_err(|error| StoreError::ReadDb { source: error.into() });
        let (Some(records), Some(state)) = (get(&self.records)?, get(&self.states)?) else { return Ok(None) };
        let malformed = |source| StoreError::MalformedDb { source };
        Ok(Some((
            schema::decode_records(&records).map_err(malformed)?,
            schema::decode_state(&state).map_err(malformed)?,
        )))
    }

    /// Every entry of the journal, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<JournalEntry, StoreError>> {
        self.journal.iter().map(|row| {
            let (_, bytes) = row.map_err(|error| StoreError::ReadDb { source: error.into() })?;
            schema::decode_journal_entry(&bytes).map_err(|source| StoreError::MalformedDb { source })
        })
    }

    /// The numbers of the oldest journal entry and of the next one.
    pub(super) fn ends(&self) -> Result<(u64, u64), DbError> {
        caught(|| Ok(ends(self.meta.get(ENDS_KEY)?.as_deref())))
    }

    /// One transaction over all trees; not flushed.
    pub(super) fn write(&self, id: &str, change: &Write, journal: &[JournalEntry], bound: u64) -> Result<(), DbError> {
        let entries: Vec<(Vec<u8>, Vec<u8>)> =
            journal.iter().map(|entry| (index_key(entry), schema::encode_journal_entry(entry))).collect();
        let trees = (&self.records, &self.states, &self.journal, &self.index, &self.meta);
        caught(|| {
            let done = trees.transaction(|(records, states, journal, index, meta)| {
                put(records, states, id, change)?;
                append(journal, index, meta, &entries, bound)?;
                Ok::<(), ConflictableTransactionError<()>>(())
            });
            match done {
                Ok(()) => Ok(()),
                Err(TransactionError::Storage(error)) => Err(error),
                Err(TransactionError::Abort(())) => unreachable!("nothing in the transaction aborts it"),
            }
        })
    }

    /// Lets go of the database. sled's own lock is released aloud: a child that inherited it would keep it otherwise.
    pub(super) fn close(self, path: &Path) {
        let file = path.join("db");
        let held = descriptor_of(&file);
        if let Some(descriptor) = held {
            unlock_descriptor(descriptor);
        }
        drop(self);
        // The last reference may be in the hands of one of sled's threads for a moment more.
        let deadline = Instant::now() + Duration::from_secs(1);
        while held.is_some() && descriptor_of(&file).is_some() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// sled panics on some kinds of damage: that is an answer like any other, where panics can be caught.
fn caught<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, DbError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(DbError::from),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why");
            Err(DbError::Panicked(said.to_owned()))
        }
    }
}

type Step<T> = Result<T, UnabortableTransactionError>;

fn put(records: &TransactionalTree, states: &TransactionalTree, id: &str, change: &Write) -> Step<()> {
    match change {
        Write::Put { records: new, state } => {
            // Records never change; they are written when a container is made or goes.
            if records.get(id)?.as_deref() != Some(new) {
                records.insert(id, new.as_slice())?;
            }
            states.insert(id, state.as_slice())?;
        }
        Write::PutState(state) => {
            states.insert(id, state.as_slice())?;
        }
        Write::Delete => {
            records.remove(id)?;
            states.remove(id)?;
        }
        Write::Nothing => {}
    }
    Ok(())
}

fn append(
    journal: &TransactionalTree,
    index: &TransactionalTree,
    meta: &TransactionalTree,
    entries: &[(Vec<u8>, Vec<u8>)],
    bound: u64,
) -> Step<()> {
    let (mut first, mut next) = ends(meta.get(ENDS_KEY)?.as_deref());
    for (about, entry) in entries {
        if index.get(about)?.is_some() {
            continue;
        }
        journal.insert(&next.to_be_bytes(), entry.as_slice())?;
        index.insert(about.as_slice(), &next.to_be_bytes())?;
        next += 1;
    }
    while next - first > bound {
        if let Some(oldest) = journal.remove(&first.to_be_bytes())?
            && let Ok(entry) = schema::decode_journal_entry(&oldest)
        {
            index.remove(index_key(&entry))?;
        }
        first += 1;
    }
    meta.insert(ENDS_KEY, [first.to_be_bytes(), next.to_be_bytes()].concat())?;
    Ok(())
}

fn ends(bytes: Option<&[u8]>) -> (u64, u64) {
    let number = |at: usize| Some(u64::from_be_bytes(*bytes?.get(at..)?.first_chunk()?));
    let (first, next) = (number(0).unwrap_or(0), number(8).unwrap_or(0));
    (first.min(next), next)
}

fn index_key(entry: &JournalEntry) -> Vec<u8> {
    let JournalEntry { incarnation, seq, container, event, .. } = entry;
    format!("{incarnation}/{seq:020}/{container}/{event}").into_bytes()
}

/// Which of our descriptors is this file.
fn descriptor_of(file: &Path) -> Option<i32> {
    let file = file.canonicalize().ok()?;
    fs::read_dir("/proc/self/fd").ok()?.flatten().find_map(|entry| {
        (fs::read_link(entry.path()).ok()? == file).then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

/// The descriptor is sled's, which hands none out: there is nothing to own here.
#[allow(deprecated)]
fn unlock_descriptor(descriptor: i32) {
    let _ = nix::fcntl::flock(descriptor, nix::fcntl::FlockArg::Unlock);
}
