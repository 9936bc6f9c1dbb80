//! Other limits for a cgroup that is in use: all of them, or none.

use oci_spec::runtime::LinuxResources;

use super::write::{Write, limit_error, try_all};
use super::{entangled, previous, writes};
use crate::cgroup::layout::{CgroupFolder, Layout};
use crate::cgroup::{Error, Hierarchies, Result, files};
use crate::model::record::{CgroupRecord, FileValue};

/// What will be written, and what is there now. Nothing has been changed yet.
///
/// Device rules stay as they are: callers of `update` give none, and whoever added some beside us keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    writes: Vec<Write>,
    before: Vec<FileValue>,
}

impl Change {
    /// For the cgroups that a record names. Without any (`--cgroup-manager disabled`) there is nothing that could be
    /// changed, which whoever asks for limits now is told.
    pub fn prepare(hierarchies: &Hierarchies, record: &CgroupRecord, resources: &LinuxResources) -> Result<Change> {
        if record.folders.is_empty() {
            return Err(Error::NothingToLimit);
        }
        let layout = Layout::of_record(hierarchies, record);
        let folders: Vec<&CgroupFolder> = layout.folders.iter().filter(|folder| folder.path.exists()).collect();
        Change::on(&folders, resources)
    }

    pub(in crate::cgroup) fn on(folders: &[&CgroupFolder], resources: &LinuxResources) -> Result<Change> {
        let writes = entangled::in_order(writes(folders, resources)?);
        let mut before = Vec::with_capacity(writes.len());
        for write in &writes {
            before.extend(entangled::also_changed(write));
            if entangled::has_no_value(write) {
                continue;
            }
            match files::read(&write.file) {
                Ok(text) => {
                    let name = write.file.file_name().unwrap_or_default().to_string_lossy();
                    let value = previous::previous(&name, &write.value, &text);
                    before.push(FileValue { file: write.file.clone(), value });
                }
                // Some files are for writing only (memory.reclaim): what they do cannot be taken back.
                Err(error) if is_write_only(&error) => {}
                Err(source) => return Err(limit_error(write, source)),
            }
        }
        Ok(Change { writes, before })
    }

    #[cfg(test)]
    pub(super) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// What [`set_back`] takes, to be written down before [`Change::apply`].
    pub fn before(&self) -> &[FileValue] {
        &self.before
    }

    /// On an error every limit is as it was before, or the error names those that are not.
    pub fn apply(&self) -> Result<()> {
        let Some((_, first)) = try_all(&self.writes).into_iter().next() else { return Ok(()) };
        Err(self.undo(explain(first)))
    }

    /// Takes it back because of `first`, and returns that, with whatever could not be taken back.
    pub fn undo(&self, first: Error) -> Error {
        let left = set_back(&self.before);
        match left.is_empty() {
            true => first,
            false => Error::NotSetBack { first: Box::new(first), left },
        }
    }
}

/// v1 says only "invalid argument" or "busy" of these, and what it means is not obvious.
fn explain(error: Error) -> Error {
    let Error::Limit { field, value, file, source } = error else { return error };
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let why = match (name, source.raw_os_error()) {
        ("memory.limit_in_bytes", Some(libc::EINVAL)) => {
            "it is above the limit on memory and swap together: give memory.swap, too"
        }
        ("memory.memsw.limit_in_bytes", Some(libc::EINVAL)) => "it is below memory.limit: give that, too",
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Some(libc::EBUSY)) => {
            "more than that is in use and cannot be reclaimed (device or resource busy)"
        }
        ("cpu.cfs_quota_us", Some(libc::EINVAL)) => {
            "the kernel refuses it: it is below 1000, or above the share of the parent cgroup (invalid argument)"
        }
        _ => return Error::Limit { field, value, file, source },
    };
    Error::BadLimit { field, value, why }
}

/// Writes these values again, the last first. Returns, in words, what could not be: one that is refused (a memory limit
/// below what is used by now) stops none of the others. A cgroup that is gone has no limits.
pub fn set_back(before: &[FileValue]) -> Vec<String> {
    let field = |value: &FileValue| value.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let writes: Vec<Write> = before
        .iter()
        .rev()
        .map(|value| Write { field: field(value), file: value.file.clone(), value: value.value.clone() })
        .collect();
    let gone = |error: &Error| matches!(error, Error::Limit { source, .. } if files::is_gone(source));
    let failed = try_all(&writes).into_iter().filter(|(_, error)| !gone(error));
    failed.map(|(_, error)| crate::sys::told::on_one_line(&error)).collect()
}

fn is_write_only(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES | libc::EPERM | libc::EOPNOTSUPP))
}
