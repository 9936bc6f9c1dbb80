//! What a supervisor may take of the machine. It is far more than it needs (1,000 clients that wait cost it 2 MiB, the
//! kernel's share included): the bound is for one that somebody has got into, or that has a leak.

use std::io::ErrorKind;

use crate::cgroup::files;
use crate::cgroup::hierarchies::Version;
use crate::cgroup::layout::CgroupFolder;
use crate::cgroup::{Error, Result};
use crate::sys::user_namespace;

/// In bytes.
const MEMORY: u64 = 64 << 20;
/// It is one process with one thread, and its system call filter lets it make no other. The next one enters beside what
/// is left of one that died.
const PROCESSES: u64 = 16;

/// Writes what there is a file for: a controller that is not there bounds nobody. Two writes of 10 µs each.
pub(in crate::cgroup) fn bound_supervisor(folders: &[&CgroupFolder]) -> Result<()> {
    for folder in folders {
        let [memory, pids] = match folder.version {
            Version::V1 => {
                [folder.has("memory").then_some("memory.limit_in_bytes"), folder.has("pids").then_some("pids.max")]
            }
            Version::V2 => [Some("memory.max"), Some("pids.max")],
            Version::Beside => [None, None],
        };
        for (file, value) in [(memory, MEMORY), (pids, PROCESSES)] {
            let Some(file) = file else { continue };
            let path = folder.path.join(file);
            match files::write(&path, &value.to_string()) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // What may not be made here was left out, too.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && !user_namespace::is_root_of_machine() => {}
                other => other.map_err(|source| Error::Limit {
                    field: format!("{file} of the supervisor"),
                    value: value.to_string(),
                    file: path,
                    source,
                })?,
            }
        }
    }
    Ok(())
}
