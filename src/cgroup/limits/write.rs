//! Settings that have found their files, and writing them.

use std::io;
use std::path::PathBuf;

use super::realtime;
use crate::cgroup::Result;
use crate::cgroup::{Error, files};

/// A setting that has found its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub field: String,
    pub file: PathBuf,
    pub value: String,
}

pub(super) fn write_all(writes: &[Write]) -> Result<()> {
    match try_all(writes).into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error),
    }
}

/// Writes all of them, whatever becomes of the others; what failed, with its reason. Some values are only valid once
/// another has changed (a limit above the old limit with swap, a burst above the old quota): what the kernel calls
/// invalid is tried again after the others, as long as that helps.
pub(super) fn try_all(writes: &[Write]) -> Vec<(&Write, Error)> {
    let mut waiting: Vec<&Write> = writes.iter().collect();
    let mut failed = Vec::new();
    loop {
        let mut invalid = Vec::new();
        for write in &waiting {
            match files::write(&write.file, &write.value) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => invalid.push((*write, error)),
                Err(error) => failed.push((*write, error)),
            }
        }
        if invalid.is_empty() || invalid.len() == waiting.len() {
            failed.extend(invalid);
            return failed.into_iter().map(|(write, source)| (write, limit_error(write, source))).collect();
        }
        waiting = invalid.into_iter().map(|(write, _)| write).collect();
    }
}

pub(super) fn limit_error(write: &Write, source: io::Error) -> Error {
    let Write { field, file, value } = write.clone();
    match realtime::hint(&file, &source) {
        Some(hint) => Error::NoRealtime { field, value, file, hint, source },
        None => Error::Limit { field, value, file, source },
    }
}
