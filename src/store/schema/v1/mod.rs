//! Version 1 of every stored shape. FIXED: see the module above before changing a letter.

mod hook;
mod limits;
mod scope;
mod upward;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use hook::HookRecordV1;
pub use limits::LimitsV1;
pub use scope::ScopeV1;

use super::version::UNCHANGED;
use crate::model::record::{Actor, PidNamespace, Reaper};
use crate::model::{Event, Id, Machine, Phase};

/// Nanoseconds since the Unix epoch, UTC.
type NanosV1 = i64;

/// What `sandbox.json` holds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep snapshot, version 1")]
pub struct SnapshotV1 {
    pub version: u32,
    pub sandbox: SandboxRecordV1,
    /// By id; the root container's is the sandbox's id.
    pub containers: BTreeMap<String, ContainerRecordV1>,
    pub state: StateV1,
}

/// The immutable half of a snapshot, as the store keeps it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep records, version 1")]
pub struct RecordsV1 {
    pub version: u32,
    pub sandbox: SandboxRecordV1,
    pub containers: BTreeMap<String, ContainerRecordV1>,
}

/// The changing half of a snapshot, as the store keeps it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep state, version 1")]
pub struct StoredStateV1 {
    pub version: u32,
    pub state: StateV1,
}

/// What the lock file holds while a transition is in flight.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep intent, version 1")]
pub struct IntentV1 {
    pub version: u32,
    pub seq: u64,
    pub sandbox: IdV1,
    /// Left out for the root container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<IdV1>,
    pub machine: MachineV1,
    pub from: PhaseV1,
    pub event: EventV1,
    pub to: PhaseV1,
    pub holder: ProcessRefV1,
    pub boot: BootV1,
    pub at: NanosV1,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<PathV1>,
}

/// One line of history.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep journal entry, version 1")]
pub struct JournalEntryV1 {
    pub version: u32,
    pub sandbox: IdV1,
    pub incarnation: String,
    pub container: IdV1,
    pub machine: MachineV1,
    pub seq: u64,
    pub from: PhaseV1,
    pub event: EventV1,
    pub to: PhaseV1,
    pub began: NanosV1,
    pub ended: NanosV1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitV1>,
    pub by: ActorV1,
    /// Since there are entries of signals; before and elsewhere there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalAskedV1>,
}

/// Who asked for which signal.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SignalAskedV1 {
    pub number: u8,
    pub uid: u32,
    pub caller: i32,
    pub program: String,
}

/// A commit that has to wait.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep pending commit, version 1")]
pub struct PendingV1 {
    pub version: u32,
    pub id: IdV1,
    pub incarnation: String,
    pub change: ChangeV1,
    pub journal: Vec<JournalEntryV1>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeV1 {
    Put(Box<SnapshotV1>),
    PutState(Box<StateV1>),
    Delete,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SandboxRecordV1 {
    pub id: IdV1,
    pub incarnation: String,
    pub supervisor: ProcessRefV1,
    pub boot: BootV1,
    pub pid_namespace: PidNamespaceV1,
    pub supervisor_cgroup: CgroupRecordV1,
    pub created: NanosV1,
    pub attached: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContainerRecordV1 {
    pub id: IdV1,
    pub init: ProcessRefV1,
    pub reaper: ReaperV1,
    pub bundle: PathV1,
    pub rootfs: PathV1,
    pub spec_digest: String,
    pub cgroup: CgroupRecordV1,
    pub created: NanosV1,
    pub owner: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StateV1 {
    pub seq: u64,
    pub sandbox: ContainerStateV1,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<String, ContainerStateV1>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContainerStateV1 {
    pub phase: PhaseV1,
    pub since: NanosV1,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitV1>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExitV1 {
    pub code: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    pub at: NanosV1,
    pub inferred: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessRefV1 {
    pub pid: i32,
    pub start_time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfd_inode: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BootV1 {
    pub boot_id: String,
    pub time_namespace: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CgroupRecordV1 {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<PathV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezer: Option<PathV1>,
    pub path: String,
}

/// A path as text; one that is not UTF-8 as its bytes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PathV1 {
    Text(String),
    Bytes { bytes: Vec<u8> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdV1(pub Id);

impl TryFrom<String> for IdV1 {
    type Error = crate::model::id::IdError;

    fn try_from(text: String) -> Result<IdV1, Self::Error> {
        Id::parse(&text).map(IdV1)
    }
}

impl From<IdV1> for String {
    fn from(id: IdV1) -> String {
        id.0.as_str().to_owned()
    }
}

impl JsonSchema for IdV1 {
    fn schema_name() -> Cow<'static, str> {
        "IdV1".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^[A-Za-z0-9_+.-]+$", "minLength": 1, "maxLength": 1024
        })
    }
}

/// An enum of the model, fixed under its names of version 1.
macro_rules! fixed {
    ($($fixed:ident = $model:ident { $($variant:ident),* })*) => {$(
        #[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $fixed { $($variant),* }

        impl From<$fixed> for $model {
            fn from(fixed: $fixed) -> $model {
                match fixed { $($fixed::$variant => $model::$variant),* }
            }
        }

        impl From<$model> for $fixed {
            fn from(model: $model) -> $fixed {
                match model { $($model::$variant => $fixed::$variant),* }
            }
        }
    )*};
}

fixed! {
    MachineV1 = Machine { Sandbox, Container }
    PhaseV1 = Phase { Absent, Creating, Booted, Running, Paused, Stopped }
    EventV1 = Event {
        CreateRequested, LaunchRequested, StartRequested, PauseRequested, ResumeRequested, SignalRequested,
        ExecRequested, ExecWhilePausedRequested, UpdateRequested, DeleteRequested, ForceDeleteRequested, CreatorGone,
        InitExited, SupervisorGone, SupervisorLost
    }
    ActorV1 = Actor { Command, Recovery }
    ReaperV1 = Reaper { Supervisor, Caller }
    PidNamespaceV1 = PidNamespace { Own, Foreign }
}
