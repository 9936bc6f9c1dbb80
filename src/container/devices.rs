//! Device nodes, and the symlinks that every /dev has.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;

use super::mounts::is_procfs;
use super::node::{Made, Node};
use super::root::{End, Rootfs};
use super::{SetupError, Step, forgiven, source};
use crate::spec::plan::{DevicePlan, IdMapping, NamespaceKind, Plan};
use crate::sys::mount::{self, Attributes, Extent};
use crate::sys::open;
use crate::sys::user_namespace;

/// How nodes come to be: in a user namespace mknod is refused, and others' nodes are bound instead.
#[derive(Debug, Clone, Copy)]
pub enum Nodes<'a> {
    /// By mknod(2), with mode and owner in one step.
    Made,
    /// One per device: what [`lacking`] has made, and else the host's own.
    Bound(&'a [Option<OwnedFd>]),
}

/// For a container with a new user namespace, by its creator: the devices that the host has not under their names, or has as
/// other devices, one per device of the plan. Each is made, as crun does it, on a file system of its own, with its mode and
/// with an owner in the numbers of the host; what comes out is a detached bind of it. None: the host has it, or the creator
/// may make none, as only root of the first user namespace may.
pub fn lacking(plan: &Plan) -> Result<Vec<Option<OwnedFd>>, SetupError> {
    if !plan.makes(NamespaceKind::User) || user_namespace::is_ours_a_further_one() {
        return Ok(Vec::new());
    }
    let make = |device: &DevicePlan| {
        let node = node_of(device);
        let lacks = match nix::sys::stat::stat(&device.path) {
            Ok(found) => !node.is(&found),
            Err(error) => [nix::Error::ENOENT, nix::Error::ENOTDIR].contains(&error),
        };
        // Who is not mapped owns nothing in there.
        let owner = (outside(&plan.uid_mappings, device.uid), outside(&plan.gid_mappings, device.gid));
        match owner {
            (Some(uid), Some(gid)) if lacks && node.file_type != libc::S_IFIFO => {
                let node = Node { uid, gid, ..node };
                let what = || format!("make the device {:?}, which the host lacks", device.path);
                source::from_elsewhere(|| alone(&node)).step(what).map(Some)
            }
            _ => Ok(None),
        }
    };
    plan.devices.iter().map(make).collect()
}

/// Call in a mount namespace that ends with this process.
fn alone(node: &Node) -> std::io::Result<OwnedFd> {
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let tree = mount::new_filesystem("tmpfs", "tmpfs", &[("mode".into(), Some("755".into()))], attributes)?;
    match node.make(tree.as_fd(), Path::new("node"))? {
        Made::New => {}
        Made::NameIsTaken | Made::NotAllowed => return Err(std::io::ErrorKind::PermissionDenied.into()),
    }
    // Before 6.15 only of what is attached somewhere a part can be cloned. Every procfs has this folder.
    mount::attach(tree.as_fd(), std::fs::File::open("/proc/driver")?.as_fd())?;
    mount::clone_tree(tree.as_fd(), c"node", Extent::One, 0)
}

/// An id of the container's, as the host has it.
fn outside(mappings: &[IdMapping], id: u32) -> Option<u32> {
    let range = mappings.iter().find(|range| id >= range.container && id - range.container < range.size)?;
    range.host.checked_add(id - range.container)
}

/// In the process that is about to clone an init into a user namespace of its own: the host's nodes that will be bound
/// there are covered, in a mount namespace of this process, by read-only binds of themselves. What is cloned from there
/// into another user namespace keeps its flags for ever (mount_namespaces(7)): root of the container, with CAP_SYS_ADMIN
/// too, makes none of them writable again.
pub fn lock_hosts(devices: &[DevicePlan]) -> Result<(), SetupError> {
    let what = || "make a mount namespace for the host's devices".to_owned();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).step(what)?;
    let top = std::fs::File::open("/").step(what)?;
    // The host must not see them.
    mount::set_propagation(top.as_fd(), libc::MS_SLAVE | libc::MS_REC).step(what)?;
    for device in devices.iter().filter(|device| device.file_type != libc::S_IFIFO) {
        let path = &device.path;
        let node = match host_node(path) {
            Err(SetupError::Step { source, .. }) if forgiven::NO_HOST_DEVICE.covers(&source) => continue,
            other => other?,
        };
        let what = || format!("lock the host's {path:?}");
        let name = path.strip_prefix("/").unwrap_or(path);
        let target = open::at(top.as_fd(), name, OFlag::O_PATH, 0).step(what)?;
        mount::attach(node.as_fd(), target.as_fd()).step(what)?;
    }
    Ok(())
}

