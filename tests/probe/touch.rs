//! What can be done to one thing by its path, each in a form that leaves it as it was.

use std::path::Path;

use crate::kernel::*;
use crate::report::tried;

/// A watchdog begins to count when it is opened.
const WATCHDOG: (u32, u32) = (10, 130);

/// Tries everything on what `path` leads to, and says it under `kind`.
pub fn everything(kind: &str, path: &Path) {
    let name = path.to_string_lossy();
    let stat = match stat(path) {
        Ok(stat) => stat,
        Err(errno) => return tried::<()>(kind, &name, "stat", &Err(errno), None),
    };
    attributes(kind, path, &stat);
    match stat.kind() {
        S_IFDIR => make(kind, path, &stat),
        S_IFSOCK => crate::sockets::connect_path(kind, path, Some(stat.identity)),
        _ => write(kind, path, &stat),
    }
    if stat.kind() != S_IFDIR && lstat(path).is_ok_and(|found| found.kind() != S_IFLNK) {
        link(kind, path, &stat);
    }
}

/// chmod, chown and utimes to what it has already; an extended attribute that is taken away again.
pub fn attributes(kind: &str, path: &Path, stat: &Stat) {
    let (name, at) = (path.to_string_lossy(), c(path));
    let at = at.as_ptr() as usize;
    let which = Some(stat.identity);
    let mode = (stat.mode & 0o7777) as usize;
    tried(kind, &name, "chmod", &call(nr::FCHMODAT, &[AT_FDCWD, at, mode]), which);
    // It would lose the bits for good.
    if stat.kind() == S_IFDIR || mode & 0o6000 == 0 {
        let owner = [AT_FDCWD, at, stat.uid as usize, stat.gid as usize, 0];
        tried(kind, &name, "chown", &call(nr::FCHOWNAT, &owner), which);
    }
    let times = [stat.atime, stat.mtime];
    let times = times.as_ptr() as usize;
    tried(kind, &name, "utimes", &call(nr::UTIMENSAT, &[AT_FDCWD, at, times, 0]), which);
    // Symlinks, devices, sockets and pipes have no attributes of a user.
    if matches!(stat.kind(), S_IFREG | S_IFDIR) {
        let attribute = c"user.sandkeep-probe".as_ptr() as usize;
        let set = call(nr::SETXATTR, &[at, attribute, c"x".as_ptr() as usize, 1, 1]);
        if set.is_ok() {
            let _ = call(nr::REMOVEXATTR, &[at, attribute]);
        }
        tried(kind, &name, "setxattr", &set, which);
    }
}

/// Opened for writing; of a file, the first byte is written as it is.
pub fn write(kind: &str, path: &Path, stat: &Stat) {
    let name = path.to_string_lossy();
    if stat.rdev == WATCHDOG && stat.kind() == S_IFCHR {
        return;
    }
    let flags = if stat.kind() == S_IFIFO { O_WRONLY } else { O_RDWR };
    let opened = open(path, flags | O_NONBLOCK);
    tried(kind, &name, "open-write", &opened, Some(stat.identity));
    let Ok(file) = opened else { return };
    // Of what the kernel makes up, only whoever knows what a write would do may do it.
    if stat.kind() == S_IFREG && stat.size > 0 && !path.starts_with("/proc") && !path.starts_with("/sys") {
        let mut byte = 0u8;
        let at = &raw mut byte as usize;
        if call(nr::PREAD, &[file.0, at, 1, 0]) == Ok(1) {
            tried(kind, &name, "write", &call(nr::PWRITE, &[file.0, at, 1, 0]), Some(stat.identity));
        }
    }
}

/// A folder is made in it, and taken away.
pub fn make(kind: &str, path: &Path, stat: &Stat) {
    let new = c(path.join(format!(".sandkeep-probe-{}", pid())));
    let new = new.as_ptr() as usize;
    let made = call(nr::MKDIRAT, &[AT_FDCWD, new, 0o700]);
    if made.is_ok() {
        let _ = call(nr::UNLINKAT, &[AT_FDCWD, new, AT_REMOVEDIR]);
    }
    tried(kind, &path.to_string_lossy(), "mkdir", &made, Some(stat.identity));
}

/// A second name beside the first, which is taken away.
fn link(kind: &str, path: &Path, stat: &Stat) {
    let Some(folder) = path.parent() else { return };
    let (old, new) = (c(path), c(folder.join(format!(".sandkeep-probe-link-{}", pid()))));
    let new = new.as_ptr() as usize;
    let linked = call(nr::LINKAT, &[AT_FDCWD, old.as_ptr() as usize, AT_FDCWD, new, 0]);
    if linked.is_ok() {
        let _ = call(nr::UNLINKAT, &[AT_FDCWD, new, 0]);
    }
    tried(kind, &path.to_string_lossy(), "link", &linked, Some(stat.identity));
}
