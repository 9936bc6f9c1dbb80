//! Stored records as bytes: JSON with a schema version.
//!
//! Each version is a folder of frozen shapes: `v1` is never edited again once it has been released. A changed record
//! becomes a `vN` with a `From` upward, and new golden bytes under `state-schema/golden/`. Everything else speaks
//! the model's types; only [`latest`] writes.
//!
//! Decoders are total: any bytes give a record or an error, and more than a record's cap is refused before it is
//! parsed. A record of a newer version is refused by its number, never guessed at.

mod hook_record;
mod latest;
#[cfg(test)]
pub(crate) mod samples;
pub mod v1;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::record::{ContainerRecord, Intent, JournalEntry, SandboxRecord, Snapshot, State};
pub use hook_record::{MAX_HOOK_RECORD, decode_hook_record, encode_hook_record};
pub use latest::{encode_intent, encode_journal_entry, encode_pending, encode_records, encode_snapshot, encode_state};

/// The version that is written.
pub const VERSION: u32 = 1;

/// The largest snapshot, in bytes; annotations make up most of a large one.
pub const MAX_SNAPSHOT: usize = 16 << 20;
/// The largest intent, in bytes.
pub const MAX_INTENT: usize = 64 << 10;
/// The largest journal entry, in bytes.
pub const MAX_JOURNAL_ENTRY: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("{0} bytes are more than the {1} that such a record may have")]
    TooLarge(usize, usize),
    #[error("it was written by a newer sandkeep (format version {0}; this one reads up to {VERSION})")]
    Newer(u32),
    #[error("it is not a record that sandkeep wrote")]
    Malformed(#[source] serde_json::Error),
}

/// What could not be committed, as `store/pending` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub id: crate::model::Id,
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
    pub containers: std::collections::BTreeMap<String, ContainerRecord>,
}

pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, SchemaError> {
    decode::<v1::SnapshotV1>(bytes, MAX_SNAPSHOT).map(Snapshot::from)
}

pub fn decode_intent(bytes: &[u8]) -> Result<Intent, SchemaError> {
    decode::<v1::IntentV1>(bytes, MAX_INTENT).map(Intent::from)
}

pub fn decode_journal_entry(bytes: &[u8]) -> Result<JournalEntry, SchemaError> {
    decode::<v1::JournalEntryV1>(bytes, MAX_JOURNAL_ENTRY).map(JournalEntry::from)
}

pub fn decode_records(bytes: &[u8]) -> Result<Records, SchemaError> {
    decode::<v1::RecordsV1>(bytes, MAX_SNAPSHOT).map(Records::from)
}

pub fn decode_state(bytes: &[u8]) -> Result<State, SchemaError> {
    decode::<v1::StoredStateV1>(bytes, MAX_SNAPSHOT).map(|stored| stored.state.into())
}

pub fn decode_pending(bytes: &[u8]) -> Result<Pending, SchemaError> {
    decode::<v1::PendingV1>(bytes, MAX_SNAPSHOT).map(Pending::from)
}

/// Every stored shape of the latest version, by the name of its file in `state-schema/`.
pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("snapshot", schemars::schema_for!(v1::SnapshotV1)),
        ("intent", schemars::schema_for!(v1::IntentV1)),
        ("journal-entry", schemars::schema_for!(v1::JournalEntryV1)),
        ("records", schemars::schema_for!(v1::RecordsV1)),
        ("state", schemars::schema_for!(v1::StoredStateV1)),
        ("pending", schemars::schema_for!(v1::PendingV1)),
        ("hook-record", schemars::schema_for!(hook_record::HookRecordV1)),
        ("exit-record", schemars::schema_for!(crate::model::exits::ExitRecordV1)),
        ("limits", schemars::schema_for!(super::limits::LimitsV1)),
        ("scope", schemars::schema_for!(super::scope::ScopeV1)),
    ]
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn decode<T: DeserializeOwned>(bytes: &[u8], cap: usize) -> Result<T, SchemaError> {
    if bytes.len() > cap {
        return Err(SchemaError::TooLarge(bytes.len(), cap));
    }
    let whole = serde_json::from_slice::<T>(bytes);
    // The version is asked first of what does not fit, and of what fits by chance.
    match serde_json::from_slice::<Versioned>(bytes) {
        Ok(Versioned { version }) if version > VERSION => Err(SchemaError::Newer(version)),
        _ => whole.map_err(SchemaError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_its_number() {
        let error = decode_snapshot(br#"{"version": 2, "something": "else"}"#).unwrap_err();
        assert!(matches!(error, SchemaError::Newer(2)), "{error}");
    }

    #[test]
    fn what_is_larger_than_its_cap_is_not_even_parsed() {
        assert!(matches!(decode_intent(&vec![b' '; MAX_INTENT + 1]), Err(SchemaError::TooLarge(..))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = (decode_snapshot(&bytes), decode_intent(&bytes), decode_journal_entry(&bytes));
            let _ = (decode_records(&bytes), decode_state(&bytes), decode_pending(&bytes), decode_hook_record(&bytes));
        }
    }
}
