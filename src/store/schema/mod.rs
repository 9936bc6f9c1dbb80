//! Stored records as bytes: JSON with a schema version.
//!
//! Each version is a folder of frozen shapes: `v1` is never edited again once it has been released. A changed record
//! becomes a `vN` with a `From` upward, and new golden bytes under `state-schema/golden/`; a shape that did not change
//! keeps its version. Everything else speaks the model's types; only `latest` writes.
//!
//! Decoders are total: any bytes give a record or an error, and more than a record's cap is refused before it is
//! parsed. A record of a newer version is refused by its number, never guessed at.

mod hook_record;
mod latest;
#[cfg(test)]
pub(crate) mod samples;
mod seal;
pub mod v1;
pub mod v2;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::objects;
use crate::model::record::{ContainerRecord, Intent, JournalEntry, SandboxRecord, Snapshot, State};
pub use hook_record::{MAX_HOOK_RECORD, decode_hook_record, encode_hook_record};
pub use latest::{encode_intent, encode_journal_entry, encode_pending, encode_records, encode_snapshot, encode_state};

/// The version that is written of snapshots, records and pending commits.
pub const VERSION: u32 = 2;
/// The version of the others: as it always was.
const UNCHANGED: u32 = 1;

/// The largest snapshot, in bytes; annotations make up most of a large one, and take no more than they did in a config.json
/// of the largest size (`spec::MAX_BYTES`).
pub const MAX_SNAPSHOT: usize = 40 << 20;
/// The largest intent, in bytes.
pub const MAX_INTENT: usize = 64 << 10;
/// The largest journal entry, in bytes.
pub const MAX_JOURNAL_ENTRY: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("{0} bytes are more than the {1} that such a record may have")]
    TooLarge(usize, usize),
    #[error("it was written by a newer sandkeep (format version {0})")]
    Newer(u32),
    #[error("it is damaged: its checksum does not fit")]
    Checksum,
    #[error("it is damaged: nothing was ever written as version {0} in this form")]
    NoSuchVersion(u32),
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

/// Damage is an error: a snapshot tells whom to kill.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, SchemaError> {
    let sealed = match seal::of(bytes) {
        seal::Seal::Broken => return Err(SchemaError::Checksum),
        seal::Seal::Whole => true,
        seal::Seal::Absent => false,
    };
    let whole = match version(bytes, MAX_SNAPSHOT)? {
        1 if !sealed => parse::<v1::SnapshotV1>(bytes).map(v2::WholeV2::from),
        2 if sealed => parse::<v2::SnapshotV2>(bytes).map(v2::WholeV2::from),
        found if found > VERSION => Err(SchemaError::Newer(found)),
        found => Err(SchemaError::NoSuchVersion(found)),
    };
    whole.map(Snapshot::from)
}

pub fn decode_intent(bytes: &[u8]) -> Result<Intent, SchemaError> {
    decode::<v1::IntentV1>(bytes, MAX_INTENT).map(Intent::from)
}

pub fn decode_journal_entry(bytes: &[u8]) -> Result<JournalEntry, SchemaError> {
    decode::<v1::JournalEntryV1>(bytes, MAX_JOURNAL_ENTRY).map(JournalEntry::from)
}

pub fn decode_records(bytes: &[u8]) -> Result<Records, SchemaError> {
    decode_either::<v1::RecordsV1, v2::RecordsV2>(bytes).map(Records::from)
}

pub fn decode_state(bytes: &[u8]) -> Result<State, SchemaError> {
    decode::<v1::StoredStateV1>(bytes, MAX_SNAPSHOT).map(|stored| stored.state.into())
}

pub fn decode_pending(bytes: &[u8]) -> Result<Pending, SchemaError> {
    decode_either::<v1::PendingV1, v2::PendingV2>(bytes).map(Pending::from)
}

/// Every stored shape of the latest version, by the name of its file in `state-schema/`.
pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("snapshot", schemars::schema_for!(v2::SnapshotV2)),
        ("intent", schemars::schema_for!(v1::IntentV1)),
        ("journal-entry", schemars::schema_for!(v1::JournalEntryV1)),
        ("records", schemars::schema_for!(v2::RecordsV2)),
        ("state", schemars::schema_for!(v1::StoredStateV1)),
        ("pending", schemars::schema_for!(v2::PendingV2)),
        ("hook-record", schemars::schema_for!(hook_record::HookRecordV1)),
        ("exit-record", schemars::schema_for!(crate::model::exits::ExitRecordV1)),
        ("limits", schemars::schema_for!(super::limits::LimitsV1)),
        ("scope", schemars::schema_for!(super::scope::ScopeV1)),
    ]
}

