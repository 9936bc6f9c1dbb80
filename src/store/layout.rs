//! Where things are: the root and the folders of the sandboxes, opened, found and listed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::renameat;

use super::StoreError;
use super::error::Distrust;
use super::names::{is_abandoned_making, is_leftover, is_sandbox, name_of};
use super::paths::{in_dir, open_dir, same_file};
use super::trust::{self, Missing};
use crate::model::Id;

pub(super) const SANDBOXES: &str = "sandboxes";
pub(super) const STORE: &str = "store";

/// An opened state folder.
#[derive(Debug, Clone)]
pub struct Root(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    dir: File,
    sandboxes: File,
}

/// A sandbox's folder. Everything in it is reached through one descriptor, so it stays the same folder whatever is
/// renamed meanwhile.
#[derive(Debug)]
pub struct Folder {
    root: Root,
    dir: File,
    name: String,
    /// Nothing is read or written in it then, and whoever tries is told why.
    doubt: Option<Distrust>,
}

impl Root {
    /// For readers: None when nothing was ever made there.
    pub fn open(path: &Path) -> Result<Option<Root>, StoreError> {
        let path = absolute(path)?;
        let Some(dir) = trust::folder(&path, Missing::Report)? else { return Ok(None) };
        trust::ours(&dir, &|| path.clone())?;
        let store = match trust::below(&dir, STORE, &|| path.join(STORE)) {
            // Who only reads does not need it.
            Err(StoreError::NotAFolder { .. }) => true,
            found => found?.is_some(),
        };
        match (trust::below(&dir, SANDBOXES, &|| path.join(SANDBOXES))?, store) {
            (Some(sandboxes), _) => Ok(Some(Root(Arc::new(Inner { path, dir, sandboxes })))),
            (None, true) => Err(StoreError::LostSandboxes { path: path.join(SANDBOXES) }),
            (None, false) => Ok(None),
        }
    }

    /// For who changes something: what is missing is made, private to its owner. The sandboxes come first: a store without
    /// them was once complete.
    pub(super) fn make(path: &Path) -> Result<Root, StoreError> {
        let path = absolute(path)?;
        let dir = trust::folder(&path, Missing::Make)?;
        let dir = dir.ok_or_else(|| StoreError::MakeRoot { path: path.clone(), source: ErrorKind::NotFound.into() })?;
        trust::ours(&dir, &|| path.clone())?;
        let sandboxes = make_part(&path, &dir, SANDBOXES)?;
        make_part(&path, &dir, STORE)?;
        Ok(Root(Arc::new(Inner { path, dir, sandboxes })))
    }

    /// The folder of the store, made again if it was lost: for who is about to write there.
    pub(super) fn store(&self) -> Result<File, StoreError> {
        make_part(self.path(), &self.0.dir, STORE)
    }

    /// What it is, below the root, if it is ours.
    pub(super) fn part(&self, name: &str) -> Result<Option<File>, StoreError> {
        trust::below(&self.0.dir, name, &|| self.path().join(name))
    }

