//! The host's sysfs, for a container that may have no other: a user namespace mounts one only of a network namespace that is
//! its own. It is for reading, and stays so.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::root::Rootfs;
use super::verify::Provenance;
use super::{SetupError, Step, source};
use crate::spec::plan::{MountKind, MountPlan, NamespaceKind, Plan};
use crate::sys::mount::{self, Attributes, Extent};
use crate::sys::place;
use crate::sys::user_namespace;

/// Where it is until the init takes it: over a folder of the host's sysfs, which the container does not mount anew then. No
/// step of ours looks in there.
const KEPT: &str = "/sys/bus";

/// By the creator: the host's sysfs for a mount of one that may be refused. Without what else is mounted in it, where that can
/// be left out. None: the mount will not be refused, or the host has none.
pub fn of_host(plan: &Plan, wanted: &MountPlan) -> Result<Option<OwnedFd>, SetupError> {
    if !may_be_refused(plan, wanted) {
        return Ok(None);
    }
    let what = || "open the host's /sys".to_owned();
    let tree = match one_or_all(Path::new("/sys")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.step(what)?,
    };
    if nix::sys::statfs::fstatfs(&tree).step(what)?.filesystem_type() != nix::sys::statfs::SYSFS_MAGIC {
        return Ok(None);
    }
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attributes = Attributes { set, clear: 0, propagation: libc::MS_SLAVE };
    mount::set_attributes(tree.as_fd(), Extent::Tree, attributes, None).step(what)?;
    Ok(Some(tree))
}

fn may_be_refused(plan: &Plan, wanted: &MountPlan) -> bool {
    match (plan.namespace(NamespaceKind::User), plan.namespace(NamespaceKind::Network)) {
        (_, Some(network)) if network.path.is_none() => false,
        (None, _) => user_namespace::is_ours_a_further_one(),
        // One that is older belongs to another.
        (Some(user), network) if user.path.is_none() || network.is_none() => true,
        // Both are joined. What is kept for it allows no other sysfs than a read-only one.
        _ => wanted.attrs_set & libc::MOUNT_ATTR_RDONLY != 0,
    }
}

/// What came from outside of our user namespace can only be had as a whole (mount_namespaces(7)).
fn one_or_all(path: &Path) -> io::Result<OwnedFd> {
    match source::detached(path, Extent::One, 0) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => source::detached(path, Extent::Tree, 0),
        other => other,
    }
}

/// In the process that is about to clone an init into a user namespace of its own, in its own mount namespace: what is
/// cloned from there into another user namespace stays read-only for ever (see `devices::lock_hosts`).
pub fn lock(plan: &Plan, binds: &[Option<OwnedFd>]) -> Result<(), SetupError> {
    let what = || "lock the host's sysfs".to_owned();
    let sysfs = |plan: &MountPlan| matches!(&plan.kind, MountKind::Filesystem { fstype, .. } if fstype == "sysfs");
    let kept = plan.mounts.iter().zip(binds).find_map(|(plan, tree)| tree.as_ref().filter(|_| sysfs(plan)));
    let Some(tree) = kept else { return Ok(()) };
    mount::attach(tree.as_fd(), File::open(KEPT).step(what)?.as_fd()).step(what)
}

/// Whether [`lock`] has been called: then what the creator has opened is taken from where it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// It has been: what was opened then is in its place.
    Locked,
    /// It has not: the descriptors are as the creator gave them.
    AsOpened,
}

/// By the init. Of the host's cgroups nothing is shown, should they have come along.
pub fn attach(
    opened: &OwnedFd,
    hosts: Hosts,
    target: &OwnedFd,
    provenance: &mut Provenance,
) -> Result<OwnedFd, SetupError> {
    let what = || "mount the host's sysfs".to_owned();
    let tree = match hosts {
        Hosts::Locked => one_or_all(Path::new(KEPT)).step(what)?,
        Hosts::AsOpened => opened.try_clone().step(what)?,
    };
    mount::attach(tree.as_fd(), target.as_fd()).step(what)?;
    provenance.gives(tree.as_fd())?;
    if let Some(cgroups) = Rootfs(tree.as_fd()).find(Path::new("/fs/cgroup"))?
        && place::look(cgroups.as_fd(), c"").step(what)?.is_mount_top
    {
        let options = [("mode".to_owned(), Some("555".to_owned()))];
        let cover = mount::new_filesystem("tmpfs", "tmpfs", &options, libc::MOUNT_ATTR_RDONLY).step(what)?;
        mount::attach(cover.as_fd(), cgroups.as_fd()).step(what)?;
    }
    Ok(tree)
}
