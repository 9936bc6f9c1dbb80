//! Writes down how inits ended. What cannot be written now, because the disk is full, is kept and tried again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;

use crate::model::exits::{self, ExitRecord};

#[derive(Debug)]
pub struct ExitLog {
    file: File,
    /// Where the next entry begins. A torn one is written over from its start.
    offset: u64,
    pending: VecDeque<Vec<u8>>,
}

impl ExitLog {
    /// Goes on from the file's position. Something that has none (a pipe, /dev/full) is written from 0.
    pub fn new(mut file: File) -> ExitLog {
        let offset = file.stream_position().unwrap_or(0);
        ExitLog { file, offset, pending: VecDeque::new() }
    }

    /// After `Ok`, whoever reads the file finds the record. After an error it is kept for [`ExitLog::flush`].
    pub fn append(&mut self, record: &ExitRecord) -> io::Result<()> {
        self.pending.push_back(exits::encode(record));
        self.flush()
    }

    /// Writes what is pending, in order, up to the first that fails.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(entry) = self.pending.front() {
            self.file.write_all_at(entry, self.offset)?;
            self.offset += entry.len() as u64;
            self.pending.pop_front();
        }
        Ok(())
    }

    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Exit;

    fn record(container: &str) -> ExitRecord {
        let exit = Exit { code: 0, signal: None, at: 5, inferred: false };
        ExitRecord { container: container.to_owned(), exit }
    }

    #[test]
    fn records_follow_each_other_in_a_preallocated_file() {
        let path = tempfile::NamedTempFile::new().unwrap();
        path.as_file().set_len(4096).unwrap();
        let mut log = ExitLog::new(File::options().write(true).open(path.path()).unwrap());
        log.append(&record("a")).unwrap();
        log.append(&record("b")).unwrap();
        assert_eq!(exits::decode_all(&std::fs::read(path.path()).unwrap()), [record("a"), record("b")]);
    }

    #[test]
    fn a_full_disk_loses_nothing_and_the_order_stays() {
        let mut log = ExitLog::new(File::options().write(true).open("/dev/full").unwrap());
        assert_eq!(log.append(&record("a")).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(log.append(&record("b")).is_err());
        assert_eq!(log.pending(), 2);
        let path = tempfile::NamedTempFile::new().unwrap();
        log.file = File::options().write(true).open(path.path()).unwrap();
        log.flush().unwrap();
        assert_eq!(exits::decode_all(&std::fs::read(path.path()).unwrap()), [record("a"), record("b")]);
    }
}
