//! Whole files in a sandbox's folder: read with a cap, replaced by rename.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::renameat;

use super::place::{FLAGS, open_ours, put_away};
use super::{Folder, StoreError};
use crate::sys::random;

impl Folder {
    /// Puts a whole file in place of what was there, if anything: readers see the old one or the new one. 0600.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.path().join(name), source };
        plain(name).map_err(failed)?;
        self.check()?;
        let temporary = format!(".tmp-{}", random::hex::<8>().map_err(failed)?);
        let written = self.create_new(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            self.replace(&temporary, name)
        });
        written.map_err(|source| {
            let _ = std::fs::remove_file(self.at(&temporary));
            failed(source)
        })
    }

    /// None when there is no such file. More than `cap` bytes are an error.
    pub fn read_file(&self, name: &str, cap: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let path = || self.path().join(name);
        let failed = |source| StoreError::Read { path: path(), source };
        plain(name).map_err(failed)?;
        let Some(file) = self.open_read(name)? else { return Ok(None) };
        let size = file.metadata().map_err(failed)?.len();
        if size > cap as u64 {
            return Err(StoreError::TooLarge { path: path(), cap });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        file.take(cap as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > cap {
            return Err(StoreError::TooLarge { path: path(), cap });
        }
        Ok(Some(bytes))
    }

    /// A file of this folder, open for reading: to be donated.
    pub fn open_file(&self, name: &str) -> Result<OwnedFd, StoreError> {
        let failed = |source| StoreError::Read { path: self.path().join(name), source };
        plain(name).map_err(failed)?;
        self.open_read(name)?.map(OwnedFd::from).ok_or_else(|| failed(ErrorKind::NotFound.into()))
    }

    /// A rename over what is there, were it a folder.
    pub(super) fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        let dir = Some(self.dir().as_raw_fd());
        match renameat(dir, from, dir, to) {
            Err(nix::Error::EISDIR) => {
                put_away(self.dir_file(), to)?;
                Ok(renameat(dir, from, dir, to)?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// That it is not there is fine, and so is that it was a folder.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.at(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::IsADirectory => put_away(self.dir_file(), name),
            removed => removed,
        }
    }

    pub(super) fn create_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(FLAGS).open(self.at(name))
    }

    /// None: there is none. What is no file, or not ours, is an error, and is not waited for.
    pub(super) fn open_read(&self, name: &str) -> Result<Option<File>, StoreError> {
        self.check()?;
        open_ours(OpenOptions::new().read(true), &self.at(name), &|| self.path().join(name))
    }
}

/// A name, not a path.
fn plain(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(ErrorKind::InvalidFilename.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _guard) = Root::open_or_make(dir.path()).unwrap().prepare().unwrap();
        (dir, folder)
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let (_dir, folder) = folder();
        folder.write_file("config.json", b"a longer one").unwrap();
        folder.write_file("config.json", b"short").unwrap();
        assert_eq!(folder.read_file("config.json", 5).unwrap().unwrap(), b"short");
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn more_than_the_cap_is_refused_and_what_is_missing_is_none() {
        let (_dir, folder) = folder();
        folder.write_file("config.json", b"123456").unwrap();
        assert!(matches!(folder.read_file("config.json", 5), Err(StoreError::TooLarge { .. })));
        assert!(folder.read_file("other.json", 5).unwrap().is_none());
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let (_dir, folder) = folder();
        for name in ["", ".", "..", "../x", "/etc/passwd"] {
            assert!(folder.write_file(name, b"").is_err(), "{name:?} was written");
            assert!(folder.read_file(name, 1 << 20).is_err(), "{name:?} was read");
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(folder.read_file("link", 1 << 20).is_err());
    }
}
