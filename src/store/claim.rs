//! The renames that give an id and take it back, and what comes before the one and after the other.
//!
//! ```text
//!  prepare ─▶ .mk-~… ─▶ .new-~… (its lock held) ─▶ claim ─▶ <id> ─▶ retire ─▶ .gone-~… ─▶ remove
//! ```
//!
//! A crash leaves a folder of one of these names. All but `<id>` are leftovers: no sandbox yet, or none any more.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use super::lock::LOCK;
use super::names::{self, name_of};
use super::paths::in_dir;
use super::{Folder, Guard, LockError, Root, StoreError};
use crate::model::Id;

impl Root {
    /// Makes a folder that has no id yet, with its lock held. Nobody but the caller and `leftovers` sees it, and whoever
    /// finds it there finds it held: until then it has a name that nobody looks at while it is young.
    pub fn prepare(&self) -> Result<(Folder, Guard), StoreError> {
        let failed = |source| StoreError::Prepare { path: self.path_of_sandboxes(), source };
        let (making, name) = names::of_new().map_err(failed)?;
        DirBuilder::new().mode(0o700).create(in_dir(self.sandboxes(), &making)).map_err(failed)?;
        let mut folder = self.open_folder(&making)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        let locked = folder.make_lock().map_err(failed).and_then(|()| match folder.lock(Duration::ZERO) {
            Ok(guard) => Ok(guard),
            Err(LockError::Gone) => Err(failed(ErrorKind::NotFound.into())),
            Err(LockError::Busy { .. }) => Err(failed(ErrorKind::TimedOut.into())),
            Err(LockError::Store(error)) => Err(error),
        });
        match locked.and_then(|guard| folder.rename(&name).map_err(failed).map(|()| guard)) {
            Ok(guard) => Ok((folder, guard)),
            Err(error) => {
                let _ = folder.remove();
                Err(error)
            }
        }
    }
}

impl Folder {
    /// Takes the id: when this returns, the sandbox exists; before, it never did. The caller holds the folder's lock
    /// and has written the intent, so that whoever finds the sandbox finds that too. When the id is taken, nothing is
    /// left of the folder.
    pub fn claim(mut self, id: &Id) -> Result<Folder, StoreError> {
        let name = name_of(id.as_str());
        // rename(2) replaces an empty folder only; a sandbox's holds at least its lock.
        match self.rename(&name) {
            Ok(()) => Ok(self),
            Err(source) => {
                let _ = self.remove();
                let id = id.as_str().to_owned();
                match source.raw_os_error() {
                    Some(libc::EEXIST | libc::ENOTEMPTY | libc::ENOTDIR) => Err(StoreError::Exists { id }),
                    _ => Err(StoreError::Claim { id, source }),
                }
            }
        }
    }

    /// Gives the id back: when this returns, the sandbox is gone and its id is free. The caller holds the lock.
    pub fn retire(&mut self) -> Result<(), StoreError> {
        let path = self.path();
        let failed = |source| StoreError::Retire { path: path.clone(), source };
        let name = names::of_gone().map_err(failed)?;
        self.rename(&name).map_err(failed)
    }

    /// Removes the folder and all that is in it; that others removed some or all of it already is fine. The lock goes
    /// last: whoever looks meanwhile at what is left finds it held.
    pub fn remove(self) -> Result<(), StoreError> {
        let path = in_dir(self.root().sandboxes(), self.name());
        // A file that appears while we remove the others makes the folder "not empty": again, a bounded number of times.
        for _ in 0..8 {
            match remove_but_lock(&path).and_then(|()| std::fs::remove_dir_all(&path)) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => continue,
                Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_ok() => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(StoreError::Remove { path: self.path(), source }),
                Ok(()) => return Ok(()),
            }
        }
        Err(StoreError::Remove { path: self.path(), source: ErrorKind::DirectoryNotEmpty.into() })
    }
}

fn remove_but_lock(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false if entry.file_name() == LOCK => {}
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_make(&dir.path().join("state")).unwrap();
        (dir, root)
    }

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn what_is_made_is_private() {
        use std::os::unix::fs::MetadataExt;
        let (_dir, root) = root();
        let (folder, _guard) = root.prepare().unwrap();
        for path in [root.path().to_owned(), root.path().join("store"), folder.path()] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700, "{path:?}");
        }
    }

    #[test]
    fn a_prepared_folder_is_no_sandbox_until_it_is_claimed() {
        let (_dir, root) = root();
        let (folder, _guard) = root.prepare().unwrap();
        assert!(root.folders().unwrap().is_empty());
        assert_eq!(root.leftovers().unwrap().len(), 1);
        folder.claim(&id("web")).unwrap();
        assert_eq!(root.find(&id("web")).unwrap().unwrap().name(), "web");
        assert!(root.leftovers().unwrap().is_empty());
    }

    #[test]
    fn an_id_in_use_cannot_be_claimed_and_nothing_is_left_of_the_attempt() {
        let (_dir, root) = root();
        let first = root.prepare().unwrap().0.claim(&id("web")).unwrap();
        let error = root.prepare().unwrap().0.claim(&id("web")).unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error}");
        assert!(root.leftovers().unwrap().is_empty());
        assert!(first.is_current().unwrap());
    }

    #[test]
    fn a_retired_id_is_free_at_once_and_removal_may_be_done_twice() {
        let (_dir, root) = root();
        let mut first = root.prepare().unwrap().0.claim(&id("web")).unwrap();
        first.retire().unwrap();
        root.prepare().unwrap().0.claim(&id("web")).unwrap();
        let again = root.leftovers().unwrap().pop().unwrap();
        first.remove().unwrap();
        again.remove().unwrap();
        assert!(root.leftovers().unwrap().is_empty());
    }

    #[test]
    fn no_id_can_be_taken_for_a_leftover_or_for_the_name_of_a_longer_one() {
        let (_dir, root) = root();
        let long = "x".repeat(1000);
        let longer = "x".repeat(1001);
        let ids = [".new-1", ".gone-1", "...", &long, &longer, &name_of(&long), &"x".repeat(200)].map(id);
        for id in &ids {
            root.prepare().unwrap().0.claim(id).unwrap();
        }
        assert_eq!(root.folders().unwrap().len(), ids.len());
        assert!(root.leftovers().unwrap().is_empty());
        assert!(name_of(&long).len() <= 245);
    }

    #[test]
    fn a_folder_being_prepared_is_held_from_the_start_however_often_leftovers_are_removed() {
        let (_dir, root) = root();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let recovery = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for folder in root.leftovers().unwrap() {
                        if let Ok(Some(_guard)) = folder.try_lock() {
                            folder.remove().unwrap();
                        }
                    }
                }
            });
            let prepared = scope.spawn(|| {
                for number in 0..300 {
                    let (folder, guard) = root.prepare().unwrap();
                    folder.write_file("config.json", b"{}").unwrap();
                    let folder = folder.claim(&id(&format!("web{number}"))).unwrap();
                    assert!(folder.is_current().unwrap());
                    drop(guard);
                }
            });
            let prepared = prepared.join();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            recovery.join().unwrap();
            prepared.unwrap();
        });
        assert_eq!(root.folders().unwrap().len(), 300);
    }

    #[test]
    fn twenty_claims_of_one_id_at_once_have_one_winner() {
        let (_dir, root) = root();
        let start = std::sync::Barrier::new(20);
        let won: usize = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        let (folder, _guard) = root.prepare().unwrap();
                        start.wait();
                        folder.claim(&id("web")).is_ok() as usize
                    })
                })
                .collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
        assert!(root.leftovers().unwrap().is_empty());
    }
}
