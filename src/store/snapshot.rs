//! `sandbox.json`: what readers see of a sandbox, replaced whole.

use super::names::name_of;
use super::schema::{MAX_SNAPSHOT, decode_snapshot, encode_snapshot};
use super::{Folder, Guard, StoreError};
use crate::model::record::Snapshot;

const SNAPSHOT: &str = "sandbox.json";

impl Folder {
    /// None: nothing was published yet. It was true when it was written; who wants to know what is true now asks the
    /// machine as well.
    pub fn read_snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let path = || self.path().join(SNAPSHOT);
        let Some(bytes) = self.read_file(SNAPSHOT, MAX_SNAPSHOT)? else { return Ok(None) };
        let snapshot = decode_snapshot(&bytes).map_err(|source| StoreError::Malformed { path: path(), source })?;
        // The name is shorter than a long id, and folders can be moved by hand: the record has the last word.
        let id = snapshot.sandbox.id.as_str();
        if !self.is_leftover() && name_of(id) != self.name() {
            return Err(StoreError::Foreign { path: path(), id: id.to_owned() });
        }
        Ok(Some(snapshot))
    }

    /// When this returns, readers see the snapshot; before, the one of before.
    pub fn publish(&self, _held: &Guard, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.write_file(SNAPSHOT, &encode_snapshot(snapshot))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::schema::samples;
    use super::super::{Root, StoreError};
    use super::*;
    use crate::model::Id;

    #[test]
    fn a_snapshot_is_read_back_and_must_speak_of_its_own_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_make(dir.path()).unwrap();
        let long = "x".repeat(1000);
        let folder = root.prepare().unwrap().0.claim(&Id::parse(&long).unwrap()).unwrap();
        assert_eq!(folder.read_snapshot().unwrap(), None);
        let guard = folder.lock(Duration::ZERO).unwrap();
        folder.publish(&guard, &samples::snapshot(&long)).unwrap();
        assert_eq!(folder.read_snapshot().unwrap(), Some(samples::snapshot(&long)));
        folder.publish(&guard, &samples::snapshot("web")).unwrap();
        assert!(matches!(folder.read_snapshot(), Err(StoreError::Foreign { .. })));
    }

    #[test]
    fn a_path_that_is_not_text_survives() {
        use std::os::unix::ffi::OsStringExt;
        let mut snapshot = samples::snapshot("web");
        snapshot.containers.get_mut("web").unwrap().bundle = std::ffi::OsString::from_vec(b"/b\xff".to_vec()).into();
        assert_eq!(decode_snapshot(&encode_snapshot(&snapshot)).unwrap(), snapshot);
    }
}
