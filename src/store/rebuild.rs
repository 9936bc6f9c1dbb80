//! Opening the database that is there, or, when it is missing or corrupt, a new one made from the published snapshots.
//! A corrupt one is moved aside, never deleted. A full disk, a broken disk or a missing permission is not corruption:
//! then nothing is touched.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::db::{DbError, Trees, Write};
use super::opening::{DEADLY, Witness};
use super::{Root, StoreError};
use crate::model::Phase;
use crate::model::record::JournalEntry;

const FORMAT: &str = "1\n";

/// The opened trees, where they are, and what the user must be told.
pub(super) fn open(root: &Root, witness: &Witness) -> Result<(Trees, PathBuf, Vec<String>), StoreError> {
    let path = root.path().join("store/db");
    let ready = is_ready(root)?;
    let found = if !ready {
        // Nothing was ever committed to it: its maker died before it was whole.
        remove_unfinished(&path)?;
        Found::Missing
    } else if !path.exists() {
        Found::Missing
    } else if witness.deaths >= DEADLY {
        Found::corrupt(format!("the last {} processes that opened it died", witness.deaths))
    } else {
        match open_whole(&path, witness) {
            Ok(trees) => return Ok((trees, path, Vec::new())),
            Err(Unusable::Corrupt(found)) => found,
            Err(Unusable::Failed(source)) => return Err(StoreError::OpenDb { path, source }),
        }
    };
    let mut notices = Vec::new();
    let made = match found {
        Found::Missing => {
            let made = make(root, &path, &[])?;
            if made.used > 0 || ready {
                notices.push(format!("the store was missing: it was made again from {made}"));
            }
            made
        }
        Found::Corrupt { why, salvaged } => {
            let aside = move_aside(&path)?;
            let made = make(root, &path, &salvaged)?;
            notices.push(format!(
                "the store was corrupt ({why}): it was moved aside to {}, and made again from {made} and {} journal \
                 entries that could still be read",
                aside.display(),
                salvaged.len()
            ));
            made
        }
    };
    if !ready {
        let file = root.path().join("store/format");
        fs::write(&file, FORMAT).map_err(|source| StoreError::Write { path: file, source })?;
    }
    if made.unreadable > 0 {
        notices.push(format!("{} published snapshots could not be read, and are not in the store", made.unreadable));
    }
    Ok((made.trees, path, notices))
}

enum Found {
    Missing,
    Corrupt { why: String, salvaged: Vec<JournalEntry> },
}

impl Found {
    fn corrupt(why: String) -> Found {
        Found::Corrupt { why, salvaged: Vec::new() }
    }
}

enum Unusable {
    Corrupt(Found),
    Failed(DbError),
}

/// Opens it, if nothing that was ever committed to it is missing. sled cuts a damaged log off where the damage begins
/// and says nothing: its mark and the witness beside it tell.
fn open_whole(path: &Path, witness: &Witness) -> Result<Trees, Unusable> {
    let judge = |error: DbError| {
        if error.is_corrupt() { Unusable::Corrupt(Found::corrupt(error.to_string())) } else { Unusable::Failed(error) }
    };
    let trees = Trees::open(path).map_err(judge)?;
    let come = trees.is_marked().and_then(|marked| Ok((marked, trees.ends()?.1)));
    let lost = match come {
        Ok((true, next)) if next >= witness.committed => return Ok(trees),
        Ok((true, next)) => Ok(format!("it lost its last {} journal entries", witness.committed - next)),
        Ok((false, _)) => Ok("what was in it is gone".to_owned()),
        Err(error) => Err(judge(error)),
    };
    let salvaged = trees.entries().map_while(Result::ok).collect();
    trees.close(path);
    Err(lost.map_or_else(|error| error, |why| Unusable::Corrupt(Found::Corrupt { why, salvaged })))
}

struct Made {
    trees: Trees,
    used: usize,
    unreadable: usize,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} published snapshots", self.used)
    }
}

/// A new database with what was published. The mark comes last: without it, it is not whole.
fn make(root: &Root, path: &Path, journal: &[JournalEntry]) -> Result<Made, StoreError> {
    let failed = |source| StoreError::OpenDb { path: path.to_owned(), source };
    let trees = Trees::open(path).map_err(failed)?;
    let (mut used, mut unreadable) = (0, 0);
    for folder in root.folders()? {
        match folder.read_snapshot() {
            // One that is being made right now is about to be committed for the first time.
            Ok(Some(snapshot)) if snapshot.state.sandbox.phase == Phase::Creating => {}
            Ok(Some(snapshot)) => {
                let id = snapshot.sandbox.id.as_str();
                trees.write(id, &Write::put(&snapshot), &[], u64::MAX).map_err(failed)?;
                used += 1;
            }
            Ok(None) => {}
            Err(_) => unreadable += 1,
        }
    }
    if !journal.is_empty() {
        trees.write("", &Write::Nothing, journal, u64::MAX).map_err(failed)?;
    }
    trees.mark().map_err(failed)?;
    Ok(Made { trees, used, unreadable })
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
