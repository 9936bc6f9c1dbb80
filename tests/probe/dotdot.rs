//! Whether `..` leads out: from the root, the current folder, every descriptor.

use std::path::PathBuf;

use crate::kernel::*;
use crate::report::{line, tried};

/// More than any path has.
const STEPS: usize = 64;

/// Where a way up ended that is not our root: each is the root of something else, kept open.
pub fn walk(open: &[usize]) -> Vec<Fd> {
    let mut found = Vec::new();
    for (name, start) in [("/", "/"), (".", ".")] {
        found.extend(open_at(AT_FDCWD, start, O_PATH | O_DIRECTORY).ok().and_then(|fd| climb(name, fd)));
    }
    for fd in open {
        // Again by its own number: a folder only.
        let again = open_at(*fd, ".", O_PATH | O_DIRECTORY);
        found.extend(again.ok().and_then(|again| climb(&format!("descriptor {fd}"), again)));
    }
    found
}

/// By mount, too: a bind of `/` has the same inode (isolation is lost all the same).
fn climb(name: &str, start: Fd) -> Option<Fd> {
    let root = stat("/").ok()?;
    let mut here = start;
    for _ in 0..STEPS {
        match open_at(here.0, "..", O_PATH | O_DIRECTORY) {
            Ok(above) => here = above,
            Err(errno) => {
                tried::<()>("dotdot", name, "climb", &Err(errno), None);
                return None;
            }
        }
    }
    let top = stat_at(here.0, c"", 0).ok()?;
    let same = (top.mount, top.identity) == (root.mount, root.identity);
    line("dotdot", name, "climb", if same { "root" } else { "ok" }, Some(top.identity));
    (!same).then_some(here)
}

/// A path that leads to what a descriptor is of.
pub fn path_of(fd: &Fd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.0).into()
}
