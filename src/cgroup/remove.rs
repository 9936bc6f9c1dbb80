//! Removing the cgroups of a container, and finding those that nobody remembers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files::{self, Pause};
use super::hierarchies::Hierarchies;
use super::layout::TOP;
use super::{Error, Result};
use crate::model::record::CgroupRecord;

/// Removes every folder of the record, and what the container made below them. Waits for processes that are ending;
/// kills none. Folders that are gone, or never were, count as removed.
pub fn remove(record: &CgroupRecord, deadline: Instant) -> Result<()> {
    record.folders.iter().try_for_each(|folder| remove_tree(folder, deadline))
}

/// For cgroups that a creation was about to make when it died: whether it did, nobody knows. Whatever it had put there dies
/// by itself, so this waits until nothing is in them, and then removes them. Returns those that stay populated: they are
/// somebody else's, and are left as they are.
pub fn remove_emptied(folders: &[PathBuf], deadline: Instant) -> Result<Vec<PathBuf>> {
    let mut populated = Vec::new();
    for folder in folders {
        if wait_until_empty(folder, deadline)? {
            remove_tree(folder, deadline)?;
        } else {
            populated.push(folder.clone());
        }
    }
    Ok(populated)
}

/// False: there are processes in it at the deadline.
fn wait_until_empty(folder: &Path, deadline: Instant) -> Result<bool> {
    let mut pause = Pause::default();
    loop {
        let pids = files::pids_below(folder).map_err(|source| Error::Read { path: folder.to_owned(), source })?;
        if pids.is_empty() {
            return Ok(true);
        }
        files::wait_for_ends(&pids, deadline);
        if !pause.once(deadline) {
            return Ok(false);
        }
    }
}

/// Whether anything of it is there.
pub fn exists(record: &CgroupRecord) -> bool {
    record.folders.iter().any(|folder| folder.exists())
}

/// Every cgroup directly below `/sandkeep` in any hierarchy: those that no record names are orphans.
pub fn orphans(hierarchies: &Hierarchies) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        hierarchies.all().iter().flat_map(|h| files::children(&h.mount.join(TOP)).unwrap_or_default()).collect();
    found.sort();
    found
}

fn remove_tree(folder: &Path, deadline: Instant) -> Result<()> {
    let failed = |source| Error::Remove { folder: folder.to_owned(), source };
    let mut pause = Pause::default();
    loop {
        match std::fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if files::is_gone(&error) => return Ok(()),
            Err(error) if !is_busy(&error) => return Err(failed(error)),
            Err(_) => {}
        }
        let children = files::children(folder).map_err(failed)?;
        for child in &children {
            remove_tree(child, deadline)?;
        }
        if !children.is_empty() {
            continue;
        }
        let pids = files::pids_below(folder).map_err(failed)?;
        files::wait_for_ends(&pids, deadline);
        if !pause.once(deadline) {
            return Err(Error::StillPopulated { folder: folder.to_owned(), count: pids.len() });
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY))
}