    /// The same, made if it is not there.
    pub(super) fn make_part(&self, name: &str) -> Result<File, StoreError> {
        make_part(self.path(), &self.0.dir, name)
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where its sandboxes' folders are.
    pub fn path_of_sandboxes(&self) -> PathBuf {
        self.path().join(SANDBOXES)
    }

    pub(super) fn sandboxes(&self) -> &File {
        &self.0.sandboxes
    }

    /// The folder of this sandbox, if there is one.
    pub fn find(&self, id: &Id) -> Result<Option<Folder>, StoreError> {
        self.open_folder(&name_of(id.as_str()))
    }

    /// The folders of all sandboxes, by name.
    pub fn folders(&self) -> Result<Vec<Folder>, StoreError> {
        self.list(is_sandbox)
    }

    /// What a crash left of sandboxes that were being made or removed, or another process is making right now: whoever
    /// wants to remove one must hold its lock.
    pub fn leftovers(&self) -> Result<Vec<Folder>, StoreError> {
        self.list(|name| is_leftover(name) || is_abandoned_making(name))
    }

    fn list(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Folder>, StoreError> {
        let failed = |source| StoreError::List { path: self.path_of_sandboxes(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(in_dir(&self.0.sandboxes, "")).map_err(failed)? {
            // Names that are not text are not ours.
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        names.retain(|name| wanted(name));
        names.sort();
        let mut folders = Vec::with_capacity(names.len());
        for name in names {
            match self.open_folder(&name) {
                Ok(folder) => folders.extend(folder),
                // A file that someone put here is not a sandbox.
                Err(StoreError::OpenFolder { source, .. }) if source.kind() == ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(folders)
    }

    /// The folder with this name, whatever it is.
    pub(super) fn open_folder(&self, name: &str) -> Result<Option<Folder>, StoreError> {
        match open_dir(&in_dir(&self.0.sandboxes, name)) {
            Ok(dir) => {
                let path = || self.path_of_sandboxes().join(name);
                let about = dir.metadata().map_err(|source| StoreError::OpenFolder { path: path(), source })?;
                let doubt = trust::doubt(&about);
                Ok(Some(Folder { root: self.clone(), dir, name: name.to_owned(), doubt }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::OpenFolder { path: self.path_of_sandboxes().join(name), source }),
        }
    }
}

impl Folder {
    /// The root that it is in.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Open, also once it was renamed away.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn dir_file(&self) -> &File {
        &self.dir
    }

    /// By the last name that this process knows of.
    pub fn path(&self) -> PathBuf {
        self.root.path_of_sandboxes().join(&self.name)
    }

    /// Of the folder: an id, or something else that stands for a long one, or that of a left-over.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error: somebody else owns it, or may write to it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.doubt {
            Some(why) => Err(StoreError::Untrusted { path: self.path(), why }),
            None => Ok(()),
        }
    }

    /// Not a sandbox: one being made, or being removed.
    pub fn is_leftover(&self) -> bool {
        is_leftover(&self.name)
    }

    /// Whether the folder's name still leads to this very folder: not once it was claimed, retired or removed by
    /// another process.
    pub fn is_current(&self) -> io::Result<bool> {
        same_file(&self.dir, &in_dir(&self.root.0.sandboxes, &self.name))
    }

    /// The same folder once more, by a descriptor of its own.
    pub fn try_clone(&self) -> Result<Folder, StoreError> {
        let dir = self.dir.try_clone().map_err(|source| StoreError::Read { path: self.path(), source })?;
        Ok(Folder { root: self.root.clone(), dir, name: self.name.clone(), doubt: self.doubt })
    }

    /// A path to a file in this folder that works whatever the folder is called by now.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        in_dir(&self.dir, name)
    }

    /// From here on it has that name. What else has it is replaced only if it is an empty folder, see rename(2).
    pub(super) fn rename(&mut self, to: &str) -> io::Result<()> {
        let sandboxes = Some(self.root.0.sandboxes.as_raw_fd());
        renameat(sandboxes, self.name.as_str(), sandboxes, to)?;
        to.clone_into(&mut self.name);
        Ok(())
    }
}

/// A folder of the root, which is ours.
fn make_part(path: &Path, root: &File, name: &str) -> Result<File, StoreError> {
    let failed = |source| StoreError::MakeRoot { path: path.join(name), source };
    trust::make(root, OsStr::new(name)).map_err(failed)?;
    trust::below(root, name, &|| path.join(name))?.ok_or_else(|| failed(ErrorKind::NotFound.into()))
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().as_bytes().is_empty() {
        return Err(StoreError::NotAFolder { path: path.to_owned() });
    }
    std::path::absolute(path).map_err(|source| StoreError::OpenRoot { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Root::open(&dir.path().join("none")).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_root_that_is_a_file_is_refused_in_so_many_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for error in [Root::make(file.path()).unwrap_err(), Root::open(file.path()).unwrap_err()] {
            assert!(error.to_string().ends_with("is not a folder"), "{error}");
        }
    }
}
