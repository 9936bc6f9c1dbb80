//! The unit of systemd that a container is. FIXED, as everything in `v1` is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UNCHANGED;
use crate::model::record::ScopeRecord;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "sandkeep scope, version 1", description = "The fixed shape of version 1.")]
pub struct ScopeV1 {
    pub version: u32,
    pub unit: String,
    /// `system` or `user`.
    pub bus: String,
}

impl From<&ScopeRecord> for ScopeV1 {
    fn from(scope: &ScopeRecord) -> ScopeV1 {
        ScopeV1 { version: UNCHANGED, unit: scope.unit.clone(), bus: scope.bus.clone() }
    }
}

impl From<ScopeV1> for ScopeRecord {
    fn from(fixed: ScopeV1) -> ScopeRecord {
        ScopeRecord { unit: fixed.unit, bus: fixed.bus }
    }
}
