//! What was chosen by name, and is found by name again when it is mounted: meanwhile somebody who may rename on the way
//! can have put another in its place, so it is compared.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::spec::Identity;
use crate::sys::open::{self, AT_CWD};

/// Opened once: what it is, and its name without symbolic links.
pub(super) fn pin(path: &Path) -> io::Result<(PathBuf, Identity)> {
    let opened = open::at(AT_CWD, path, OFlag::O_PATH, 0)?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd()))?;
    let found = std::fs::File::from(opened).metadata()?;
    Ok((name, (found.dev(), found.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_identity_are_of_what_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let (name, identity) = pin(&link).unwrap();
        let found = std::fs::metadata(&real).unwrap();
        assert_eq!((name, identity), (std::fs::canonicalize(&real).unwrap(), (found.dev(), found.ino())));
        assert!(pin(&dir.path().join("none")).is_err());
    }
}
