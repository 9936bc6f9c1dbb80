//! Paths that a container must not see or must not write.
//!
//! Each is found inside the rootfs and covered on the very descriptor that was found, so nothing can be swapped in
//! between (CVE-2025-31133). What covers it is the container's alone: one small file system with a null device and an
//! empty folder, closed to writing as a whole. Nothing of the host's is in it, its /dev/null least of all: who may reach a
//! node may change its mode and owner, and those of that one are everybody's.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};

use super::node::{Made, Node};
use super::root::{Rootfs, is_folder};
use super::{SetupError, Step, forgiven};
use crate::sys::mount::{self, Attributes, Extent};
use crate::sys::umask;

/// Call before the root is switched. What makes the covers stays behind on the host's side, in this mount namespace.
pub fn mask_all(root: &Rootfs<'_>, paths: &[PathBuf]) -> Result<(), SetupError> {
    let mut covers: Option<Covers> = None;
    for path in paths {
        let Some(target) = find(root, path)? else { continue };
        let covers = match &covers {
            Some(made) => made,
            None => {
                covers.insert(Covers::make().step(|| "make a null device and an empty folder to mask with".into())?)
            }
        };
        if root.is_at(&target)? {
            let text = format!("mask {path:?}: it leads to the container's root, which nothing can cover");
            return Err(SetupError::Refused(text));
        }
        let what = || format!("mask {path:?}");
        let cover = covers.like(is_folder(&target)?).step(what)?;
        mount::attach(cover.as_fd(), target.as_fd()).step(what)?;
    }
    Ok(())
}

/// A tmpfs with `file`, which is a null device where one can be made, and `folder` in it.
struct Covers(OwnedFd);

impl Covers {
    fn make() -> io::Result<Covers> {
        let options = [("nr_blocks", "1"), ("nr_inodes", "3"), ("mode", "555")];
        let options = options.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        let tree = mount::new_sealed_filesystem("tmpfs", "tmpfs", &options, attributes, fill)?;
        // Before 6.15 only of what is attached somewhere a part can be cloned. Every procfs has this folder.
        mount::attach(tree.as_fd(), std::fs::File::open("/proc/driver")?.as_fd())?;
        Ok(Covers(tree))
    }

    fn like(&self, folder: bool) -> io::Result<OwnedFd> {
        mount::clone_tree(self.0.as_fd(), if folder { c"folder" } else { c"file" }, Extent::One, 0)
    }
}

/// Whatever umask the caller has. In a user namespace no device can be made: there, a file is as empty.
fn fill(top: BorrowedFd<'_>) -> io::Result<()> {
    let null = Node { file_type: libc::S_IFCHR, number: libc::makedev(1, 3), mode: 0o666, uid: 0, gid: 0 };
    if null.make(top, Path::new("file"))? == Made::NotAllowed {
        let mode = Mode::from_bits_truncate(0o444);
        umask::cleared(|| mknodat(Some(top.as_raw_fd()), "file", SFlag::S_IFREG, mode, 0))?;
    }
    umask::cleared(|| mkdirat(Some(top.as_raw_fd()), "folder", Mode::from_bits_truncate(0o555)))?;
    Ok(())
}

fn find(root: &Rootfs<'_>, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
    match root.find(path) {
        Err(SetupError::Resolve { source, .. }) if forgiven::MASK_BELOW_A_FILE.covers(&source) => Ok(None),
        other => other,
    }
}

/// Whether one of the paths is the container's root itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Done,
    /// What is attached on top of the root is nothing that a process ever stands in: its own mount has to be made read-only,
    /// when everything has its place in it.
    Root,
}

/// Each path bound onto itself, read-only.
pub fn make_readonly(root: &Rootfs<'_>, paths: &[PathBuf]) -> Result<Rest, SetupError> {
    let mut rest = Rest::Done;
    for path in paths {
        let Some(target) = find(root, path)? else { continue };
        if root.is_at(&target)? {
            rest = Rest::Root;
            continue;
        }
        let what = || format!("make {path:?} read-only");
        let tree = mount::clone_tree(target.as_fd(), c"", Extent::Tree, 0).step(what)?;
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        mount::set_attributes(tree.as_fd(), Extent::One, attributes, None).step(what)?;
        mount::attach(tree.as_fd(), target.as_fd()).step(what)?;
    }
    Ok(rest)
}
