//! `scope.json`: the unit of systemd that a sandbox's container is, written before the unit is asked for. Its absence means
//! that no systemd was asked.

use super::schema::{MAX_SCOPE, decode_scope, encode_scope};
use super::{Folder, StoreError};
use crate::model::record::ScopeRecord;

const NAME: &str = "scope.json";

impl Folder {
    /// Whole or not at all, by rename.
    pub fn write_scope(&self, scope: &ScopeRecord) -> Result<(), StoreError> {
        self.write_file(NAME, &encode_scope(scope))
    }

    /// None: no systemd was asked.
    pub fn read_scope(&self) -> Result<Option<ScopeRecord>, StoreError> {
        let Some(bytes) = self.read_file(NAME, MAX_SCOPE)? else { return Ok(None) };
        let decoded = decode_scope(&bytes);
        decoded.map(Some).map_err(|source| StoreError::Malformed { path: self.path().join(NAME), source })
    }
}
