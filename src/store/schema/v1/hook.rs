//! A line in the record of hooks. FIXED, as everything in `v1` is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IdV1, NanosV1, ProcessRefV1, UNCHANGED};
use crate::model::record::{HookEnd, HookKind, HookRecord, HookStep};

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
    pub at: NanosV1,
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

impl From<&HookRecord> for HookRecordV1 {
    fn from(record: &HookRecord) -> HookRecordV1 {
        HookRecordV1 {
            version: UNCHANGED,
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
        }
    }
}

impl From<HookRecordV1> for HookRecord {
    fn from(fixed: HookRecordV1) -> HookRecord {
        HookRecord {
            container: fixed.container.0,
            kind: match fixed.kind {
                HookKindV1::Prestart => HookKind::Prestart,
                HookKindV1::CreateRuntime => HookKind::CreateRuntime,
                HookKindV1::Poststart => HookKind::Poststart,
                HookKindV1::Poststop => HookKind::Poststop,
            },
            index: fixed.index,
            step: match fixed.step {
                HookStepV1::Claimed(process) => HookStep::Claimed(process.into()),
                HookStepV1::Begun(process) => HookStep::Begun(process.into()),
                HookStepV1::Ended(HookEndV1::Well) => HookStep::Ended(HookEnd::Well),
                HookStepV1::Ended(HookEndV1::Failed) => HookStep::Ended(HookEnd::Failed),
                HookStepV1::Ended(HookEndV1::Unseen) => HookStep::Ended(HookEnd::Unseen),
            },
            at: fixed.at,
        }
    }
}
