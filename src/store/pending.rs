//! Commits that had to wait: the disk was full, or another process held the store. The next opener folds them in.
//!
//! `store/pending` is only ever appended to, in the records of `frames`. Blocks are allocated beyond its end, so that a
//! full disk still takes some. Whoever folds renames the file first, then waits for those who are just writing to it;
//! folding twice is folding once.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fs2::FileExt;
use nix::fcntl::{FallocateFlags, fallocate, renameat};

use super::flock::lock_within;
use super::layout::STORE;
use super::paths::{in_dir, same_file};
use super::place::{FLAGS, open_ours, put_away};
use super::schema::{Change, MAX_SNAPSHOT, Pending, decode_pending, encode_pending};
use super::{Commit, Db, Root, StoreError, frames};
use crate::sys::patience;
use crate::sys::told::on_one_line;

const PENDING: &str = "pending";
const FOLDING: &str = "pending.folding";

/// Allocated ahead, in bytes.
const RESERVED: i64 = 64 << 10;
/// More than this is not written, and not read.
const MAX_FILE: u64 = 64 << 20;
/// What became of a commit.
#[allow(missing_docs)] // `why` is for people, on one line.
pub enum Recorded {
    /// With the database, still open.
    Committed(Db),
    /// It will be committed by the next process that opens the store.
    Pending { why: String },
    /// Not even that was possible. The published snapshot and the facts are all there is.
    Lost { why: String },
}

/// Commits, or leaves the commit for the next opener. A kill, a delete or a recovery goes on in every case.
pub fn commit_or_pend(opened: Result<Db, StoreError>, root: &Root, commit: &Commit<'_>) -> Recorded {
    let committed = opened.and_then(|db| db.commit(commit).map(|()| db));
    let error = match committed {
        Ok(db) => return Recorded::Committed(db),
        Err(error) => error,
    };
    let why = on_one_line(&error);
    match append(root, commit) {
        Ok(()) => Recorded::Pending { why },
        Err(second) => Recorded::Lost { why: format!("{why}; and {}", on_one_line(&second)) },
    }
}

/// Allocates room for later, while there is some. That it cannot be had is not worth failing for.
pub(super) fn reserve(root: &Root) {
    let Ok(store) = root.store() else { return };
    let options = &mut OpenOptions::new();
    options.append(true).create_new(true).mode(0o600).custom_flags(FLAGS);
    if let Ok(file) = options.open(in_dir(&store, PENDING)) {
        let _ = fallocate(file.as_raw_fd(), FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, RESERVED);
    }
}

fn append(root: &Root, commit: &Commit<'_>) -> Result<(), StoreError> {
    let path = path(root);
    let failed = |source| StoreError::Write { path: path.clone(), source };
    let file = lock_current(&root.store()?, &path)?;
    let mut written = append_locked(&file, &frame(&pending(commit, Change::Put)));
    if written.as_ref().is_err_and(super::error::is_full) {
        // The room that was reserved is better spent on many states than on one long record that is known already.
        written = append_locked(&file, &frame(&pending(commit, |snapshot| Change::PutState(Box::new(snapshot.state)))));
    }
    let _ = FileExt::unlock(&file);
    written.map_err(failed)
}

fn pending(commit: &Commit<'_>, put: impl Fn(Box<crate::model::record::Snapshot>) -> Change) -> Pending {
    let incarnation = commit.snapshot.map(|snapshot| &snapshot.sandbox.incarnation);
    let incarnation = incarnation.or_else(|| commit.journal.first().map(|entry| &entry.incarnation));
    Pending {
        id: commit.id.clone(),
        incarnation: incarnation.cloned().unwrap_or_default(),
        change: commit.snapshot.map_or(Change::Delete, |snapshot| put(Box::new(snapshot.clone()))),
        journal: commit.journal.to_vec(),
    }
}

/// How much waits; none, if that cannot be told.
pub fn pending_bytes(root: &Root) -> u64 {
    let found = root.store().ok().and_then(|store| in_dir(&store, PENDING).symlink_metadata().ok());
    found.map_or(0, |found| found.len())
}

