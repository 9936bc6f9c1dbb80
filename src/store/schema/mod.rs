//! Stored records as bytes: JSON with a schema version.
//!
//! ```text
//!  bytes ─ seal, version ─▶ v1 ─▶ v2 ─ decode ─▶ the model's types ─ latest ─▶ bytes
//! ```
//!
//! Each version is a folder of fixed shapes: `v1` is never edited again once it has been released. A changed record
//! becomes a `vN` with a `From` upward, and new golden bytes under `state-schema/golden/`; a shape that did not change
//! keeps its version. Everything else speaks the model's types; only `latest` writes.
//!
//! A record of a newer version is refused by its number, never guessed at. One shape stands elsewhere: the supervisor
//! writes how containers ended and may not know this layer, so that record is in `model::exits`.

mod decode;
mod latest;
mod parts;
#[cfg(test)]
pub(crate) mod samples;
mod seal;
mod v1;
mod v2;
mod version;

pub use decode::{
    MAX_HOOK_RECORD, MAX_INTENT, MAX_LIMITS, MAX_SCOPE, MAX_SNAPSHOT, decode_hook_record, decode_intent,
    decode_journal_entry, decode_limits, decode_pending, decode_records, decode_scope, decode_snapshot, decode_state,
};
pub use latest::{
    encode_hook_record, encode_intent, encode_journal_entry, encode_limits, encode_pending, encode_records,
    encode_scope, encode_snapshot, encode_state,
};
pub use parts::{Change, Pending, Records};
pub use version::{SchemaError, VERSION};

/// Every stored shape of the latest version, by the name of its file in `state-schema/`.
pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
    vec![
        ("snapshot", schemars::schema_for!(v2::SnapshotV2)),
        ("intent", schemars::schema_for!(v1::IntentV1)),
        ("journal-entry", schemars::schema_for!(v1::JournalEntryV1)),
        ("records", schemars::schema_for!(v2::RecordsV2)),
        ("state", schemars::schema_for!(v1::StoredStateV1)),
        ("pending", schemars::schema_for!(v2::PendingV2)),
        ("hook-record", schemars::schema_for!(v1::HookRecordV1)),
        ("exit-record", schemars::schema_for!(crate::model::exits::ExitRecordV1)),
        ("limits", schemars::schema_for!(v1::LimitsV1)),
        ("scope", schemars::schema_for!(v1::ScopeV1)),
    ]
}
