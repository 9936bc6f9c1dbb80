//! The database: the only place that speaks to sled.
//!
//! Five trees, written in one transaction and flushed: when that returns, all of it happened, and a crash before that
//! leaves none of it. `records` and `states` hold the two halves of each snapshot by id, `journal` the
//! entries by a number that grows, `index` the number by what an entry is about (so that writing one down twice is
//! writing it once), `meta` the format and the ends of the journal.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use sled::transaction::{
    ConflictableTransactionError, TransactionError, Transactional, TransactionalTree, UnabortableTransactionError,
};

use super::error::DbError;
use super::names::name_of;
use super::schema::{self, Records};
use super::{StoreError, pieces};
use crate::sys::patience;

use crate::model::record::{JournalEntry, Snapshot, State};

/// Ours is a few hundred kilobytes; sled's default would be a gigabyte.
const CACHE: u64 = 8 << 20;

const FORMAT_KEY: &[u8] = b"format";
const ENDS_KEY: &[u8] = b"journal";

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

    pub(super) fn put_state(state: &State) -> Write {
        Write::PutState(schema::encode_state(state))
    }
}

/// Closed to others: sled would make it as the umask says, and a folder that others may write to is never used.
fn make_folder(path: &Path) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
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
    /// Opens the database, or makes one. The caller keeps everybody else away from it.
    pub(super) fn open(path: &Path) -> Result<Trees, DbError> {
        make_folder(path).map_err(|error| DbError::Sled(error.into()))?;
        remove_unfinished_snapshots(path).map_err(|error| DbError::Sled(error.into()))?;
        let opened = caught(|| {
            let sled = sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None).open()?;
            Ok(Trees {
                records: sled.open_tree("records")?,
                states: sled.open_tree("states")?,
                journal: sled.open_tree("journal")?,
                index: sled.open_tree("index")?,
                meta: sled.open_tree("meta")?,
                sled,
            })
        });
        if opened.is_err() {
            // On a full disk, what was written of it is room for others.
            let _ = remove_unfinished_snapshots(path);
        }
        opened
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

    /// What is remembered of the sandbox with this name (`name_of` its id).
    pub(super) fn known(&self, name: &[u8]) -> Result<Option<(Records, State)>, StoreError> {
        let get =
            |tree: &sled::Tree| pieces::get(tree, name).map_err(|error| StoreError::ReadDb { source: error.into() });
        let (Some(records), Some(state)) = (get(&self.records)?, get(&self.states)?) else { return Ok(None) };
        let malformed = |source| StoreError::MalformedDb { source };
        Ok(Some((
            schema::decode_records(&records).map_err(malformed)?,
            schema::decode_state(&state).map_err(malformed)?,
        )))
    }

    /// The names of all sandboxes that are remembered, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = Result<Vec<u8>, StoreError>> {
        pieces::names(&self.records).map(|name| name.map_err(|error| StoreError::ReadDb { source: error.into() }))
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

    /// Counts the entries of a new journal from here on, not from 0.
    pub(super) fn count_from(&self, number: u64) -> Result<(), DbError> {
        caught(|| self.meta.insert(ENDS_KEY, join_ends(number, number)).map(drop))
    }

    /// One transaction over all trees; not flushed.
    pub(super) fn write(&self, id: &str, change: &Write, journal: &[JournalEntry], bound: u64) -> Result<(), DbError> {
        let entries: Vec<(Vec<u8>, Vec<u8>)> =
            journal.iter().map(|entry| (index_key(entry), schema::encode_journal_entry(entry))).collect();
        let trees = (&self.records, &self.states, &self.journal, &self.index, &self.meta);
        caught(|| {
            let done = trees.transaction(|(records, states, journal, index, meta)| {
                put(records, states, &name_of(id), change)?;
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
        let deadline = Instant::now() + patience::THREADS_OF_THE_STORE;
        while held.is_some() && descriptor_of(&file).is_some() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// At every opening sled writes a snapshot of its page table to `snap.<lsn>.generating`, then renames it. One that was
/// never renamed (no room, or a death) sorts after the good one; sled would read it in place of that, and call itself
/// corrupt. The log and the snapshot of before hold all that it could tell.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
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

fn put(records: &TransactionalTree, states: &TransactionalTree, name: &str, change: &Write) -> Step<()> {
    match change {
        Write::Put { records: new, state } => {
            pieces::put(records, name, new)?;
            pieces::put(states, name, state)
        }
        Write::PutState(state) => pieces::put(states, name, state),
        Write::Delete => {
            pieces::remove(records, name)?;
            pieces::remove(states, name)
        }
        Write::Nothing => Ok(()),
    }
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
    meta.insert(ENDS_KEY, join_ends(first, next))?;
    Ok(())
}

fn join_ends(first: u64, next: u64) -> Vec<u8> {
    [first.to_be_bytes(), next.to_be_bytes()].concat()
}

fn ends(bytes: Option<&[u8]>) -> (u64, u64) {
    let number = |at: usize| Some(u64::from_be_bytes(*bytes?.get(at..)?.first_chunk()?));
    let (first, next) = (number(0).unwrap_or(0), number(8).unwrap_or(0));
    (first.min(next), next)
}

fn index_key(entry: &JournalEntry) -> Vec<u8> {
    let JournalEntry { incarnation, seq, container, event, .. } = entry;
    // Keys are short, see `pieces`.
    let container = name_of(container.as_str());
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
