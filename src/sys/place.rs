//! Which mount and which inode something is: what tells two places apart that bear the same name.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use serde::{Deserialize, Serialize};

use super::check;
use crate::model::record::RootIdentity;

/// By inode alone, a bind mount of `/` is `/`; by its mount, too, it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As mountinfo numbers them (proc_pid_mountinfo(5)).
    pub mount: u64,
    /// st_dev of its file system.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
}

impl From<Place> for RootIdentity {
    fn from(Place { mount, device, inode }: Place) -> RootIdentity {
        RootIdentity { mount_id: mount, device, inode }
    }
}

impl From<RootIdentity> for Place {
    fn from(RootIdentity { mount_id, device, inode }: RootIdentity) -> Place {
        Place { mount: mount_id, device, inode }
    }
}

/// What statx(2) says of a file: its place, and whether it is the top of its mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// It is the root of the mount that it is on.
    pub is_mount_top: bool,
}

/// Of `path` below `folder`, or of what is open there when `path` is empty; symlinks are not followed. ENOSYS: this kernel
/// does not tell mounts apart (before 5.8).
pub fn look(folder: BorrowedFd<'_>, path: &CStr) -> io::Result<Found> {
    let wanted = libc::STATX_MNT_ID | libc::STATX_INO;
    let flags = libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `path` and `found` outlive the call, which writes at most one struct statx.
    check(unsafe { libc::statx(folder.as_raw_fd(), path.as_ptr(), flags, wanted, found.as_mut_ptr()) }.into())?;
    // SAFETY: all-zero bytes are a valid statx, and the kernel has filled it.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & wanted != wanted {
        return Err(io::Error::from_raw_os_error(libc::ENOSYS));
    }
    let top = libc::STATX_ATTR_MOUNT_ROOT as u64;
    Ok(Found {
        place: Place {
            mount: found.stx_mnt_id,
            device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        },
        is_mount_top: found.stx_attributes & found.stx_attributes_mask & top != 0,
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_root_is_the_top_of_its_mount_and_a_folder_below_it_is_not() {
        let slash = std::fs::File::open("/").unwrap();
        let top = look(slash.as_fd(), c"").unwrap();
        assert!(top.is_mount_top);
        assert_eq!(look(slash.as_fd(), c"..").unwrap(), top);
        let etc = look(slash.as_fd(), c"etc").unwrap();
        assert!(!etc.is_mount_top);
        assert_eq!(etc.place.mount, top.place.mount);
        assert_ne!(etc.place.inode, top.place.inode);
        assert_ne!(look(slash.as_fd(), c"proc").unwrap().place.mount, top.place.mount);
    }
}
