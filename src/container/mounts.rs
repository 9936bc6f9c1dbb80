//! The mounts of a plan, attached inside the rootfs in the order of the spec.
//!
//! Bind mounts arrive as detached trees that the creator opened with the host's privileges; everything else is made here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::root::{End, Like, Rootfs, is_folder, is_symlink};
use super::verify::Provenance;
use super::{SetupError, Step, copy_up, filesystem, source, sysfs, tmpfs};
use crate::spec::plan::{MountKind, MountPlan};
use crate::sys::mount::{self, Attributes, Extent};

/// One v1 hierarchy, or the whole of v2, as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupView {
    /// Below /sys/fs/cgroup; empty for v2.
    pub name: String,
    /// On the host.
    #[serde(with = "crate::sys::carried")]
    pub folder: PathBuf,
    /// Who else runs in it.
    pub whose: Whose,
}

/// Whose a cgroup is that a container is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whose {
    /// The container's own.
    Containers,
    /// There was no privilege to make one for the container, which runs in its creator's: shown read-only, whatever the
    /// spec says, for it may have been given to the user to write to (CVE-2023-25809).
    Creators,
}

/// What a mount needs beside its plan.
pub struct Sources<'a> {
    /// One per mount of the plan, in order; Some for bind mounts, and for a sysfs the host's, in case that there is no other.
    pub binds: &'a [Option<OwnedFd>],
    pub cgroups: &'a [CgroupView],
    pub hosts_sysfs: sysfs::Hosts,
}

/// Read-only mounts in which later mounts and devices still need a place: they are made so when those have it.
pub struct Unfinished<'a>(Vec<(&'a MountPlan, OwnedFd)>);

impl Unfinished<'_> {
    pub fn finish(self) -> Result<(), SetupError> {
        for (plan, tree) in self.0 {
            let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
            mount::set_attributes(tree.as_fd(), Extent::One, attributes, None)
                .step(|| format!("make the mount {:?} read-only", plan.destination))?;
        }
        Ok(())
    }
}

pub fn attach_all<'a>(
    root: &Rootfs<'_>,
    plans: &'a [MountPlan],
    sources: &Sources<'_>,
    provenance: &mut Provenance,
) -> Result<Unfinished<'a>, SetupError> {
    let mut unfinished = Vec::new();
    for (plan, bind) in plans.iter().zip(sources.binds) {
        if let Some(tree) = attach_one(root, plan, bind.as_ref(), sources, provenance)? {
            unfinished.push((plan, tree));
        }
    }
    Ok(Unfinished(unfinished))
}

/// Some: a mount that is to be made read-only at the end.
fn attach_one(
    root: &Rootfs<'_>,
    plan: &MountPlan,
    bind: Option<&OwnedFd>,
    sources: &Sources<'_>,
    provenance: &mut Provenance,
) -> Result<Option<OwnedFd>, SetupError> {
    let destination = &plan.destination;
    refuse_dangerous(plan, bind)?;
    match (&plan.kind, bind) {
        (MountKind::Bind { .. }, Some(tree)) if plan.copy_symlink && is_symlink(tree)? => {
            copy_symlink(root, destination, tree).map(|()| None)
        }
        (MountKind::Bind { .. }, Some(tree)) => {
            let target = target(root, plan, if is_folder(tree)? { Like::Folder } else { Like::File })?;
            refuse_target(root, plan, Some(tree), &target)?;
            mount::attach(tree.as_fd(), target.as_fd()).step(|| format!("mount {destination:?}"))?;
            provenance.gives(tree.as_fd())?;
            finish(plan, tree.as_fd()).map(|()| None)
        }
        (MountKind::Bind { source, .. }, None) => {
            Err(SetupError::Refused(format!("the bind mount of {source:?} was not donated")))
        }
        (MountKind::Filesystem { fstype, source, options }, hosts) => {
            let options = match fstype.as_str() {
                "tmpfs" => tmpfs::options(root, destination, options)?,
                _ => options.into(),
            };
            let target = filesystem_target(root, plan, fstype)?;
            refuse_target(root, plan, None, &target)?;
            let later = plan.attrs_set & libc::MOUNT_ATTR_RDONLY != 0 && has_room_for_others(plan, fstype);
            let attributes = if later { plan.attrs_set & !libc::MOUNT_ATTR_RDONLY } else { plan.attrs_set };
            // Kernel file systems refuse flags of a superblock that others share ("ro" of sysfs): only mount attributes are set.
            let tree = match (filesystem::new(root, fstype, source, &options, attributes), hosts) {
                (Err(error), Some(hosts)) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let tree = sysfs::attach(hosts, sources.hosts_sysfs, &target, provenance)?;
                    return finish(plan, tree.as_fd()).map(|()| None);
                }
                (tree, _) => tree.step(|| format!("mount {fstype} at {destination:?}"))?,
            };
            if plan.copy_up {
                fill_from_below(root, destination, tree.as_fd())?;
            }
            mount::attach(tree.as_fd(), target.as_fd()).step(|| format!("mount {fstype} at {destination:?}"))?;
            match fstype.as_str() {
                // There is but one, the host's: whoever wants it mounted wants that.
                "devtmpfs" => provenance.gives(tree.as_fd())?,
                _ => provenance.makes(tree.as_fd())?,
            }
            finish(plan, tree.as_fd())?;
            Ok(later.then_some(tree))
        }
        (MountKind::Remount, _) => remount(root, plan).map(|()| None),
        (MountKind::Cgroup, _) => attach_cgroups(root, plan, sources.cgroups).map(|()| None),
    }
}

