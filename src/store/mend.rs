//! A root for those who change something: made when it is not there, and mended when a part of it was lost.

use std::fs::Metadata;
use std::path::Path;

use super::layout::{SANDBOXES, STORE, absolute};
use super::place::put_away_unless;
use super::trust::{self, Missing};
use super::{Root, StoreError, pending};

impl Root {
    /// Makes what is missing, private to its owner. See `trust` for what is refused.
    pub fn open_or_make(path: &Path) -> Result<Root, StoreError> {
        let root = Root::make(path)?;
        pending::reserve(&root);
        Ok(root)
    }

    /// For who puts in order: a part that was lost is made again, if there is another, and what lies in the place of one
    /// is put away.
    pub fn open_to_mend(path: &Path) -> Result<Option<Root>, StoreError> {
        let path = absolute(path)?;
        let Some(dir) = trust::folder(&path, Missing::Report)? else { return Ok(None) };
        trust::ours(&dir, &|| path.clone())?;
        for part in [SANDBOXES, STORE] {
            if let Err(StoreError::NotAFolder { path }) = trust::below(&dir, part, &|| path.join(part)) {
                put_away_unless(&dir, part, Metadata::is_dir)
                    .map_err(|source| StoreError::MakeRoot { path, source })?;
            }
        }
        match Root::open(&path) {
            Err(StoreError::LostSandboxes { .. }) => Root::open_or_make(&path).map(Some),
            opened => opened,
        }
    }
}
