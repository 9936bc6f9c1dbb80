//! What was open when we were started, and what can be done by it.

use std::fs;
use std::path::PathBuf;

use crate::kernel::*;
use crate::report::{line, tried};
use crate::touch;

/// Every open descriptor. To be asked before anything else opens one.
pub fn open_now() -> Vec<usize> {
    (0..4096).filter(|fd| stat_at(*fd, c"", 0).is_ok()).collect()
}

pub fn walk(open: &[usize]) {
    for fd in open {
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        let to = fs::read_link(&path).unwrap_or_default();
        let Ok(stat) = stat_at(*fd, c"", 0) else { continue };
        line("descriptor", &fd.to_string(), "is", &to.to_string_lossy(), Some(stat.identity));
        let mode = (stat.mode & 0o7777) as usize;
        let which = Some(stat.identity);
        let name = format!("descriptor {fd}");
        tried("descriptor", &name, "fchmod", &call(nr::FCHMOD, &[*fd, mode]), which);
        if mode & 0o6000 == 0 {
            let owner = [*fd, stat.uid as usize, stat.gid as usize];
            tried("descriptor", &name, "fchown", &call(nr::FCHOWN, &owner), which);
        }
        touch::attributes("descriptor", &path, &stat);
        if stat.kind() != S_IFDIR && stat.kind() != S_IFSOCK {
            touch::write("descriptor", &path, &stat);
        }
    }
}
