//! The file of exit records: made by us, written by the supervisor through the descriptor we donate.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use fs2::FileExt;

use super::place::open_ours;
use super::{Folder, Guard, StoreError};
use crate::model::exits::{self, ExitRecord};

const EXITS: &str = "exits";

impl Folder {
    /// Makes the file, allocated ahead so that a full disk loses no status, and opens it for writing at its start.
    /// Not for appending: the end is where the zeros begin, and a writer that failed tries again at the same place.
    pub fn make_exits(&self) -> Result<OwnedFd, StoreError> {
        let failed = |source| StoreError::Write { path: self.path().join(EXITS), source };
        self.check()?;
        let file = match self.create_new(EXITS) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = open_ours(OpenOptions::new().write(true), &self.at(EXITS), &|| self.path().join(EXITS))?;
                there.ok_or_else(|| failed(ErrorKind::NotFound.into()))?
            }
            made => made.map_err(failed)?,
        };
        file.allocate(exits::PREALLOCATED as u64).map_err(failed)?;
        Ok(file.into())
    }

    /// The same for another supervisor, which goes on behind what the one before it has written.
    pub fn reopen_exits(&self) -> Result<OwnedFd, StoreError> {
        let written = self.read_file(EXITS, exits::MAX_FILE)?.unwrap_or_default();
        let mut file = File::from(self.make_exits()?);
        let failed = |source| StoreError::Write { path: self.path().join(EXITS), source };
        file.seek(SeekFrom::Start(exits::end_of(&written) as u64)).map_err(failed)?;
        Ok(file.into())
    }

    /// One more, behind what was written: by whoever has seen an end that no supervisor lived to see. The guard keeps out
    /// another such, and whoever makes another supervisor.
    pub fn append_exit(&self, _guard: &Guard, record: &ExitRecord) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.path().join(EXITS), source };
        File::from(self.reopen_exits()?).write_all(&exits::encode(record)).map_err(failed)
    }

    /// How containers ended, in the order of their ends. Nothing was recorded when there is no such file.
    pub fn read_exits(&self) -> Result<Vec<ExitRecord>, StoreError> {
        let bytes = self.read_file(EXITS, exits::MAX_FILE)?;
        Ok(exits::decode_all(&bytes.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::*;
    use crate::model::record::Exit;

    #[test]
    fn what_the_supervisor_writes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _guard) = Root::open_or_make(dir.path()).unwrap().prepare().unwrap();
        assert_eq!(folder.read_exits().unwrap(), []);
        let mut file = File::from(folder.make_exits().unwrap());
        assert_eq!(folder.read_exits().unwrap(), []);
        let record = ExitRecord {
            container: "web".to_owned(),
            exit: Exit { code: 137, signal: Some(9), at: 5, inferred: false },
        };
        file.write_all(&exits::encode(&record)).unwrap();
        assert_eq!(folder.read_exits().unwrap(), std::slice::from_ref(&record));
        let later = ExitRecord { container: "side".to_owned(), ..record.clone() };
        File::from(folder.reopen_exits().unwrap()).write_all(&exits::encode(&later)).unwrap();
        assert_eq!(folder.read_exits().unwrap(), [record, later]);
    }
}
