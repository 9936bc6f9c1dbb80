//! What `update` has made of a container's limits: `limits.json`, and `limits.next.json` while one is under way.
//!
//! ```text
//!  begin_limits ──▶ (the cgroup is written) ──▶ keep_limits: limits.next.json becomes limits.json
//!                              └─ failed, or died ──▶ (what was there is written again) ──▶ drop_limits
//! ```
//!
//! While `limits.next.json` is there, the cgroup may hold any of the old and the new values, and the file says how to go
//! back. Its rename is what makes an update complete: `limits.json` names the transition that it belongs to.

use super::schema::{MAX_LIMITS, decode_limits, encode_limits};
use super::{Folder, StoreError};
use crate::model::record::Limits;

const KEPT: &str = "limits.json";
const NEXT: &str = "limits.next.json";

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
    use crate::model::record::FileValue;

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
}
