//! Bytes to the model's types, whatever version they were written in.
//!
//! Total: any bytes give a record or an error, and more than a record's cap is refused before it is parsed.

use super::parts::{Pending, Records};
use super::version::{SchemaError, VERSION, decode, decode_either, parse, version};
use super::{seal, v1, v2};
use crate::model::record::{HookRecord, Intent, JournalEntry, Limits, ScopeRecord, Snapshot, State};

/// The largest snapshot, in bytes; annotations make up most of a large one, and take no more than they did in a config.json
/// of the largest size (`spec::MAX_BYTES`).
pub const MAX_SNAPSHOT: usize = 40 << 20;
/// The largest intent, in bytes.
pub const MAX_INTENT: usize = 64 << 10;
/// The largest journal entry, in bytes.
pub const MAX_JOURNAL_ENTRY: usize = 64 << 10;
/// The largest record of a hook, in bytes: an id has at most 1,024.
pub const MAX_HOOK_RECORD: usize = 4096;
/// The largest limits, in bytes: a configuration's resources, and as much again for the way back.
pub const MAX_LIMITS: usize = 8 << 20;
/// The largest record of a unit of systemd, in bytes.
pub const MAX_SCOPE: usize = 4096;

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

/// Damage is an error: what a transition had come to would be guessed.
pub fn decode_intent(bytes: &[u8]) -> Result<Intent, SchemaError> {
    decode::<v1::IntentV1>(bytes, MAX_INTENT).map(Intent::from)
}

/// Of one that the database has.
pub fn decode_journal_entry(bytes: &[u8]) -> Result<JournalEntry, SchemaError> {
    decode::<v1::JournalEntryV1>(bytes, MAX_JOURNAL_ENTRY).map(JournalEntry::from)
}

/// The immutable half of a snapshot.
pub fn decode_records(bytes: &[u8]) -> Result<Records, SchemaError> {
    decode_either::<v1::RecordsV1, v2::RecordsV2>(bytes, MAX_SNAPSHOT).map(Records::from)
}

/// Of the half that every commit replaces.
pub fn decode_state(bytes: &[u8]) -> Result<State, SchemaError> {
    decode::<v1::StoredStateV1>(bytes, MAX_SNAPSHOT).map(|stored| stored.state.into())
}

/// Of one frame of `store/pending`.
pub fn decode_pending(bytes: &[u8]) -> Result<Pending, SchemaError> {
    decode_either::<v1::PendingV1, v2::PendingV2>(bytes, MAX_SNAPSHOT).map(Pending::from)
}

/// Of one frame of a `hooks` file.
pub fn decode_hook_record(bytes: &[u8]) -> Result<HookRecord, SchemaError> {
    decode::<v1::HookRecordV1>(bytes, MAX_HOOK_RECORD).map(HookRecord::from)
}

/// What an update wrote into the sandbox's folder.
pub fn decode_limits(bytes: &[u8]) -> Result<Limits, SchemaError> {
    decode::<v1::LimitsV1>(bytes, MAX_LIMITS).map(Limits::from)
}

/// What was written before systemd was asked.
pub fn decode_scope(bytes: &[u8]) -> Result<ScopeRecord, SchemaError> {
    decode::<v1::ScopeV1>(bytes, MAX_SCOPE).map(ScopeRecord::from)
}

#[cfg(test)]
mod tests {
    use super::super::parts::Change;
    use super::super::{encode_intent, encode_limits, encode_pending, encode_snapshot, samples};
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

    #[test]
    fn limits_of_a_newer_version_are_refused_by_its_number() {
        assert!(matches!(decode_limits(br#"{"version": 2}"#), Err(SchemaError::Newer(2))));
        assert!(matches!(decode_limits(b"{"), Err(SchemaError::Malformed(_))));
        let limits = Limits { seq: 5, resources: serde_json::json!({"pids": {"limit": 7}}), before: Vec::new() };
        assert_eq!(decode_limits(&encode_limits(&limits)).unwrap(), limits);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = (decode_snapshot(&bytes), decode_intent(&bytes), decode_journal_entry(&bytes));
            let _ = (decode_records(&bytes), decode_state(&bytes), decode_pending(&bytes), decode_hook_record(&bytes));
            let _ = (decode_limits(&bytes), decode_scope(&bytes));
        }
    }
}