/// The whole record or nothing of it.
fn append_locked(mut file: &File, record: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    if before + record.len() as u64 > MAX_FILE {
        return Err(ErrorKind::FileTooLarge.into());
    }
    file.write_all(record).inspect_err(|_| drop(file.set_len(before)))
}

/// The file that has the name, locked: one that was renamed to be folded in while we waited is not it.
fn lock_current(store: &File, shown: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Write { path: shown.to_owned(), source };
    loop {
        let options = &mut OpenOptions::new();
        let opened =
            open_ours(options.read(true).append(true).create(true), &in_dir(store, PENDING), &|| shown.to_owned());
        let file = match opened {
            Err(StoreError::NotAFile { .. }) => {
                put_away(store, PENDING).map_err(failed)?;
                continue;
            }
            opened => opened?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?,
        };
        let file =
            lock_within(file, patience::A_WRITE).map_err(failed)?.ok_or_else(|| failed(ErrorKind::TimedOut.into()))?;
        if same_file(&file, &in_dir(store, PENDING)).map_err(failed)? {
            return Ok(file);
        }
    }
}

/// Commits what is pending. The caller has the store, so nobody else folds.
pub(super) fn fold(root: &Root, db: &Db) -> Result<(), StoreError> {
    let store = root.store()?;
    // What a crash interrupted comes first: it is older.
    fold_file(root, &store, db)?;
    let failed = |source| StoreError::Read { path: path(root), source };
    match in_dir(&store, PENDING).symlink_metadata() {
        Ok(found) if found.is_file() && found.len() == 0 => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let folder = Some(store.as_raw_fd());
    renameat(folder, PENDING, folder, FOLDING)
        .map_err(|errno| StoreError::Write { path: path(root).with_file_name(FOLDING), source: errno.into() })?;
    reserve(root);
    fold_file(root, &store, db)
}

fn fold_file(root: &Root, store: &File, db: &Db) -> Result<(), StoreError> {
    let path = path(root).with_file_name(FOLDING);
    let failed = |source| StoreError::Read { path: path.clone(), source };
    let options = &mut OpenOptions::new();
    let file = match open_ours(options.read(true).append(true), &in_dir(store, FOLDING), &|| path.clone()) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(()),
        // No commit was ever written to it.
        Err(StoreError::NotAFile { .. }) => return put_away(store, FOLDING).map_err(failed),
        Err(error) => return Err(error),
    };
    // Whoever wrote to it under its old name is done when we have the lock.
    let mut file =
        lock_within(file, patience::A_WRITE).map_err(failed)?.ok_or_else(|| failed(ErrorKind::TimedOut.into()))?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    (&file).take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let _ = FileExt::unlock(&file);
    for pending in decode_all(&bytes) {
        db.commit_pending(&pending)?;
    }
    db.flush()?;
    std::fs::remove_file(in_dir(store, FOLDING)).map_err(|source| StoreError::Remove { path, source })
}

fn path(root: &Root) -> PathBuf {
    root.path().join(STORE).join(PENDING)
}

fn frame(pending: &Pending) -> Vec<u8> {
    frames::frame(&encode_pending(pending))
}

/// Total: any bytes give the whole records among them.
fn decode_all(bytes: &[u8]) -> Vec<Pending> {
    frames::payloads(bytes, MAX_SNAPSHOT).into_iter().filter_map(|payload| decode_pending(payload).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::schema::samples;
    use super::*;

    fn record(id: &str) -> Pending {
        Pending {
            id: samples::id(id),
            incarnation: "5".repeat(32),
            change: Change::Put(Box::new(samples::snapshot(id))),
            journal: vec![samples::entry(id, 2)],
        }
    }

    #[test]
    fn a_torn_record_does_not_hide_those_after_it() {
        let (first, second) = (frame(&record("a")), frame(&record("b")));
        for kept in (0..first.len()).step_by(7) {
            let file = [&first[..kept], &second[..]].concat();
            assert_eq!(decode_all(&file), [record("b")], "{kept} bytes of the first");
        }
        assert_eq!(decode_all(&[first, second].concat()), [record("a"), record("b")]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            decode_all(&bytes);
        }
    }
}
