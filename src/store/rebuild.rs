//! Opening the database that is there, or, when it is missing or corrupt, a new one made from the published snapshots.
//! A corrupt one is moved aside, never deleted. A full disk, a broken disk or a missing permission is not corruption:
//! then nothing is touched.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::db::{DbError, Trees, Write};
use super::{Root, StoreError};

/// So many processes in a row died opening it: then it is the database that kills them, not chance.
const DEADLY: u8 = 3;

const FORMAT: &str = "1\n";

/// The opened trees, where they are, and what the user must be told.
pub(super) fn open(root: &Root, died: u8) -> Result<(Trees, PathBuf, Vec<String>), StoreError> {
    let path = root.path().join("store/db");
    let ready = is_ready(root)?;
    let found = if !ready {
        // Nothing was ever committed to it: its maker died before it was whole.
        remove_unfinished(&path)?;
        Found::Missing
    } else if !path.exists() {
        Found::Missing
    } else if died >= DEADLY {
        Found::Corrupt(format!("the last {died} processes that opened it died"))
    } else {
        match open_whole(&path) {
            Ok(trees) => return Ok((trees, path, Vec::new())),
            Err(Unusable::Corrupt(why)) => Found::Corrupt(why),
            Err(Unusable::Failed(source)) => return Err(StoreError::OpenDb { path, source }),
        }
    };
    let aside = match &found {
        Found::Missing => None,
        Found::Corrupt(_) => Some(move_aside(&path)?),
    };
    let (trees, used, unreadable) = make(root, &path)?;
    if !ready {
        let file = root.path().join("store/format");
        fs::write(&file, FORMAT).map_err(|source| StoreError::Write { path: file, source })?;
    }
    let mut notices = Vec::new();
    let from = format!("made again from {used} published snapshots");
    match (found, aside) {
        (Found::Corrupt(why), Some(aside)) => notices.push(format!(
            "the store was corrupt ({why}): it was moved aside to {}, and {from}; the history up to now is in there only",
            aside.display()
        )),
        _ if used > 0 || ready => notices.push(format!("the store was missing: it was {from}")),
        _ => {}
    }
    if unreadable > 0 {
        notices.push(format!("{unreadable} published snapshots could not be read, and are not in the store"));
    }
    Ok((trees, path, notices))
}

enum Found {
    Missing,
    Corrupt(String),
}

enum Unusable {
    Corrupt(String),
    Failed(DbError),
}

fn open_whole(path: &Path) -> Result<Trees, Unusable> {
    let judge = |error: DbError| {
        if error.is_corrupt() { Unusable::Corrupt(error.to_string()) } else { Unusable::Failed(error) }
    };
    let trees = Trees::open(path).map_err(judge)?;
    match trees.is_marked() {
        Ok(true) => Ok(trees),
        Ok(false) => {
            trees.close(path);
            Err(Unusable::Corrupt("what was in it is gone".to_owned()))
        }
        Err(error) => {
            trees.close(path);
            Err(judge(error))
        }
    }
}

/// A new database with what was published. The mark comes last: without it, it is not whole.
fn make(root: &Root, path: &Path) -> Result<(Trees, usize, usize), StoreError> {
    let failed = |source| StoreError::OpenDb { path: path.to_owned(), source };
    let trees = Trees::open(path).map_err(failed)?;
    let (mut used, mut unreadable) = (0, 0);
    for folder in root.folders()? {
        match folder.read_snapshot() {
            Ok(Some(snapshot)) => {
                let id = snapshot.sandbox.id.as_str();
                trees.write(id, &Write::put(&snapshot), &[], u64::MAX).map_err(failed)?;
                used += 1;
            }
            Ok(None) => {}
            Err(_) => unreadable += 1,
        }
    }
    trees.mark().map_err(failed)?;
    Ok((trees, used, unreadable))
}

fn is_ready(root: &Root) -> Result<bool, StoreError> {
    let path = root.path().join("store/format");
    match fs::read_to_string(&path) {
        Ok(found) if found == FORMAT => Ok(true),
        // Written by a process that died, or on a full disk: as if it were not there.
        Ok(found) if FORMAT.starts_with(&found) => Ok(false),
        Ok(found) => Err(StoreError::NewerFormat { found }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

fn remove_unfinished(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::Remove { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.%9fZ");
    let aside = path.with_file_name(format!("db.corrupt-{now}"));
    fs::rename(path, &aside).map_err(|source| StoreError::MoveAside { path: path.to_owned(), source })?;
    Ok(aside)
}
