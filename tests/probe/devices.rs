//! Device nodes: those that are there, and those that could be made.

use std::path::{Path, PathBuf};

use crate::kernel::*;
use crate::report::tried;
use crate::{touch, tree};

pub fn walk() {
    for path in tree::below(Path::new("/dev"), 500) {
        // Our own report is written there.
        if !path.starts_with("/dev/fd") && lstat(&path).is_ok_and(|found| found.kind() != S_IFLNK) {
            touch::everything("device", &path);
        }
    }
    for folder in ["/tmp", "/dev", "/"] {
        make(Path::new(folder));
    }
}

/// The disk that our root is on, and memory.
fn make(folder: &Path) {
    let disk = stat("/").map_or((8, 0), |root| (root.identity.major, root.identity.minor));
    for (name, mode, (major, minor)) in [
        ("disk", S_IFBLK, disk),
        ("first-disk", S_IFBLK, (254, 0)),
        ("mem", S_IFCHR, (1, 1)),
        ("kmsg", S_IFCHR, (1, 11)),
    ] {
        let path = PathBuf::from(format!("{}/.sandkeep-probe-{name}-{}", folder.display(), pid()));
        let at = c(&path);
        let at = at.as_ptr() as usize;
        // makedev(3)
        let number = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        let made = call(nr::MKNODAT, &[AT_FDCWD, at, (mode | 0o600) as usize, number as usize]);
        let target = format!("{}/{name}", folder.display());
        tried("mknod", &target, "mknod", &made, None);
        if made.is_ok() {
            tried("mknod", &target, "open", &open(&path, O_NONBLOCK), None);
            let _ = call(nr::UNLINKAT, &[AT_FDCWD, at, 0]);
        }
    }
}
