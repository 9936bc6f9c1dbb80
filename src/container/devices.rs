//! Device nodes, and the symlinks that every /dev has.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;

use super::node::{Made, Node};
use super::root::{End, Root};
use super::{SetupError, Step, forgiven};
use crate::spec::plan::DevicePlan;
use crate::sys::mount::{self, Attributes, Extent};
use crate::sys::open;

/// How nodes come to be: in a user namespace mknod is refused, and the host's nodes are bound instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    Made,
    BoundFromHost,
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
    super::mounts::set_propagation(top.as_fd(), libc::MS_SLAVE | libc::MS_REC).step(what)?;
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

pub fn make_all(root: &Root<'_>, devices: &[DevicePlan], nodes: Nodes) -> Result<(), SetupError> {
    devices.iter().try_for_each(|device| make(root, device, nodes))
}

fn make(root: &Root<'_>, device: &DevicePlan, nodes: Nodes) -> Result<(), SetupError> {
    let node = node_of(device);
    // A pipe needs no privilege, and the host has none of that name.
    if nodes == Nodes::BoundFromHost && node.file_type != libc::S_IFIFO {
        return bind(root, device, &node);
    }
    // At the end of a symlink that leads to nothing, as with other runtimes.
    let End::Free { folder, name } = root.end(&device.path)? else { return Ok(()) };
    match node.make(folder.as_fd(), Path::new(&name)).step(|| format!("make the device {:?}", device.path))? {
        Made::New | Made::NameIsTaken => Ok(()),
        // We are inside a user namespace that somebody else has made.
        Made::NotAllowed => bind(root, device, &node),
    }
}

fn node_of(device: &DevicePlan) -> Node {
    let &DevicePlan { file_type, mode, uid, gid, .. } = device;
    Node { file_type, number: libc::makedev(device.major as u32, device.minor as u32), mode, uid, gid }
}

/// The host's node of the same name, if it is the same device: mode and owner are those it has.
fn bind(root: &Root<'_>, device: &DevicePlan, node: &Node) -> Result<(), SetupError> {
    let path = &device.path;
    let tree = host_node(path)?;
    // Of what is attached, not of a name.
    let found = nix::sys::stat::fstat(tree.as_raw_fd()).step(|| format!("look at the host's {path:?}"))?;
    if !node.is(&found) {
        let (major, minor) = (device.major, device.minor);
        return Err(SetupError::Refused(format!(
            "the device {path:?}: in a user namespace it has to be the host's, whose {path:?} is not {major}:{minor}"
        )));
    }
    let target = root.file(path)?;
    mount::attach(tree.as_fd(), target.as_fd()).step(|| format!("bind the host's device {path:?}"))
}

/// A detached bind of one of the host's device nodes. Call before pivot_root.
///
/// It is read-only: what is read from and written to the device passes, but the node, which is the host's own, keeps its
/// mode, owner, times and attributes. `nodev` would make it no device at all.
pub fn host_node(path: &Path) -> Result<OwnedFd, SetupError> {
    let what = || format!("open the host's {path:?}");
    let host = std::fs::File::open("/").step(what)?;
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).map_err(std::io::Error::other).step(what)?;
    let tree = mount::clone_tree(host.as_fd(), &name, Extent::One, 0).step(what)?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    mount::set_attributes(tree.as_fd(), Extent::One, Attributes { set, ..Attributes::default() }, None)
        .step(|| format!("make the host's {path:?} read-only"))?;
    Ok(tree)
}

/// /dev/fd, /dev/stdin, … and /dev/ptmx (runtime-spec, "Default Devices"). Those that exist are left alone.
pub fn link_all(root: &Root<'_>) -> Result<(), SetupError> {
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
