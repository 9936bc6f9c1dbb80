//! What can fail in the store: each variant is one operation that was tried.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::schema::SchemaError;

/// What failed in the store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum StoreError {
    #[error("cannot make the state folder {path:?}")]
    MakeRoot { path: PathBuf, source: io::Error },
    #[error("cannot open the state folder {path:?}")]
    OpenRoot { path: PathBuf, source: io::Error },
    #[error("the state folder {path:?} is not a folder")]
    NotAFolder { path: PathBuf },
    #[error("will not use {path:?}: {why}, or choose another --root")]
    Untrusted { path: PathBuf, why: Distrust },
    #[error("will not use {path:?} because of {at:?} on the way to it: {why}, or choose another --root")]
    UntrustedWay { path: PathBuf, at: PathBuf, why: Distrust },
    #[error(
        "{path:?} is missing, and the store beside it is not: `sandkeep recover` makes it again and says what is lost"
    )]
    LostSandboxes { path: PathBuf },
    #[error("{path:?} is not a file: sandkeep made one there")]
    NotAFile { path: PathBuf },
    #[error("cannot list {path:?}")]
    List { path: PathBuf, source: io::Error },
    #[error("cannot open the sandbox folder {path:?}")]
    OpenFolder { path: PathBuf, source: io::Error },
    #[error("cannot prepare a sandbox folder in {path:?}")]
    Prepare { path: PathBuf, source: io::Error },
    #[error("the id {id:?} is already in use")]
    Exists { id: String },
    #[error("cannot claim the id {id:?}")]
    Claim { id: String, source: io::Error },
    #[error("cannot rename {path:?} away")]
    Retire { path: PathBuf, source: io::Error },
    #[error("cannot remove {path:?}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("cannot lock {path:?}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("cannot write down the intent in {path:?}")]
    WriteIntent { path: PathBuf, source: io::Error },
    #[error("cannot read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path:?}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path:?} is larger than the {cap} bytes that it may have")]
    TooLarge { path: PathBuf, cap: usize },
    #[error("{path:?} cannot be understood")]
    Malformed { path: PathBuf, source: SchemaError },
    #[error("{path:?} speaks of the sandbox {id:?}: it does not belong there")]
    Foreign { path: PathBuf, id: String },
    #[error("the store {path:?} could not be had within {waited:?}: another process holds it")]
    Held { path: PathBuf, waited: Duration },
    #[error("the store is not opened by a process that has yet to fork")]
    NotOpened,
    #[error("cannot start a thread for the store")]
    Thread { source: io::Error },
    #[error("cannot open the store {path:?}")]
    OpenDb { path: PathBuf, source: DbError },
    #[error("cannot read the store")]
    ReadDb { source: DbError },
    #[error("cannot commit to the store what happened to {id:?}")]
    Commit { id: String, source: DbError },
    #[error("the store holds something that cannot be understood")]
    MalformedDb { source: SchemaError },
    #[error("the store was made by a newer sandkeep (format {found:?})")]
    NewerFormat { found: String },
    #[error("cannot move the corrupt store {path:?} aside")]
    MoveAside { path: PathBuf, source: io::Error },
}

impl StoreError {
    /// There is no room: nothing is broken, and nothing must be thrown away for it.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::OpenDb { source, .. } | StoreError::Commit { source, .. } | StoreError::ReadDb { source } => {
                source.is_full()
            }
            StoreError::MakeRoot { source, .. }
            | StoreError::Prepare { source, .. }
            | StoreError::WriteIntent { source, .. }
            | StoreError::Write { source, .. } => is_full(source),
            _ => false,
        }
    }
}

/// The database said no.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum DbError {
    /// sled's own words for it say where it looked in vain, and no more.
    #[error("a checksum in it does not fit")]
    Checksum,
    #[error(transparent)]
    Sled(sled::Error),
    #[error("the database gave up: {0}")]
    Panicked(String),
    /// What it said may come of that alone.
    #[error("there is no room left, and the database said: {0}")]
    NoRoom(String),
}

impl DbError {
    /// No space, or no quota: it is not damaged.
    pub fn is_full(&self) -> bool {
        match self {
            DbError::Sled(sled::Error::Io(error)) => is_full(error),
            DbError::NoRoom(_) => true,
            _ => false,
        }
    }

    /// What is on disk cannot be what was written; anything that the machine did instead (no room, no permission, a
    /// broken disk) is not that.
    pub(super) fn is_corrupt(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match self {
            DbError::Sled(sled::Error::Io(error)) => {
                matches!(error.kind(), UnexpectedEof | InvalidData | InvalidInput)
            }
            DbError::NoRoom(_) => false,
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

/// Why something is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Their texts say it.
pub enum Distrust {
    Owner { owner: u32, mode: u32, we: u32 },
    Writable { owner: u32, mode: u32 },
    Link { owner: u32, we: u32 },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Owner { owner, mode, we } => {
                write!(f, "it belongs to uid {owner} (mode {mode:04o}), and we are uid {we}: be that user, chown it")
            }
            Distrust::Writable { owner, mode } => {
                write!(f, "others than its owner, uid {owner}, may write to it (mode {mode:04o}): chmod go-w it")
            }
            Distrust::Link { owner, we } => {
                write!(f, "it is a symbolic link that uid {owner} has put there, and we are uid {we}: remove it")
            }
        }
    }
}

/// No space, or no quota.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
