//! Sockets of the host's that a program could talk to through a read-only view: those that have a path now.
//!
//! Not seen: those of other network namespaces, and those that are bound by a relative path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::sys::mountinfo::split_once;

/// More than any machine has outside /run; each costs a mount.
const MOST: usize = 1000;

/// Their paths, those of `skipped` left out before they are looked at.
pub(super) fn with_a_path(skipped: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let table = std::fs::read("/proc/net/unix").unwrap_or_default();
    let mut found: Vec<PathBuf> = paths(&table)
        .filter(|path| !skipped(path))
        .filter_map(|path| Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)))
        .filter(|path| !skipped(path))
        .filter(|path| std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()))
        .collect();
    found.sort();
    found.dedup();
    found.truncate(MOST);
    found
}

/// The eighth field and all that follows: a path may hold spaces.
fn paths(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let mut rest = line;
        for _ in 0..7 {
            rest = split_once(rest.trim_ascii_start(), b" ")?.1;
        }
        // What does not begin with a slash has no file, or one that cannot be found.
        let path = rest.trim_ascii_start();
        path.starts_with(b"/").then(|| OsStr::from_bytes(path).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_and_names_without_a_file_are_not() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0001 01 12345 /run/a b.sock\n\
            ffff: 00000002 00000000 00000000 0002 01     7 @abstract\n\
            ffff: 00000003 00000000 00000000 0001 03 12346\n\
            ffff: 00000002 00000000 00010000 0001 01 12347 relative.sock\n\
            ffff: 00000002 00000000 00010000 0001 01 12348 /run/\xff.sock\n";
        assert_eq!(
            paths(table).collect::<Vec<_>>(),
            [OsStr::new("/run/a b.sock"), OsStr::from_bytes(b"/run/\xff.sock")]
        );
    }
}