/// A tmpfs begins empty, and /dev is ours to fill.
fn has_room_for_others(plan: &MountPlan, fstype: &str) -> bool {
    fstype == "tmpfs" || normal(&plan.destination) == Path::new("/dev")
}

/// `remount`: other attributes for what an earlier mount has put at the destination.
fn remount(root: &Rootfs<'_>, plan: &MountPlan) -> Result<(), SetupError> {
    let destination = &plan.destination;
    let what = || format!("remount {destination:?}: is anything mounted there?");
    let missing = || SetupError::Refused(format!("remount {destination:?}: there is nothing of that name"));
    let target = root.find(destination)?.ok_or_else(missing)?;
    let attributes = Attributes { set: plan.attrs_set, clear: plan.attrs_clear, propagation: 0 };
    mount::set_attributes(target.as_fd(), Extent::One, attributes, None).step(what)?;
    finish(plan, target.as_fd())
}

/// What is at the destination, made if it is missing, of the kind that the kernel wants there: a folder for a folder, and
/// for everything else anything else. With `dest-nofollow` (crun's) a symlink is not followed but mounted on itself.
fn target(root: &Rootfs<'_>, plan: &MountPlan, like: Like) -> Result<OwnedFd, SetupError> {
    let destination = &plan.destination;
    let found = match (plan.destination_nofollow, like) {
        (true, _) => root.itself(destination, like)?,
        (false, Like::Folder) => root.folder(destination)?,
        (false, Like::File) => root.file(destination)?,
    };
    if is_symlink(&found)? && is_the_kernels(&found)? {
        let text = format!("refused to mount onto the symlink {destination:?}: it is one of the kernel's own");
        return Err(SetupError::Refused(text));
    }
    match (like, is_folder(&found)?) {
        (Like::Folder, true) | (Like::File, false) => Ok(found),
        (Like::Folder, false) => {
            let there = if is_symlink(&found)? { "symlink" } else { "file" };
            Err(SetupError::Refused(format!(
                "mount {destination:?}: not a directory: a folder can only be mounted onto a folder, and the container has \
                 a {there} there"
            )))
        }
        (Like::File, true) => Err(SetupError::Refused(format!(
            "mount {destination:?}: not a directory: a file can only be mounted onto a file, and the container has a folder \
             there"
        ))),
    }
}

/// crun's `copy-symlink`: one like the source, unless there is one.
fn copy_symlink(root: &Rootfs<'_>, destination: &Path, source: &OwnedFd) -> Result<(), SetupError> {
    let what = || format!("make the symlink {destination:?}");
    let points_to = nix::fcntl::readlinkat(Some(source.as_raw_fd()), "").step(what)?;
    let found = match root.end_nofollow(destination)? {
        End::Free { folder, name, .. } => {
            return nix::unistd::symlinkat(points_to.as_os_str(), Some(folder.as_raw_fd()), name.as_os_str())
                .step(what);
        }
        End::There(found) => found,
    };
    if is_symlink(&found)? && nix::fcntl::readlinkat(Some(found.as_raw_fd()), "").step(what)? == points_to {
        return Ok(());
    }
    Err(SetupError::Refused(format!("{}: the container has something else there", what())))
}

