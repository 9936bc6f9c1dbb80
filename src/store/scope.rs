//! `scope.json`: the unit of systemd that a sandbox's container is, written before the unit is asked for. Its absence means
//! that no systemd was asked.

use serde::{Deserialize, Serialize};

use super::schema::SchemaError;
use super::{Folder, StoreError};
use crate::model::objects;

const NAME: &str = "scope.json";
/// The largest such file, in bytes.
const LARGEST: usize = 4096;
/// The version that is written.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRecord {
    /// `libpod-web.scope`
    pub unit: String,
    /// Whose systemd: `system` or `user`.
    pub bus: String,
}

/// The frozen shape of version 1.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(title = "sandkeep scope, version 1")]
pub struct ScopeV1 {
    pub version: u32,
    pub unit: String,
    /// `system` or `user`.
    pub bus: String,
}

pub fn encode_scope(scope: &ScopeRecord) -> Vec<u8> {
    let shape = ScopeV1 { version: VERSION, unit: scope.unit.clone(), bus: scope.bus.clone() };
    serde_json::to_vec(&shape).expect("a number and two strings are always JSON")
}

/// Total: any bytes give a scope or an error. A newer version is refused by its number.
pub fn decode_scope(bytes: &[u8]) -> Result<ScopeRecord, SchemaError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if let Ok(Versioned { version: version @ 2.. }) = objects::from_slice(bytes) {
        return Err(SchemaError::Newer(version));
    }
    let shape: ScopeV1 = objects::from_slice(bytes).map_err(SchemaError::Malformed)?;
    Ok(ScopeRecord { unit: shape.unit, bus: shape.bus })
}

impl Folder {
    pub fn write_scope(&self, scope: &ScopeRecord) -> Result<(), StoreError> {
        self.write_file(NAME, &encode_scope(scope))
    }

    pub fn read_scope(&self) -> Result<Option<ScopeRecord>, StoreError> {
        let Some(bytes) = self.read_file(NAME, LARGEST)? else { return Ok(None) };
        let decoded = decode_scope(&bytes);
        decoded.map(Some).map_err(|source| StoreError::Malformed { path: self.path().join(NAME), source })
    }
}
