//! Removing the cgroups of a container, and finding those that nobody remembers.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files::{self, Pause};
use super::hierarchies::Hierarchies;
use super::layout::TOP;
use super::tree::{self, Dir, Listed};
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
        let listed = processes_below(folder)?;
        if listed.count() == 0 {
            return Ok(true);
        }
        files::wait_for_ends(&listed.pids, deadline);
        if !pause.once(deadline) {
            return Ok(false);
        }
    }
}

fn processes_below(folder: &Path) -> Result<Listed> {
    tree::processes_below(folder).map_err(|source| Error::Read { path: folder.to_owned(), source })
}

/// Whether anything of it is there.
pub fn exists(record: &CgroupRecord) -> Result<bool> {
    for folder in &record.folders {
        let there = Dir::open_if_there(folder).map_err(|source| Error::Read { path: folder.clone(), source })?;
        if there.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every cgroup directly below `/sandkeep` in any hierarchy: those that no record names are orphans.
pub fn orphans(hierarchies: &Hierarchies) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies.all() {
        let top = hierarchy.mount.join(TOP);
        let names = Dir::open_if_there(&top).and_then(|dir| dir.map_or(Ok(Vec::new()), |dir| dir.children()));
        let names = names.map_err(|source| Error::Read { path: top.clone(), source })?;
        found.extend(names.into_iter().map(|name| top.join(name)));
    }
    found.sort();
    Ok(found)
}

fn remove_tree(folder: &Path, deadline: Instant) -> Result<()> {
    let failed = |source| Error::Remove { folder: folder.to_owned(), source };
    let mut pause = Pause::default();
    loop {
        match std::fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if files::is_gone(&error) => return Ok(()),
            Err(error) if !tree::is_busy(&error) => return Err(failed(error)),
            Err(_) => {}
        }
        let Some(top) = Dir::open_if_there(folder).map_err(failed)? else { return Ok(()) };
        if !top.children().map_err(failed)?.is_empty() {
            tree::remove_below(&top).map_err(failed)?;
            if top.children().map_err(failed)?.is_empty() {
                continue;
            }
        }
        let listed = tree::processes_below(folder).map_err(failed)?;
        files::wait_for_ends(&listed.pids, deadline);
        if !pause.once(deadline) {
            return Err(Error::StillPopulated { folder: folder.to_owned(), count: listed.count() });
        }
    }
}