/// A shape of which there is but one version.
fn decode<T: DeserializeOwned>(bytes: &[u8], cap: usize) -> Result<T, SchemaError> {
    match version(bytes, cap)? {
        UNCHANGED => parse(bytes),
        found if found > UNCHANGED => Err(SchemaError::Newer(found)),
        found => Err(SchemaError::NoSuchVersion(found)),
    }
}

/// A shape of which there are two.
fn decode_either<Old: DeserializeOwned, New: DeserializeOwned + From<Old>>(bytes: &[u8]) -> Result<New, SchemaError> {
    match version(bytes, MAX_SNAPSHOT)? {
        1 => parse::<Old>(bytes).map(New::from),
        2 => parse(bytes),
        found if found > VERSION => Err(SchemaError::Newer(found)),
        found => Err(SchemaError::NoSuchVersion(found)),
    }
}

/// The version is asked first of what does not fit, and of what fits by chance.
fn version(bytes: &[u8], cap: usize) -> Result<u32, SchemaError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if bytes.len() > cap {
        return Err(SchemaError::TooLarge(bytes.len(), cap));
    }
    parse(bytes).map(|Versioned { version }| version)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SchemaError> {
    objects::from_slice(bytes).map_err(SchemaError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_its_number() {
        let error = decode_snapshot(br#"{"version": 3, "something": "else"}"#).unwrap_err();
        assert!(matches!(error, SchemaError::Newer(3)), "{error}");
        let error = decode_intent(br#"{"version": 2}"#).unwrap_err();
        assert!(matches!(error, SchemaError::Newer(2)), "{error}");
    }

    #[test]
    fn what_is_larger_than_its_cap_is_not_even_parsed() {
        assert!(matches!(decode_intent(&vec![b' '; MAX_INTENT + 1]), Err(SchemaError::TooLarge(..))));
    }

    #[test]
    fn no_bit_of_a_snapshot_changes_unseen() {
        let bytes = encode_snapshot(&samples::snapshot("web"));
        assert_eq!(decode_snapshot(&bytes).unwrap(), samples::snapshot("web"));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_snapshot(&damaged).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
        }
        for kept in 0..bytes.len() {
            assert!(decode_snapshot(&bytes[..kept]).is_err(), "{kept} bytes");
        }
    }

    #[test]
    fn a_snapshot_of_version_2_without_its_checksum_is_damaged() {
        let text = String::from_utf8(encode_snapshot(&samples::snapshot("web"))).unwrap();
        let bare = format!("{{{}", &text[text.find("\"version\"").unwrap()..]);
        assert!(matches!(decode_snapshot(bare.as_bytes()), Err(SchemaError::NoSuchVersion(2))));
    }

    #[test]
    fn a_list_is_not_taken_for_a_record() {
        let intent = String::from_utf8(encode_intent(&samples::intent("web"))).unwrap();
        let holder = r#"{"pid":41,"start_time":123456,"pidfd_inode":77}"#;
        assert!(intent.contains(holder));
        assert!(decode_intent(intent.replace(holder, "[41,123456,77]").as_bytes()).is_err());
        let mut pending = Pending {
            id: samples::id("web"),
            incarnation: String::new(),
            change: Change::Put(Box::new(samples::snapshot("web"))),
            journal: Vec::new(),
        };
        let text = String::from_utf8(encode_pending(&pending)).unwrap();
        let supervisor = r#"{"pid":42,"start_time":123456,"pidfd_inode":77}"#;
        assert!(text.contains(supervisor));
        assert!(decode_pending(text.replace(supervisor, "[42,123456,77]").as_bytes()).is_err());
        pending.change = Change::Delete;
        assert_eq!(decode_pending(&encode_pending(&pending)).unwrap(), pending);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = (decode_snapshot(&bytes), decode_intent(&bytes), decode_journal_entry(&bytes));
            let _ = (decode_records(&bytes), decode_state(&bytes), decode_pending(&bytes), decode_hook_record(&bytes));
        }
    }
}
