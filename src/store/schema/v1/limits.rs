//! What an update has made of a container's limits. FIXED, as everything in `v1` is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PathV1, UNCHANGED};
use crate::model::record::{FileValue, Limits};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep limits, version 1", description = "The fixed shape of version 1.")]
pub struct LimitsV1 {
    pub version: u32,
    /// Of the transition that set them.
    pub seq: u64,
    /// As `linux.resources` of the runtime specification.
    pub resources: Value,
    /// What the files of the cgroup said before, in the order in which they were written.
    pub before: Vec<FileValueV1>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileValueV1 {
    pub file: PathV1,
    pub value: String,
}

impl From<&Limits> for LimitsV1 {
    fn from(limits: &Limits) -> LimitsV1 {
        let before = limits.before.iter();
        let before = before.map(|known| FileValueV1 { file: (&known.file).into(), value: known.value.clone() });
        LimitsV1 { version: UNCHANGED, seq: limits.seq, resources: limits.resources.clone(), before: before.collect() }
    }
}

impl From<LimitsV1> for Limits {
    fn from(fixed: LimitsV1) -> Limits {
        let before = fixed.before.into_iter();
        let before = before.map(|FileValueV1 { file, value }| FileValue { file: file.into(), value });
        Limits { seq: fixed.seq, resources: fixed.resources, before: before.collect() }
    }
}
