//! Paths that a container must not see or must not write.
//!
//! Each is found inside the rootfs and covered on the very descriptor that was found, so nothing can be swapped in
//! between (CVE-2025-31133). What covers it comes from the host's side of the pivot, never from the container's files.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::devices::host_node;
use super::root::{Root, is_folder};
use super::{SetupError, Step};
use crate::sys::mount::{self, Attributes, Extent};

/// Files are covered by the host's /dev/null, folders by one shared, empty, read-only tmpfs.
pub fn mask_all(root: &Root<'_>, paths: &[PathBuf]) -> Result<(), SetupError> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = find(root, path)? else { continue };
        let cover = if is_folder(&target)? {
            match &empty {
                // A copy of the one that is already attached: every kernel allows that.
                Some(first) => mount::clone_tree(first.as_fd(), c"", Extent::One, 0),
                None => new_empty_folder(),
            }
            .step(|| format!("make an empty folder to mask {path:?}"))?
        } else {
            host_node(Path::new("/dev/null"))?
        };
        mount::attach(cover.as_fd(), target.as_fd()).step(|| format!("mask {path:?}"))?;
        if empty.is_none() && is_folder(&cover)? {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// What has a file for a parent is not there either.
fn find(root: &Root<'_>, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
    match root.find(path) {
        Err(SetupError::Resolve { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        other => other,
    }
}

fn new_empty_folder() -> std::io::Result<OwnedFd> {
    let options = [("nr_blocks", "1"), ("nr_inodes", "1"), ("mode", "755")];
    let options: Vec<_> = options.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
    let attributes =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    mount::new_filesystem("tmpfs", "tmpfs", &options, attributes)
}

/// Each path bound onto itself, read-only.
pub fn make_readonly(root: &Root<'_>, paths: &[PathBuf]) -> Result<(), SetupError> {
    for path in paths {
        let Some(target) = find(root, path)? else { continue };
        let what = || format!("make {path:?} read-only");
        let tree = mount::clone_tree(target.as_fd(), c"", Extent::Tree, 0).step(what)?;
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        mount::set_attributes(tree.as_fd(), Extent::One, attributes, None).step(what)?;
        mount::attach(tree.as_fd(), target.as_fd()).step(what)?;
    }
    Ok(())
}
