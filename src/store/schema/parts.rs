//! What the store keeps in another cut than the model's: half a snapshot, and a commit that waits.

use std::collections::BTreeMap;

use crate::model::Id;
use crate::model::record::{ContainerRecord, JournalEntry, SandboxRecord, Snapshot, State};

/// What could not be committed, as `store/pending` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Whose.
    pub id: Id,
    /// Of the sandbox that is meant; a later one of the same id is left alone.
    pub incarnation: String,
    /// What is to become of it.
    pub change: Change,
    /// What goes into the journal with it, oldest first.
    pub journal: Vec<JournalEntry>,
}

/// What a commit does to what is remembered of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Both halves of it.
    Put(Box<Snapshot>),
    /// The state alone: there was no room for the records, which have not changed.
    PutState(Box<State>),
    /// Nothing is remembered of it any more.
    Delete,
}

/// The immutable half of a snapshot, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// What no transition changes of it.
    pub sandbox: SandboxRecord,
    /// By id; the root container's is the sandbox's id.
    pub containers: BTreeMap<String, ContainerRecord>,
}
