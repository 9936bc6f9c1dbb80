//! The record of hooks in a sandbox's folder: what has begun is never begun again, whoever dies in between.
//!
//! Only ever appended to. The room for it is allocated beyond its end when the sandbox is made, so that a full disk does
//! not make the hooks of a delete run twice. A record is with the kernel when `append` returns, which is all that the
//! death of a process can take nothing from; after a power failure there is no container that a hook could be about.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::fcntl::{FallocateFlags, fallocate};

use super::place::open_ours;
use super::schema::{MAX_HOOK_RECORD, decode_hook_record, encode_hook_record};
use super::{Folder, StoreError, frames};
use crate::model::record::HookRecord;

const HOOKS: &str = "hooks";
/// More than this is not read.
const MAX_FILE: u64 = 64 << 20;
/// A record without its container's id is not longer.
const RECORD: usize = 256;
/// begun, ended, and one more for the claim on them or for whatever comes of a crash.
const RECORDS_A_HOOK: usize = 3;

/// The `hooks` file of a sandbox, open for appending.
#[derive(Debug)]
pub struct HookLog {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// The record, made if it is not there, with room for so many hooks of a container whose id is that long.
    pub fn make_hook_log(&self, hooks: usize, id_length: usize) -> Result<HookLog, StoreError> {
        let path = self.path().join(HOOKS);
        let failed = |source| StoreError::Write { path: path.clone(), source };
        self.check()?;
        let options = &mut OpenOptions::new();
        let file = open_ours(options.read(true).append(true).create(true), &self.at(HOOKS), &|| path.clone())?;
        let file = file.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        let room = (hooks + 1) * RECORDS_A_HOOK * (RECORD + id_length);
        // A filesystem that cannot do this is full sooner, that is all.
        match fallocate(file.as_raw_fd(), FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, room as i64) {
            Ok(()) | Err(nix::Error::EOPNOTSUPP) => Ok(HookLog { file, path }),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// None: no hook of this sandbox has ever been recorded.
    pub fn hook_log(&self) -> Result<Option<HookLog>, StoreError> {
        let path = self.path().join(HOOKS);
        self.check()?;
        let file = open_ours(OpenOptions::new().read(true).append(true), &self.at(HOOKS), &|| path.clone())?;
        Ok(file.map(|file| HookLog { file, path }))
    }
}

impl HookLog {
    /// After this returns, whoever recovers knows of it.
    pub fn append(&self, record: &HookRecord) -> Result<(), StoreError> {
        // One write: two processes that append at once do not mix their records.
        let bytes = frames::frame(&encode_hook_record(record));
        match (&self.file).write(&bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(self.failed(ErrorKind::WriteZero.into())),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Everything that was recorded, in that order. Something that a newer sandkeep wrote is an error: guessing could
    /// run a hook twice.
    pub fn records(&self) -> Result<Vec<HookRecord>, StoreError> {
        let failed = |source| StoreError::Read { path: self.path.clone(), source };
        let mut bytes = Vec::new();
        let again = self.reopened().map_err(failed)?;
        again.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
        let payloads = frames::payloads(&bytes, MAX_HOOK_RECORD).into_iter();
        let malformed = |source| StoreError::Malformed { path: self.path.clone(), source };
        payloads.map(|payload| decode_hook_record(payload).map_err(malformed)).collect()
    }

    /// From its start, whatever has become of its name.
    fn reopened(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Write { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::super::schema::samples;
    use super::*;
    use crate::model::record::{HookEnd, HookKind, HookStep};

    fn record(index: u32, step: HookStep) -> HookRecord {
        HookRecord { container: samples::id("web"), kind: HookKind::Poststop, index, step, at: 7 }
    }

    fn begun() -> HookStep {
        HookStep::Begun(samples::process(4))
    }

    #[test]
    fn what_was_recorded_is_read_in_order_also_when_the_folder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _guard) = Root::open_or_make(dir.path()).unwrap().prepare().unwrap();
        assert!(folder.hook_log().unwrap().is_none());
        let log = folder.make_hook_log(2, 3).unwrap();
        assert_eq!(log.records().unwrap(), []);
        let ended = HookStep::Ended(HookEnd::Failed);
        let steps = [HookStep::Claimed(samples::process(3)), begun(), ended].map(|step| record(1, step));
        log.append(&steps[0]).unwrap();
        let second = folder.hook_log().unwrap().expect("it was made");
        second.append(&steps[1]).unwrap();
        folder.remove().unwrap();
        log.append(&steps[2]).unwrap();
        assert_eq!(log.records().unwrap(), steps);
    }

    #[test]
    fn what_a_writer_left_half_written_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _guard) = Root::open_or_make(dir.path()).unwrap().prepare().unwrap();
        let log = folder.make_hook_log(1, 3).unwrap();
        let torn = frames::frame(&encode_hook_record(&record(0, begun())));
        (&log.file).write_all(&torn[..torn.len() / 2]).unwrap();
        log.append(&record(1, begun())).unwrap();
        assert_eq!(log.records().unwrap(), [record(1, begun())]);
    }

    #[test]
    fn a_record_with_the_longest_id_fits() {
        let mut long = record(u32::MAX, HookStep::Begun(samples::process(i32::MAX)));
        long.container = samples::id(&"x".repeat(1024));
        let bytes = encode_hook_record(&long);
        assert!(bytes.len() <= RECORD + 1024, "{}", bytes.len());
        assert_eq!(decode_hook_record(&bytes).unwrap(), long);
    }
}
