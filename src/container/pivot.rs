//! From the host's root to the container's, as the last of all mounts.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::MntFlags;

use super::forgiven;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::open::{self, AT_CWD};
use crate::sys::{mount, place};

/// How many mounts may lie on the new root. An overlay over the old root has two: the one that pivot_root puts there, and
/// the one that it was mounted on.
const MOST_ON_TOP: usize = 16;

/// pivot_root(2) without a folder for the old root: it lands on top of the new one, and is detached from there, until
/// nothing lies there any more. setns(2) puts whoever joins on what lies on top.
///
/// Never until detaching fails: that would take our own root off, too.
pub fn pivot(tree: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::fchdir(tree.as_raw_fd())?;
    nix::unistd::pivot_root(".", ".")?;
    for _ in 0..MOST_ON_TOP {
        nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
        nix::unistd::chdir("/")?;
        let here = open::at(AT_CWD, Path::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        if place::look(here.as_fd(), c"..")?.place.mount == place::look(here.as_fd(), c"")?.place.mount {
            return Ok(());
        }
        nix::unistd::fchdir(tree.as_raw_fd())?;
    }
    Err(io::Error::other(format!("more than {MOST_ON_TOP} mounts lie on it")))
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
    // Readable also when /proc is gone.
    let mut list = File::open("/proc/self/mountinfo")?;
    let mounts = read(&mut list)?;
    let mut unreachable = HashSet::new();
    for revealing in revealing(&mounts, place::look(tree, c"")?.place.mount) {
        let at = &revealing.at;
        match nix::mount::umount2(at, MntFlags::MNT_DETACH).map_err(io::Error::from) {
            Ok(()) => {}
            Err(error) if forgiven::MOUNT_IS_GONE.covers(&error) => drop(unreachable.insert(revealing.id)),
            Err(_) => {
                let blind = mount::new_filesystem("tmpfs", "tmpfs", &[], 0)?;
                mount::attach(blind.as_fd(), File::open(at)?.as_fd())?;
            }
        }
    }
    if let Some(left) = read(&mut list)?.iter().find(|mount| unreachable.contains(&mount.id)) {
        return Err(io::Error::other(format!("the host's {} at {:?} is below another mount", left.fstype, left.at)));
    }
    if covers == Covers::Elsewhere {
        mount::attach(tree, std::fs::File::open("/")?.as_fd())?;
    }
    nix::unistd::fchdir(tree.as_raw_fd())?;
    nix::unistd::chroot(".")?;
    nix::unistd::chdir("/")?;
    Ok(())
}

fn read(list: &mut File) -> io::Result<Vec<Mount>> {
    let mut bytes = Vec::new();
    list.rewind()?;
    list.read_to_end(&mut bytes)?;
    mountinfo::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Every whole proc or sysfs that is mounted, the last first, outside the tree whose top has the id `container`.
fn revealing(mounts: &[Mount], container: u64) -> Vec<&Mount> {
    let mut inside = HashSet::from([container]);
    let mut found = Vec::new();
    for mount in mounts {
        // A mount is listed after the one that it is on.
        if inside.contains(&mount.id) || inside.contains(&mount.parent) {
            inside.insert(mount.id);
        } else if mount.root == Path::new("/") && ["proc", "sysfs"].contains(&mount.fstype.as_str()) {
            found.push(mount);
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
        let text = "\
20 1 0:1 / / rw - rootfs rootfs rw
21 20 0:2 / /proc rw - proc proc rw
22 20 0:3 / /sys rw - sysfs sysfs rw
23 21 0:2 /sys /proc/sys ro - proc proc rw
24 20 0:4 / /a\\040b rw - proc proc rw
30 20 8:1 /rootfs / rw - ext4 /dev/x rw
31 30 0:9 / /proc rw - proc proc rw
32 31 0:9 / /proc/nested rw - proc proc rw
";
        let mounts = mountinfo::parse(text.as_bytes()).unwrap();
        let found: Vec<&Path> = revealing(&mounts, 30).iter().map(|mount| mount.at.as_path()).collect();
        assert_eq!(found, ["/a b", "/sys", "/proc"].map(Path::new));
    }
}
