//! The stages of a birth as the engine knows them: what each gives, and what is left of one that fails.

use std::path::PathBuf;

use crate::engine::{EngineError, Pace};
use crate::model::record::{ContainerRecord, SandboxRecord};
use crate::model::{Id, Make};
use crate::store::{Folder, Guard};

/// What a birth starts from: a prepared folder that has no name yet.
pub struct NewSandbox {
    /// As the caller gave it; nobody has it yet.
    pub id: Id,
    /// Without a name until the claim.
    pub folder: Folder,
    /// The folder's lock, held since it was made.
    pub guard: Guard,
    /// The cgroups that will be made; named in the intent, so that a crash cannot leak them.
    pub cgroups: Vec<PathBuf>,
}

/// What has come to be so far, and the one step that leads on from it.
pub trait Stage: Sized {
    /// The effect of the table's row.
    const STEP: Make;
    /// What comes of it.
    type Next;
    /// What there is to be taken back if it fails.
    type Left: Left;

    /// A step that fails gives back all that is there by then, what it has made itself by halves included.
    fn advance(self) -> Advanced<Self::Next, Self::Left>;
}

/// What comes next; or what is left, and why nothing does.
pub type Advanced<N, L> = Result<N, (L, <L as Left>::Error)>;

pub(super) type Attempt<T, L> = Result<T, Unborn<<L as Left>::Error>>;

/// A stage at which every process is known.
pub trait OnRecord: Stage + Into<<Self as Stage>::Left> {
    /// Published at once: hooks ask for the state, and recovery for the pids.
    fn records(&self) -> (SandboxRecord, ContainerRecord);

    /// Whether somebody else's programs run before the next: then the store is opened only afterwards, since a slow hook must
    /// not keep other sandboxes from it.
    fn pace(&self) -> Pace;
}

/// The last one.
pub trait Born {
    /// With what was not known of it when its processes were.
    fn container(&self) -> ContainerRecord;
}

/// What is to be taken back of a birth that failed.
pub trait Left {
    /// Why a step failed, or could not be taken back.
    type Error: std::error::Error + 'static;

    /// Last first. What cannot be taken back stops nothing else from it.
    fn take_back(self, poststop: Poststop) -> Undone<Self::Error>;
}

/// Whether the container had come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poststop {
    /// Its poststop hooks run once everything else is taken back.
    Owed,
    /// Nobody was ever shown it.
    NotOwed,
}

/// What became of taking a birth back.
pub struct Undone<E> {
    /// An error: something of it is still there, and the intent stays.
    pub outcome: Result<(), E>,
    /// What the user must be told all the same.
    pub warnings: Vec<String>,
}

/// Why there is no container, and what went wrong besides.
#[derive(Debug)]
pub struct Unborn<E: std::error::Error + 'static> {
    /// The first thing that went wrong.
    pub why: EngineError<E>,
    /// What the user must be told besides.
    pub warnings: Vec<String>,
}

impl<E: std::error::Error + 'static, W: Into<EngineError<E>>> From<W> for Unborn<E> {
    fn from(why: W) -> Unborn<E> {
        Unborn { why: why.into(), warnings: Vec::new() }
    }
}
