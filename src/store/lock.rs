//! The lock of a sandbox, held for a whole transition.
//!
//! flock(2) belongs to the open file, not to the process: a child that was forked while it was held keeps it when we
//! die. So "free" means "finished or crashed" only while every child that outlives the command was forked before the
//! lock was taken, or closes [`Guard::as_fd`] as its first act. We unlock aloud, so a child of a live command that
//! kept the descriptor does no harm.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use fs2::FileExt;

use super::flock::lock_within;
use super::paths::same_file;
use super::place::{open_ours, put_away};
use super::{Folder, StoreError, intent};
use crate::model::record::Intent;

pub(super) const LOCK: &str = "lock";

/// The lock of one sandbox, held.
#[derive(Debug)]
pub struct Guard {
    file: File,
    path: PathBuf,
}

/// Why a sandbox could not be locked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum LockError {
    /// Deleted while we waited, or before.
    #[error("the sandbox is gone")]
    Gone,
    #[error("the sandbox is busy: another command has held its lock for more than {waited:?}")]
    Busy {
        waited: Duration,
        /// What its holder says it is doing, and who that is.
        intent: Option<Box<Intent>>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Folder {
    /// Waits for the lock. What is then in the folder stays as it is until the guard is dropped.
    pub fn lock(&self, deadline: Duration) -> Result<Guard, LockError> {
        let file = self.open_lock()?;
        match lock_within(file, deadline).map_err(|source| self.lock_failed(source))? {
            Some(file) => self.checked(file),
            None if !self.is_current().map_err(|source| self.lock_failed(source))? => Err(LockError::Gone),
            None => {
                // Who cannot be told from it is not killed for being busy.
                let intent = self.intent_unlocked().ok().flatten();
                Err(LockError::Busy { waited: deadline, intent: intent.map(Box::new) })
            }
        }
    }

    /// None: someone holds it.
    pub fn try_lock(&self) -> Result<Option<Guard>, LockError> {
        match self.lock(Duration::ZERO) {
            Ok(guard) => Ok(Some(guard)),
            Err(LockError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A look at the intent without the lock: what the holder is doing, or what a crash left. Something that is no lock
    /// holds none: [`Folder::check_lock`] says so.
    pub fn intent_unlocked(&self) -> Result<Option<Intent>, StoreError> {
        match self.open_read(LOCK) {
            Ok(Some(file)) => intent::read(&file).map_err(|source| self.lock_unread(source)),
            Ok(None) | Err(StoreError::NotAFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a lock could be taken here as things are: for who only looks.
    pub fn check_lock(&self) -> Result<(), StoreError> {
        self.open_read(LOCK).map(drop)
    }

    /// The lock file, with its block allocated.
    pub(super) fn make_lock(&self) -> io::Result<()> {
        self.create_new(LOCK)?.allocate(intent::BLOCK)
    }

    fn open_lock(&self) -> Result<File, LockError> {
        self.check()?;
        let open = || open_ours(OpenOptions::new().read(true).write(true), &self.at(LOCK), &|| self.path().join(LOCK));
        match open() {
            Ok(Some(file)) => return Ok(file),
            // It can hold neither a lock nor an intent, and would keep everybody from this sandbox for ever.
            Err(StoreError::NotAFile { .. }) => {
                put_away(self.dir_file(), LOCK).map_err(|source| self.lock_failed(source))?;
            }
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
        // A folder on its way out has lost its lock file first: it must not get another.
        if !self.is_current().map_err(|source| self.lock_failed(source))? {
            return Err(LockError::Gone);
        }
        match self.create_new(LOCK) {
            // Without room for the block we can still lock; writing an intent will say that there is none.
            Ok(file) => drop(file.allocate(intent::BLOCK)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(LockError::Gone),
            Err(source) => return Err(self.lock_failed(source).into()),
        }
        open()?.ok_or(LockError::Gone)
    }

    /// We hold a lock; is it the lock of the sandbox that has the name?
    fn checked(&self, file: File) -> Result<Guard, LockError> {
        let guard = Guard { file, path: self.path().join(LOCK) };
        let current = self.is_current().and_then(|current| Ok(current && same_file(&guard.file, &self.at(LOCK))?));
        match current {
            Ok(true) => Ok(guard),
            Ok(false) => Err(LockError::Gone),
            Err(source) => Err(self.lock_failed(source).into()),
        }
    }

    fn lock_unread(&self, source: io::Error) -> StoreError {
        StoreError::Read { path: self.path().join(LOCK), source }
    }

    fn lock_failed(&self, source: io::Error) -> StoreError {
        StoreError::Lock { path: self.path().join(LOCK), source }
    }
}

impl Guard {
    /// What a crashed holder left, or what we wrote.
    pub fn intent(&self) -> Result<Option<Intent>, StoreError> {
        intent::read(&self.file).map_err(|source| StoreError::Read { path: self.path.clone(), source })
    }

    /// After this returns, recovery will find the intent. No effect may come before it.
    pub fn write_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        intent::write(&self.file, intent).map_err(|source| self.failed(source))
    }

    /// A left-over intent becomes ours to complete: whoever finds us busy for too long learns from it whom to kill. One
    /// that is longer than its block is left as it is: a death could tear a write over more than one page.
    pub fn take_over_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        if intent::fits(intent) { self.write_intent(intent) } else { Ok(()) }
    }

    /// After this returns, there is nothing to heal.
    pub fn clear_intent(&self) -> Result<(), StoreError> {
        intent::clear(&self.file).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::WriteIntent { path: self.path.clone(), source }
    }
}

impl AsFd for Guard {
    /// What children must close.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = FileExt::unlock(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::super::schema::samples;
    use super::*;
    use crate::model::Id;

    const LONG: Duration = Duration::from_secs(20);

    fn sandbox() -> (tempfile::TempDir, Root, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_make(dir.path()).unwrap();
        let folder = root.prepare().unwrap().0.claim(&Id::parse("web").unwrap()).unwrap();
        (dir, root, folder)
    }

    #[test]
    fn a_busy_sandbox_tells_what_its_holder_is_doing() {
        let (_dir, root, folder) = sandbox();
        let guard = folder.lock(LONG).unwrap();
        guard.write_intent(&samples::intent("web")).unwrap();
        let other = root.find(&Id::parse("web").unwrap()).unwrap().unwrap();
        assert!(other.try_lock().unwrap().is_none());
        match other.lock(Duration::from_millis(20)) {
            Err(LockError::Busy { intent, .. }) => assert_eq!(*intent.unwrap(), samples::intent("web")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_released() {
        let (_dir, root, folder) = sandbox();
        let guard = folder.lock(LONG).unwrap();
        let waiting = std::thread::spawn(move || {
            let folder = root.find(&Id::parse("web").unwrap()).unwrap().unwrap();
            folder.lock(LONG).map(|guard| guard.intent().unwrap())
        });
        guard.write_intent(&samples::intent("web")).unwrap();
        drop(guard);
        // As after a crash: the intent is still there, under a free lock.
        assert_eq!(waiting.join().unwrap().unwrap(), Some(samples::intent("web")));
    }

    #[test]
    fn who_gave_up_waiting_does_not_keep_the_lock_it_gets_later() {
        let (_dir, root, folder) = sandbox();
        let guard = folder.lock(LONG).unwrap();
        let other = root.find(&Id::parse("web").unwrap()).unwrap().unwrap();
        assert!(matches!(other.lock(Duration::from_millis(1)), Err(LockError::Busy { .. })));
        drop(guard);
        drop(other.lock(LONG).unwrap());
    }

    #[test]
    fn a_waiter_for_a_deleted_sandbox_learns_that_it_is_gone() {
        let (_dir, root, mut folder) = sandbox();
        let guard = folder.lock(LONG).unwrap();
        let early = root.find(&Id::parse("web").unwrap()).unwrap().unwrap();
        let waiting = std::thread::spawn(move || early.lock(LONG).map(drop));
        let late = root.find(&Id::parse("web").unwrap()).unwrap().unwrap();
        folder.retire().unwrap();
        // The id lives again; the folder that the waiters hold does not.
        let again = root.prepare().unwrap().0.claim(&Id::parse("web").unwrap()).unwrap();
        folder.remove().unwrap();
        drop(guard);
        assert!(matches!(waiting.join().unwrap(), Err(LockError::Gone)));
        assert!(matches!(late.lock(LONG), Err(LockError::Gone)));
        drop(again.lock(LONG).unwrap());
    }

    #[test]
    fn a_lost_lock_file_is_made_again_for_a_living_sandbox() {
        let (_dir, _root, folder) = sandbox();
        std::fs::remove_file(folder.path().join(LOCK)).unwrap();
        let guard = folder.lock(LONG).unwrap();
        guard.write_intent(&samples::intent("web")).unwrap();
        assert_eq!(folder.intent_unlocked().unwrap(), Some(samples::intent("web")));
    }
}
