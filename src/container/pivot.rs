//! From the host's root to the container's, as the last of all mounts.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::mount::MntFlags;

use crate::sys::mount;
use crate::sys::procfs::unescape;

/// pivot_root(2) without a folder for the old root: it lands on top of the new one and is detached from there.
pub fn pivot(tree: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::fchdir(tree.as_raw_fd())?;
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(())
}

/// Where the container's tree is before it becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    Root,
    /// Where hooks look for it.
    Elsewhere,
}

/// For a host that runs from its initial ramdisk, which the kernel does not let go of: the tree covers the old root,
/// which stays below it. Of that, what would tell the container about the host is taken away first: as long as a whole
/// proc or sysfs is mounted anywhere here, a user namespace inside may mount another that hides nothing.
pub fn cover(tree: BorrowedFd<'_>, covers: Covers) -> io::Result<()> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    for at in revealing(&mountinfo, mount_id(tree)?) {
        match nix::mount::umount2(Path::new(&at), MntFlags::MNT_DETACH) {
            // It went with one that it was mounted on.
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(_) => {
                let blind = mount::new_filesystem("tmpfs", "tmpfs", &[], 0)?;
                mount::attach(blind.as_fd(), std::fs::File::open(&at)?.as_fd())?;
            }
        }
    }
    if covers == Covers::Elsewhere {
        mount::attach(tree, std::fs::File::open("/")?.as_fd())?;
    }
    nix::unistd::fchdir(tree.as_raw_fd())?;
    nix::unistd::chroot(".")?;
    nix::unistd::chdir("/")?;
    Ok(())
}

/// proc(5), fdinfo: the id by which mountinfo calls the mount that an open file is on.
fn mount_id(file: BorrowedFd<'_>) -> io::Result<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Where a whole proc or sysfs is mounted, the last first, outside the tree whose top has the id `container`.
fn revealing(mountinfo: &str, container: u32) -> Vec<String> {
    let mut inside = HashSet::from([container]);
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, superblock)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let [id, parent, _, root, at, ..] = fields[..] else { continue };
        let number = |field: &str| field.parse::<u32>().unwrap_or(0);
        // A mount is listed after the one that it is on.
        if inside.contains(&number(id)) || inside.contains(&number(parent)) {
            inside.insert(number(id));
        } else if root == "/" && ["proc ", "sysfs "].iter().any(|kind| superblock.starts_with(kind)) {
            found.push(unescape(at));
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_proc_and_sysfs_of_the_host_are_found_and_nothing_of_the_container() {
        let mountinfo = "\
20 1 0:1 / / rw - rootfs rootfs rw
21 20 0:2 / /proc rw - proc proc rw
22 20 0:3 / /sys rw - sysfs sysfs rw
23 21 0:2 /sys /proc/sys ro - proc proc rw
24 20 0:4 / /a\\040b rw - proc proc rw
30 20 8:1 /rootfs / rw - ext4 /dev/x rw
31 30 0:9 / /proc rw - proc proc rw
32 31 0:9 / /proc/nested rw - proc proc rw
";
        assert_eq!(revealing(mountinfo, 30), ["/a b", "/sys", "/proc"]);
    }
}