/// A procfs or sysfs must land on a real folder: through a symlink it would appear elsewhere, and the masks with it
/// (CVE-2019-16884, CVE-2023-28642).
fn filesystem_target(root: &Rootfs<'_>, plan: &MountPlan, fstype: &str) -> Result<OwnedFd, SetupError> {
    if !matches!(fstype, "proc" | "sysfs") {
        return target(root, plan, Like::Folder);
    }
    let destination = &plan.destination;
    match root.folder_without_symlinks(destination) {
        Ok(target) if is_folder(&target)? => Ok(target),
        Err(SetupError::Resolve { source, .. }) if source.raw_os_error() != Some(libc::ELOOP) => {
            Err(SetupError::Resolve { path: destination.clone(), source })
        }
        _ => {
            let text =
                format!("{destination:?} must be mounted on ordinary directory: the image has something else there");
            Err(SetupError::Refused(text))
        }
    }
}

/// Propagation and whole-tree attributes, once it is in its place.
fn finish(plan: &MountPlan, tree: BorrowedFd<'_>) -> Result<(), SetupError> {
    let destination = &plan.destination;
    if plan.recursive_set != 0 || plan.recursive_clear != 0 {
        let attributes = Attributes { set: plan.recursive_set, clear: plan.recursive_clear, propagation: 0 };
        mount::set_attributes(tree, Extent::Tree, attributes, None)
            .step(|| format!("set the recursive attributes of {destination:?}"))?;
    }
    for flags in &plan.propagation {
        mount::set_propagation(tree, *flags).step(|| format!("set the propagation of {destination:?}"))?;
    }
    Ok(())
}

/// Over /proc only a procfs, and inside it only the files that tools like lxcfs replace (CVE-2019-19921).
fn refuse_dangerous(plan: &MountPlan, bind: Option<&OwnedFd>) -> Result<(), SetupError> {
    const REPLACEABLE: [&str; 12] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
        "sys/fs/binfmt_misc",
    ];
    let destination = normal(&plan.destination);
    let Ok(below) = destination.strip_prefix("/proc") else { return Ok(()) };
    let replaceable = REPLACEABLE.iter().any(|name| below == Path::new(name));
    if replaceable || brings_procfs(plan, bind)? {
        return Ok(());
    }
    Err(not_in_proc(plan))
}

/// Of what was found at the destination: a symlink of the image may have led there.
fn refuse_target(
    root: &Rootfs<'_>,
    plan: &MountPlan,
    bind: Option<&OwnedFd>,
    target: &OwnedFd,
) -> Result<(), SetupError> {
    // What lies on top of the root is nothing that a process ever stands in.
    if root.is_at(target)? {
        let destination = &plan.destination;
        return Err(SetupError::Refused(format!(
            "refused to mount {destination:?}: it leads to the container's root, where nobody would see it"
        )));
    }
    refuse_in_proc(plan, bind, target)
}

fn refuse_in_proc(plan: &MountPlan, bind: Option<&OwnedFd>, target: &OwnedFd) -> Result<(), SetupError> {
    let named_so = normal(&plan.destination).starts_with("/proc");
    if named_so || !is_procfs(target)? || brings_procfs(plan, bind)? {
        return Ok(());
    }
    Err(not_in_proc(plan))
}

fn brings_procfs(plan: &MountPlan, bind: Option<&OwnedFd>) -> Result<bool, SetupError> {
    match (&plan.kind, bind) {
        (MountKind::Filesystem { fstype, .. }, _) => Ok(fstype == "proc"),
        (MountKind::Bind { .. }, Some(tree)) => is_procfs(tree),
        _ => Ok(false),
    }
}

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;

pub fn is_procfs(fd: &OwnedFd) -> Result<bool, SetupError> {
    Ok(filesystem_of(fd)? == PROC_SUPER_MAGIC)
}

