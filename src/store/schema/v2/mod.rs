//! Version 2 of the stored shapes that changed after version 1. FIXED: see the module above before changing a letter.
//!
//! New in it: the root of a container, as its init saw it; and the checksum of the published snapshot, which is the
//! first field of its file. What is not here is still of version 1.

mod upward;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::v1::{CgroupRecordV1, IdV1, JournalEntryV1, PathV1, ProcessRefV1, ReaperV1, SandboxRecordV1, StateV1};

/// What `sandbox.json` holds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep snapshot, version 2")]
pub struct SnapshotV2 {
    /// CRC-32 (IEEE) of every byte of the file that follows these eight lower-case hex digits. The first field.
    #[schemars(regex(pattern = "^[0-9a-f]{8}$"))]
    pub crc32: String,
    pub version: u32,
    pub sandbox: SandboxRecordV1,
    /// By id; the root container's is the sandbox's id.
    pub containers: BTreeMap<String, ContainerRecordV2>,
    pub state: StateV1,
}

/// The immutable half of a snapshot, as the store keeps it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep records, version 2")]
pub struct RecordsV2 {
    pub version: u32,
    pub sandbox: SandboxRecordV1,
    pub containers: BTreeMap<String, ContainerRecordV2>,
}

/// A commit that has to wait.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep pending commit, version 2")]
pub struct PendingV2 {
    pub version: u32,
    pub id: IdV1,
    pub incarnation: String,
    pub change: ChangeV2,
    pub journal: Vec<JournalEntryV1>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeV2 {
    Put(Box<WholeV2>),
    PutState(Box<StateV1>),
    Delete,
}

/// Both halves of a snapshot; the record around it has a checksum of its own.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WholeV2 {
    pub sandbox: SandboxRecordV1,
    pub containers: BTreeMap<String, ContainerRecordV2>,
    pub state: StateV1,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContainerRecordV2 {
    pub id: IdV1,
    pub init: ProcessRefV1,
    /// Left out of what was written before there was such a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootIdentityV2>,
    pub reaper: ReaperV1,
    pub bundle: PathV1,
    pub rootfs: PathV1,
    pub spec_digest: String,
    pub cgroup: CgroupRecordV1,
    /// Nanoseconds since the Unix epoch, UTC.
    pub created: i64,
    pub owner: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// As statx(2) says it of `/` inside.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RootIdentityV2 {
    pub mount_id: u64,
    pub device: u64,
    pub inode: u64,
}