/// Every device of the plan, in its order; one that is there already is left alone. On an error those before it stay,
/// in a mount namespace that is about to end.
pub fn make_all(root: &Rootfs<'_>, devices: &[DevicePlan], nodes: Nodes<'_>) -> Result<(), SetupError> {
    devices.iter().enumerate().try_for_each(|(at, device)| make(root, device, at, nodes))
}

fn make(root: &Rootfs<'_>, device: &DevicePlan, at: usize, nodes: Nodes<'_>) -> Result<(), SetupError> {
    let node = node_of(device);
    match nodes {
        // A pipe needs no privilege, and the host has none of that name.
        Nodes::Bound(made) if node.file_type != libc::S_IFIFO => {
            return bind(root, device, &node, made.get(at).and_then(Option::as_ref));
        }
        _ => {}
    }
    // At the end of a symlink that leads to nothing, as with other runtimes.
    let End::Free { folder, name, .. } = root.end(&device.path)? else { return Ok(()) };
    match node.make(folder.as_fd(), Path::new(&name)).step(|| format!("make the device {:?}", device.path))? {
        Made::New | Made::NameIsTaken => Ok(()),
        // We are inside a user namespace that somebody else has made.
        Made::NotAllowed => bind(root, device, &node, None),
    }
}

fn node_of(device: &DevicePlan) -> Node {
    let &DevicePlan { file_type, mode, uid, gid, .. } = device;
    Node { file_type, number: libc::makedev(device.major as u32, device.minor as u32), mode, uid, gid }
}

/// The one that was made for the container, or the host's node of the same name, if it is the same device: that one's mode
/// and owner are those it has.
fn bind(root: &Rootfs<'_>, device: &DevicePlan, node: &Node, made: Option<&OwnedFd>) -> Result<(), SetupError> {
    let path = &device.path;
    let what = || format!("bind the device {path:?}");
    if let Some(tree) = made {
        return mount::attach(tree.as_fd(), target(root, path)?.as_fd()).step(what);
    }
    let tree = host_node(path)?;
    // Of what is attached, not of a name.
    let found = nix::sys::stat::fstat(tree.as_raw_fd()).step(|| format!("look at the host's {path:?}"))?;
    if !node.is(&found) {
        let (major, minor) = (device.major, device.minor);
        return Err(SetupError::Refused(format!(
            "the device {path:?}: in a user namespace it has to be the host's, whose {path:?} is not {major}:{minor}"
        )));
    }
    mount::attach(tree.as_fd(), target(root, path)?.as_fd()).step(what)
}

/// A symlink of the image leads no device onto a file of /proc, which the runtime itself may be about to use.
fn target(root: &Rootfs<'_>, path: &Path) -> Result<OwnedFd, SetupError> {
    let target = root.file(path)?;
    match is_procfs(&target)? {
        false => Ok(target),
        true => Err(SetupError::Refused(format!("refused to bind the device {path:?}: it would lie in /proc"))),
    }
}

/// A detached bind of one of the host's device nodes. Call before pivot_root.
///
/// It is read-only: what is read from and written to the device passes, but the node, which is the host's own, keeps its
/// mode, owner, times and attributes. `nodev` would make it no device at all.
pub fn host_node(path: &Path) -> Result<OwnedFd, SetupError> {
    let what = || format!("open the host's {path:?}");
    let tree = source::detached(path, Extent::One, 0).step(what)?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    mount::set_attributes(tree.as_fd(), Extent::One, Attributes { set, ..Attributes::default() }, None)
        .step(|| format!("make the host's {path:?} read-only"))?;
    Ok(tree)
}

/// /dev/fd, /dev/stdin, … and /dev/ptmx (runtime-spec, "Default Devices"). Those that exist are left alone.
pub fn link_all(root: &Rootfs<'_>) -> Result<(), SetupError> {
    const LINKS: [(&str, &str); 5] = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
    ];
    let Some(dev) = root.find(Path::new("/dev"))? else { return Ok(()) };
    for (name, target) in LINKS {
        if name == "core" && !Path::new("/proc/kcore").exists() {
            continue;
        }
        link(dev.as_fd(), name, target)?;
    }
    if root.find(Path::new("/dev/pts/ptmx"))?.is_some() {
        link(dev.as_fd(), "ptmx", "pts/ptmx")?;
    }
    Ok(())
}

fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<(), SetupError> {
    match nix::unistd::symlinkat(target, Some(dev.as_raw_fd()), name).map_err(std::io::Error::from) {
        Err(error) if forgiven::NAME_IS_TAKEN.covers(&error) => Ok(()),
        other => other.step(|| format!("make the symlink /dev/{name}")),
    }
}
