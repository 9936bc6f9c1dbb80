//! Version 1 of a line in the record of hooks. FROZEN, as everything in `v1` is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::v1::{IdV1, ProcessRefV1};
use super::{SchemaError, decode};
use crate::model::record::{HookEnd, HookKind, HookRecord, HookStep};

/// The largest, in bytes: an id has at most 1,024.
pub const MAX_HOOK_RECORD: usize = 4096;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep hook record, version 1")]
pub struct HookRecordV1 {
    pub version: u32,
    pub container: IdV1,
    pub kind: HookKindV1,
    /// Its place in the list of its kind, from 0.
    pub index: u32,
    pub step: HookStepV1,
    /// Nanoseconds since the Unix epoch, UTC.
    pub at: i64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HookKindV1 {
    Prestart,
    CreateRuntime,
    Poststart,
    Poststop,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookStepV1 {
    Claimed(ProcessRefV1),
    Begun(ProcessRefV1),
    Ended(HookEndV1),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookEndV1 {
    Well,
    Failed,
    Unseen,
}

pub fn encode_hook_record(record: &HookRecord) -> Vec<u8> {
    let shape = HookRecordV1 {
        version: VERSION,
        container: IdV1(record.container.clone()),
        kind: match record.kind {
            HookKind::Prestart => HookKindV1::Prestart,
            HookKind::CreateRuntime => HookKindV1::CreateRuntime,
            HookKind::Poststart => HookKindV1::Poststart,
            HookKind::Poststop => HookKindV1::Poststop,
        },
        index: record.index,
        step: match &record.step {
            HookStep::Claimed(process) => HookStepV1::Claimed(process.into()),
            HookStep::Begun(process) => HookStepV1::Begun(process.into()),
            HookStep::Ended(HookEnd::Well) => HookStepV1::Ended(HookEndV1::Well),
            HookStep::Ended(HookEnd::Failed) => HookStepV1::Ended(HookEndV1::Failed),
            HookStep::Ended(HookEnd::Unseen) => HookStepV1::Ended(HookEndV1::Unseen),
        },
        at: record.at,
    };
    serde_json::to_vec(&shape).expect("numbers, names and a string are always JSON")
}

pub fn decode_hook_record(bytes: &[u8]) -> Result<HookRecord, SchemaError> {
    decode::<HookRecordV1>(bytes, MAX_HOOK_RECORD).map(|shape| HookRecord {
        container: shape.container.0,
        kind: match shape.kind {
            HookKindV1::Prestart => HookKind::Prestart,
            HookKindV1::CreateRuntime => HookKind::CreateRuntime,
            HookKindV1::Poststart => HookKind::Poststart,
            HookKindV1::Poststop => HookKind::Poststop,
        },
        index: shape.index,
        step: match shape.step {
            HookStepV1::Claimed(process) => HookStep::Claimed(process.into()),
            HookStepV1::Begun(process) => HookStep::Begun(process.into()),
            HookStepV1::Ended(HookEndV1::Well) => HookStep::Ended(HookEnd::Well),
            HookStepV1::Ended(HookEndV1::Failed) => HookStep::Ended(HookEnd::Failed),
            HookStepV1::Ended(HookEndV1::Unseen) => HookStep::Ended(HookEnd::Unseen),
        },
        at: shape.at,
    })
}