fn is_the_kernels(fd: &OwnedFd) -> Result<bool, SetupError> {
    Ok([PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&filesystem_of(fd)?))
}

fn filesystem_of(fd: &OwnedFd) -> Result<i64, SetupError> {
    let stat = nix::sys::statfs::fstatfs(fd).step(|| "look at the two ends of a mount".into())?;
    Ok(stat.filesystem_type().0 as i64)
}

fn not_in_proc(plan: &MountPlan) -> SetupError {
    let destination = &plan.destination;
    SetupError::Refused(format!("refused to mount {destination:?}: only a procfs may be mounted in /proc"))
}

/// Without `.` and with `..` taken back, as text; the real lookup happens inside the rootfs anyway.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}

/// v1: a small tmpfs with one folder a hierarchy; v2: the one folder. Always the cgroup it is in, nothing above.
fn attach_cgroups(root: &Rootfs<'_>, plan: &MountPlan, cgroups: &[CgroupView]) -> Result<(), SetupError> {
    let destination = &plan.destination;
    let target = target(root, plan, Like::Folder)?;
    refuse_target(root, plan, None, &target)?;
    let what = || format!("mount the cgroups at {destination:?}");
    if let [view] = cgroups
        && view.name.is_empty()
    {
        let tree = cgroup_tree(view, plan)?;
        mount::attach(tree.as_fd(), target.as_fd()).step(what)?;
        return finish(plan, tree.as_fd());
    }
    let options = [("mode".to_owned(), Some("755".to_owned()))];
    let attributes = plan.attrs_set & !libc::MOUNT_ATTR_RDONLY;
    let tmpfs = mount::new_filesystem("tmpfs", "tmpfs", &options, attributes).step(what)?;
    mount::attach(tmpfs.as_fd(), target.as_fd()).step(what)?;
    let inside = Rootfs(tmpfs.as_fd());
    for view in cgroups {
        let name = &view.name;
        let tree = cgroup_tree(view, plan)?;
        let place = inside.folder(&Path::new("/").join(name))?;
        mount::attach(tree.as_fd(), place.as_fd()).step(what)?;
        // "cpu,cpuacct" is also found as "cpu" and as "cpuacct".
        for alias in name.split(',').filter(|alias| alias != name) {
            nix::unistd::symlinkat(name.as_str(), Some(tmpfs.as_fd().as_raw_fd()), alias).step(what)?;
        }
    }
    if plan.attrs_set & libc::MOUNT_ATTR_RDONLY != 0 {
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        mount::set_attributes(tmpfs.as_fd(), Extent::One, attributes, None).step(what)?;
    }
    finish(plan, tmpfs.as_fd())
}

fn cgroup_tree(view: &CgroupView, plan: &MountPlan) -> Result<OwnedFd, SetupError> {
    let folder = &view.folder;
    let what = || format!("open the cgroup {folder:?}");
    let tree = source::detached(folder, Extent::One, 0).step(what)?;
    let (mut set, mut clear) = (plan.attrs_set, plan.attrs_clear);
    if view.whose == Whose::Creators {
        set |= libc::MOUNT_ATTR_RDONLY;
        clear &= !libc::MOUNT_ATTR_RDONLY;
    }
    let attributes = Attributes { set, clear, propagation: libc::MS_PRIVATE };
    mount::set_attributes(tree.as_fd(), Extent::One, attributes, None).step(what)?;
    Ok(tree)
}

/// `tmpcopyup`: what lies at the destination goes into the new tmpfs before it covers it.
fn fill_from_below(root: &Rootfs<'_>, destination: &Path, tree: BorrowedFd<'_>) -> Result<(), SetupError> {
    let what = || format!("copy {destination:?} up into its tmpfs");
    let Some(source) = root.find(destination)? else { return Ok(()) };
    if !is_folder(&source)? {
        return Ok(());
    }
    copy_up::copy_up(source.as_fd(), tree).step(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged_without_their_detours() {
        assert_eq!(normal(Path::new("/a/../proc/./x")), Path::new("/proc/x"));
        assert_eq!(normal(Path::new("/../..")), Path::new("/"));
    }
}
