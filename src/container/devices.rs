//! Device nodes, and the symlinks that every /dev has.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, mknodat};

use super::root::Root;
use super::{SetupError, Step};
use crate::spec::plan::DevicePlan;
use crate::sys::mount::{self, Extent};

/// How nodes come to be: in a user namespace mknod is refused, and the host's nodes are bound instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    Made,
    BoundFromHost,
}

pub fn make_all(root: &Root<'_>, devices: &[DevicePlan], nodes: Nodes) -> Result<(), SetupError> {
    for device in devices {
        make(root, device, nodes).or_else(|error| match &error {
            SetupError::Step { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

fn make(root: &Root<'_>, device: &DevicePlan, nodes: Nodes) -> Result<(), SetupError> {
    let path = &device.path;
    // A pipe needs no privilege, and the host has none of that name.
    if nodes == Nodes::BoundFromHost && device.file_type != libc::S_IFIFO {
        return bind(root, device);
    }
    let what = || format!("make the device {path:?}");
    let (folder, name) = root.parent(path)?;
    let folder = folder.as_fd().as_raw_fd();
    let kind = SFlag::from_bits_truncate(device.file_type);
    let number = libc::makedev(device.major as u32, device.minor as u32);
    let mode = Mode::from_bits_truncate(device.mode);
    match mknodat(Some(folder), &name, kind, Mode::empty(), number) {
        // We are inside a user namespace that somebody else has made.
        Err(nix::Error::EPERM) => return bind(root, device),
        other => other.step(what)?,
    }
    let owner = (Some(device.uid.into()), Some(device.gid.into()));
    nix::unistd::fchownat(Some(folder), &name, owner.0, owner.1, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
        .step(what)?;
    // The node is new and its folder is ours until the container runs: nobody can have put a symlink there.
    nix::sys::stat::fchmodat(Some(folder), &name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink).step(what)
}

/// The host's node of the same name, if it is the same device: mode and owner are those it has.
fn bind(root: &Root<'_>, device: &DevicePlan) -> Result<(), SetupError> {
    let path = &device.path;
    let tree = host_node(path)?;
    let found = nix::sys::stat::fstat(tree.as_raw_fd()).step(|| format!("look at the host's {path:?}"))?;
    let number = libc::makedev(device.major as u32, device.minor as u32);
    if found.st_mode & libc::S_IFMT != device.file_type || found.st_rdev != number {
        let (major, minor) = (device.major, device.minor);
        return Err(SetupError::Refused(format!(
            "the device {path:?}: in a user namespace it has to be the host's, whose {path:?} is not {major}:{minor}"
        )));
    }
    let target = root.file(path)?;
    mount::attach(tree.as_fd(), target.as_fd()).step(|| format!("bind the host's device {path:?}"))
}

/// A detached bind of one of the host's device nodes. Call before pivot_root.
pub fn host_node(path: &Path) -> Result<OwnedFd, SetupError> {
    let what = || format!("open the host's {path:?}");
    let host = std::fs::File::open("/").step(what)?;
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).map_err(std::io::Error::other).step(what)?;
    mount::clone_tree(host.as_fd(), &name, Extent::One, 0).step(what)
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
    let folder = format!("/proc/self/fd/{}", dev.as_raw_fd());
    for (name, target) in LINKS {
        if name == "core" && !Path::new("/proc/kcore").exists() {
            continue;
        }
        link(&folder, name, target)?;
    }
    if root.find(Path::new("/dev/pts/ptmx"))?.is_some() {
        link(&folder, "ptmx", "pts/ptmx")?;
    }
    Ok(())
}

fn link(folder: &str, name: &str, target: &str) -> Result<(), SetupError> {
    match symlink(target, Path::new(folder).join(name)) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.step(|| format!("make the symlink /dev/{name}")),
    }
}
