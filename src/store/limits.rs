//! What `update` has made of a container's limits: `limits.json`, and `limits.next.json` while one is under way.
//!
//! ```text
//!  begin_limits ──▶ (the cgroup is written) ──▶ keep_limits: limits.next.json becomes limits.json
//!                              └─ failed, or died ──▶ (what was there is written again) ──▶ drop_limits
//! ```
//!
//! While `limits.next.json` is there, the cgroup may hold any of the old and the new values, and the file says how to go
//! back. Its rename is what makes an update complete: `limits.json` names the transition that it belongs to.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::SchemaError;
use super::schema::v1::PathV1;
use super::{Folder, StoreError};
use crate::model::objects;
use crate::model::record::FileValue;

const KEPT: &str = "limits.json";
const NEXT: &str = "limits.next.json";

/// The largest such file, in bytes: a configuration's resources, and as much again for the way back.
pub const MAX_LIMITS: usize = 8 << 20;

/// The version that is written.
const VERSION: u32 = 1;

/// The limits of a container after an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of the transition that set them.
    pub seq: u64,
    /// All that have been asked for so far: the `linux.resources` that a later update starts from.
    pub resources: Value,
    /// What the files of the cgroup said before, in the order in which they were written.
    pub before: Vec<FileValue>,
}

/// The frozen shape of version 1.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(title = "sandkeep limits, version 1")]
pub struct LimitsV1 {
    pub version: u32,
    /// Of the transition that set them.
    pub seq: u64,
    /// As `linux.resources` of the runtime specification.
    pub resources: Value,
    /// What the files of the cgroup said before, in the order in which they were written.
    pub before: Vec<FileValueV1>,
}

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FileValueV1 {
    pub file: PathV1,
    pub value: String,
}

pub fn encode_limits(limits: &Limits) -> Vec<u8> {
    let before = limits
        .before
        .iter()
        .map(|FileValue { file, value }| FileValueV1 { file: PathV1::from(file), value: value.clone() });
    let shape =
        LimitsV1 { version: VERSION, seq: limits.seq, resources: limits.resources.clone(), before: before.collect() };
    serde_json::to_vec(&shape).expect("numbers, strings and JSON are always JSON")
}

/// Total: any bytes give limits or an error. A newer version is refused by its number.
pub fn decode_limits(bytes: &[u8]) -> Result<Limits, SchemaError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if bytes.len() > MAX_LIMITS {
        return Err(SchemaError::TooLarge(bytes.len(), MAX_LIMITS));
    }
    if let Ok(Versioned { version: version @ 2.. }) = objects::from_slice(bytes) {
        return Err(SchemaError::Newer(version));
    }
    let shape: LimitsV1 = objects::from_slice(bytes).map_err(SchemaError::Malformed)?;
    let before = shape.before.into_iter().map(|FileValueV1 { file, value }| FileValue { file: file.into(), value });
    Ok(Limits { seq: shape.seq, resources: shape.resources, before: before.collect() })
}

impl From<PathV1> for PathBuf {
    fn from(path: PathV1) -> PathBuf {
        match path {
            PathV1::Text(text) => text.into(),
            PathV1::Bytes { bytes } => OsString::from_vec(bytes).into(),
        }
    }
}

impl Folder {
    /// From here on recovery can take these limits back; before, nothing of them was written anywhere.
    pub fn begin_limits(&self, limits: &Limits) -> Result<(), StoreError> {
        self.write_file(NEXT, &encode_limits(limits))
    }

    /// Once this returns, recovery completes the update; before, it takes it back.
    pub fn keep_limits(&self) -> Result<(), StoreError> {
        self.replace(NEXT, KEPT).map_err(|source| StoreError::Write { path: self.path().join(KEPT), source })
    }

    /// Everything is as it was before `begin_limits`. May be done twice.
    pub fn drop_limits(&self) -> Result<(), StoreError> {
        self.remove_file(NEXT).map_err(|source| StoreError::Write { path: self.path().join(NEXT), source })
    }

    /// What the last complete update left; None: there was none, and the configuration's own limits hold.
    pub fn read_limits(&self) -> Result<Option<Limits>, StoreError> {
        self.read_limits_from(KEPT)
    }

    /// An update that is under way or was cut short: who holds the sandbox's lock knows which.
    pub fn read_next_limits(&self) -> Result<Option<Limits>, StoreError> {
        self.read_limits_from(NEXT)
    }

    fn read_limits_from(&self, name: &str) -> Result<Option<Limits>, StoreError> {
        let Some(bytes) = self.read_file(name, MAX_LIMITS)? else { return Ok(None) };
        let decoded = decode_limits(&bytes);
        decoded.map(Some).map_err(|source| StoreError::Malformed { path: self.path().join(name), source })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::*;

    fn limits(seq: u64) -> Limits {
        let before = vec![FileValue { file: "/sys/fs/cgroup/web/pids.max".into(), value: "max".to_owned() }];
        Limits { seq, resources: serde_json::json!({"pids": {"limit": 7}}), before }
    }

    #[test]
    fn an_update_is_complete_at_its_rename_and_gone_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _guard) = Root::open_or_make(dir.path()).unwrap().prepare().unwrap();
        assert_eq!(folder.read_limits().unwrap(), None);
        folder.begin_limits(&limits(3)).unwrap();
        assert_eq!((folder.read_limits().unwrap(), folder.read_next_limits().unwrap()), (None, Some(limits(3))));
        folder.keep_limits().unwrap();
        assert_eq!((folder.read_limits().unwrap(), folder.read_next_limits().unwrap()), (Some(limits(3)), None));
        folder.begin_limits(&limits(4)).unwrap();
        folder.drop_limits().unwrap();
        folder.drop_limits().unwrap();
        assert_eq!((folder.read_limits().unwrap(), folder.read_next_limits().unwrap()), (Some(limits(3)), None));
    }

    #[test]
    fn limits_of_a_newer_version_are_refused_by_its_number() {
        assert!(matches!(decode_limits(br#"{"version": 2}"#), Err(SchemaError::Newer(2))));
        assert!(matches!(decode_limits(b"{"), Err(SchemaError::Malformed(_))));
        assert_eq!(decode_limits(&encode_limits(&limits(5))).unwrap(), limits(5));
    }
}
