//! What the store keeps in another cut than the model's: half a snapshot, and a commit that waits.

use std::collections::BTreeMap;

use crate::model::Id;
use crate::model::record::{ContainerRecord, JournalEntry, SandboxRecord, Snapshot, State};

/// What could not be committed, as `store/pending` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub id: Id,
    /// Of the sandbox that is meant; a later one of the same id is left alone.
    pub incarnation: String,
    pub change: Change,
    pub journal: Vec<JournalEntry>,
}

/// What a commit does to what is remembered of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Box<Snapshot>),
    /// The state alone: there was no room for the records, which have not changed.
    PutState(Box<State>),
    Delete,
}

/// The immutable half of a snapshot, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    pub sandbox: SandboxRecord,
    pub containers: BTreeMap<String, ContainerRecord>,
}
