//! Opening the database that is there, or, when it is missing or corrupt, a new one made from the published snapshots.
//! A corrupt one is moved aside, never deleted, and not before the new one is whole: a disk that fills up meanwhile
//! leaves everything as it was. A full disk, a broken disk or a missing permission is not corruption: then nothing is
//! touched.
//!
//! A new one is made as `db.making`, renamed to `db.made` when it is whole, and to `db` when nothing else is called so
//! any more. Whoever finds a `db.making` removes it; whoever finds a `db.made` finishes what its maker began.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::db::{Trees, Write};
use super::error::{DbError, Distrust};
use super::layout::STORE;
use super::paths::in_dir;
use super::place::{FLAGS, open_ours, put_away};
use super::trust;
use super::witness::{DEADLY, Witness};
use super::{Root, StoreError, room};
use crate::model::Phase;
use crate::model::record::JournalEntry;

const NAME: &str = "format";
const FORMAT: &str = "1\n";
/// What is read of it, in bytes.
const LONGEST: u64 = 64;

const DATABASE: &str = "db";

/// The opened trees, where they are, and what the user must be told.
pub(super) fn open(root: &Root, witness: &Witness) -> Result<(Trees, PathBuf, Vec<String>), StoreError> {
    let path = root.path().join("store/db");
    let made = path.with_extension("made");
    let mut notices = Vec::new();
    let format = read_format(root)?;
    let ready = format != Format::Missing;
    if format == Format::Damaged {
        notices.push("store/format was not a file: it was set aside and written again".to_owned());
        write_format(root)?;
    }
    remove_unfinished(&path.with_extension("making"))?;
    if !ready {
        // Nothing was ever committed to it: its maker died before it was whole.
        remove_unfinished(&path)?;
        remove_unfinished(&made)?;
    } else if is_there(&made)? {
        let aside = put_in_place(&made, &path)?;
        let aside = aside.map(|aside| format!(", and the one before it was moved aside to {}", aside.display()));
        notices.push(format!("the store was made again by a command that died{}", aside.unwrap_or_default()));
    }
    check_database(root)?;
    let found = if !is_there(&path)? {
        Found::Missing
    } else if !path.is_dir() {
        Found::corrupt("it was not a folder".to_owned())
    } else if witness.deaths >= DEADLY {
        Found::corrupt(format!("the last {} processes that opened it died", witness.deaths))
    } else {
        match open_whole(&path, witness) {
            Ok(trees) => return Ok((trees, path, notices)),
            Err(Unusable::Corrupt(found)) => found,
            Err(Unusable::Failed(source)) => return Err(StoreError::OpenDb { path, source }),
        }
    };
    let contents = match &found {
        Found::Missing => make(root, &path, &[], witness)?,
        // Not now: what looks like damage may be the want of room, and there is none for a new one.
        Found::Corrupt { why, .. } if room::is_short(root.path()) => {
            return Err(StoreError::OpenDb { path, source: DbError::NoRoom(why.clone()) });
        }
        Found::Corrupt { salvaged, .. } => make(root, &path, salvaged, witness)?,
    };
    let aside = put_in_place(&made, &path)?;
    match (found, aside) {
        (Found::Corrupt { why, salvaged }, Some(aside)) => notices.push(format!(
            "the store was corrupt ({why}): it was moved aside to {}, and made again from {} published snapshots and \
             {} journal entries that could still be read",
            aside.display(),
            contents.used,
            salvaged.len()
        )),
        _ if contents.used > 0 || ready => {
            notices.push(format!("the store was missing: it was made again from {} published snapshots", contents.used))
        }
        _ => {}
    }
    if contents.unreadable > 0 {
        notices
            .push(format!("{} published snapshots could not be read, and are not in the store", contents.unreadable));
    }
    let trees = Trees::open(&path).map_err(|source| StoreError::OpenDb { path: path.clone(), source })?;
    if !ready {
        write_format(root)?;
    }
    Ok((trees, path, notices))
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

/// What a new database was made from.
struct Contents {
    used: usize,
    unreadable: usize,
}

/// Makes a new database beside the place of the old one. When this returns it is whole, and whatever happens now, it
/// will be the database. When it fails, nothing has changed.
fn make(root: &Root, path: &Path, journal: &[JournalEntry], witness: &Witness) -> Result<Contents, StoreError> {
    let making = path.with_extension("making");
    let trees = Trees::open(&making).map_err(|source| StoreError::OpenDb { path: making.clone(), source });
    let made = trees.and_then(|trees| {
        let filled = fill(root, &trees, journal, witness);
        trees.close(&making);
        filled
    });
    let rename = || fs::rename(&making, path.with_extension("made"));
    let made = made
        .and_then(|made| rename().map(|()| made).map_err(|source| StoreError::Write { path: making.clone(), source }));
    if made.is_err() {
        // Its room is wanted.
        let _ = remove_unfinished(&making);
    }
    made
}

fn fill(root: &Root, trees: &Trees, journal: &[JournalEntry], witness: &Witness) -> Result<Contents, StoreError> {
    let failed = |source| StoreError::OpenDb { path: root.path().join("store/db.making"), source };
    // The numbers go on where they were, so that the witness is right about this one too.
    trees.count_from(witness.committed.saturating_sub(journal.len() as u64)).map_err(failed)?;
    let mut contents = Contents { used: 0, unreadable: 0 };
    for folder in root.folders()? {
        match folder.read_snapshot() {
            // One that is being made right now is about to be committed for the first time.
            Ok(Some(snapshot)) if snapshot.state.sandbox.phase == Phase::Creating => {}
            Ok(Some(snapshot)) => {
                let id = snapshot.sandbox.id.as_str();
                trees.write(id, &Write::put(&snapshot), &[], u64::MAX).map_err(failed)?;
                contents.used += 1;
            }
            Ok(None) => {}
            Err(_) => contents.unreadable += 1,
        }
    }
    if !journal.is_empty() {
        trees.write("", &Write::Nothing, journal, u64::MAX).map_err(failed)?;
    }
    trees.mark().map_err(failed)?;
    Ok(contents)
}

/// The new database takes the place of the old one, if there is one: where that is now.
fn put_in_place(made: &Path, path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let aside = if is_there(path)? { Some(move_aside(path)?) } else { None };
    fs::rename(made, path).map_err(|source| StoreError::Write { path: path.to_owned(), source })?;
    Ok(aside)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ours,
    /// Or written by a process that died, or on a full disk.
    Missing,
    /// It says nothing about the database.
    Damaged,
}

fn read_format(root: &Root) -> Result<Format, StoreError> {
    let path = || root.path().join(STORE).join(NAME);
    let store = root.store()?;
    let file = match open_ours(OpenOptions::new().read(true), &in_dir(&store, NAME), &path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Format::Missing),
        Err(StoreError::NotAFile { .. }) => {
            put_away(&store, NAME).map_err(|source| StoreError::Write { path: path(), source })?;
            return Ok(Format::Damaged);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(|source| StoreError::Read { path: path(), source })?;
    let found = String::from_utf8_lossy(&bytes).into_owned();
    if found == FORMAT {
        Ok(Format::Ours)
    } else if FORMAT.starts_with(&found) {
        Ok(Format::Missing)
    } else {
        Err(StoreError::NewerFormat { found })
    }
}

fn write_format(root: &Root) -> Result<(), StoreError> {
    let store = root.store()?;
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(FLAGS).clone();
    let written = options.open(in_dir(&store, NAME)).and_then(|mut file| file.write_all(FORMAT.as_bytes()));
    written.map_err(|source| StoreError::Write { path: root.path().join(STORE).join(NAME), source })
}

/// sled opens its files by their names: that nobody else has put them there is looked at before. Who may write to them is
/// not asked: it makes them as the umask says, in a folder that is closed.
fn check_database(root: &Root) -> Result<(), StoreError> {
    let store = root.store()?;
    let path = root.path().join(STORE).join(DATABASE);
    trust::below(&store, DATABASE, &|| path.clone()).map(drop).or_else(|error| match error {
        StoreError::NotAFolder { .. } => Ok(()),
        other => Err(other),
    })?;
    let entries = match fs::read_dir(in_dir(&store, DATABASE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(()),
        entries => entries.map_err(|source| StoreError::Read { path: path.clone(), source })?,
    };
    for entry in entries {
        let entry = entry.map_err(|source| StoreError::Read { path: path.clone(), source })?;
        let about = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            about => about.map_err(|source| StoreError::Read { path: path.join(entry.file_name()), source })?,
        };
        if let Some(why @ (Distrust::Owner { .. } | Distrust::Link { .. })) = trust::doubt(&about) {
            return Err(StoreError::Untrusted { path: path.join(entry.file_name()), why });
        }
    }
    Ok(())
}

/// A look that failed is no answer.
fn is_there(path: &Path) -> Result<bool, StoreError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Read { path: path.to_owned(), source }),
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
