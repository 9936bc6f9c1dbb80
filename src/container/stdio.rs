//! Standard descriptors that are the host's own memory devices: the null device before all, which every caller gives to
//! a container that nobody types into.
//!
//! Who holds a descriptor of a node may change the node's mode, owner and times by way of /proc/self/fd, on the mount
//! that it was opened on. So before the application runs, such a descriptor is opened anew: as the container's own node
//! of the same number, which the container can reach anyway; where there is none, as the host's through a read-only
//! mount. What is read and written stays the same.
//!
//! Other files that the caller hands over as 0, 1 or 2 (logs, pipes, a terminal of its own) are the caller's will.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, ResolveFlag, fcntl};
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::devices::host_node;
use super::root::Rootfs;
use super::{SetupError, Step};
use crate::sys::{descriptors, open};

/// Character devices with major number 1 that anybody may open at any time, and nothing happens.
const MEMORY: [(u32, &str); 5] =
    [(3, "/dev/null"), (5, "/dev/zero"), (7, "/dev/full"), (8, "/dev/random"), (9, "/dev/urandom")];

/// What to do where the container has no such node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// The host's, through a read-only mount; only while the host's /dev and /proc are ours.
    HostsReadOnly,
    /// Only one that came through a read-only mount is left as it is: see [`prepare`].
    Refuse,
}

/// Of this process, whose root or root to be is `root`.
pub fn make_own(root: &Rootfs<'_>, otherwise: Otherwise) -> Result<(), SetupError> {
    for standard in all()? {
        match (standard.own(root), otherwise) {
            (Some(node), _) => standard.replace(node.as_fd())?,
            (None, _) if standard.is_read_only()? => {}
            (None, Otherwise::HostsReadOnly) => standard.replace(standard.hosts_read_only()?.as_fd())?,
            (None, Otherwise::Refuse) => return Err(standard.refused()),
        }
    }
    Ok(())
}

/// By the creator of a process that enters a container, where the host is still to be seen: what the container has no
/// node for comes through a read-only mount from here on. For this process too, to which it makes no difference. An
/// ordinary user may not mount on the host, not even so: then it is an error, and any other file does as stdio.
///
/// `root` is the container's root folder; None: it could not be opened, and may lack any node.
pub fn prepare(root: Option<BorrowedFd<'_>>) -> Result<(), SetupError> {
    for standard in all()? {
        let own = match root {
            Some(root) => standard.own(&Rootfs(root)),
            None => None,
        };
        if own.is_none() && !standard.is_read_only()? {
            standard.replace(standard.hosts_read_only()?.as_fd())?;
        }
    }
    Ok(())
}

/// One of 0, 1, 2 that is a memory device.
struct Standard {
    number: RawFd,
    device: u64,
    path: PathBuf,
    flags: OFlag,
}

fn all() -> Result<Vec<Standard>, SetupError> {
    let mut found = Vec::new();
    for number in 0..3 {
        let what = || format!("look at file descriptor {number}");
        let stat = match fstat(number) {
            Err(nix::Error::EBADF) => continue,
            other => other.step(what)?,
        };
        // Whoever has one walks from it to all of the host.
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            let text = format!("file descriptor {number} is a folder of the host's, and would lead out: redirect it");
            return Err(SetupError::Refused(text));
        }
        let Some(path) = memory_device(&stat) else { continue };
        let flags = OFlag::from_bits_retain(fcntl(number, FcntlArg::F_GETFL).step(what)?);
        found.push(Standard { number, device: stat.st_rdev, path: path.into(), flags });
    }
    Ok(found)
}

fn memory_device(stat: &libc::stat) -> Option<&'static str> {
    const MEM_MAJOR: u32 = 1;
    let is = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && libc::major(stat.st_rdev) == MEM_MAJOR;
    MEMORY.iter().find(|(minor, _)| is && libc::minor(stat.st_rdev) == *minor).map(|(_, path)| *path)
}

impl Standard {
    /// The container's node, open as this descriptor is. None: there is nothing of that name that can be opened so, or
    /// it is something else; why does not matter, since then the other ways are taken, which give less.
    ///
    /// What has that name in a running container is what its root likes it to be: looked at before it is opened, opened
    /// without waiting for anybody, and looked at again.
    fn own(&self, root: &Rootfs<'_>) -> Option<OwnedFd> {
        let is_it = |fd: &OwnedFd| fstat(fd.as_raw_fd()).is_ok_and(|stat| self.is(&stat));
        root.find_without_symlinks(&self.path).ok().flatten().filter(is_it)?;
        let flags = self.access() | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        root.open(&self.path, flags, ResolveFlag::RESOLVE_NO_SYMLINKS).ok().flatten().filter(is_it)
    }

    fn access(&self) -> OFlag {
        self.flags & (OFlag::O_ACCMODE | OFlag::O_APPEND)
    }

    fn is(&self, stat: &libc::stat) -> bool {
        memory_device(stat).is_some() && stat.st_rdev == self.device
    }

    /// Call while the host's /dev and /proc are to be seen.
    fn hosts_read_only(&self) -> Result<OwnedFd, SetupError> {
        let tree = host_node(&self.path)?;
        let stat = fstat(tree.as_raw_fd()).step(|| self.what())?;
        if !self.is(&stat) {
            return Err(SetupError::Refused(format!("the host's {:?} is another device", self.path)));
        }
        let numbers = std::fs::File::open("/proc/self/fd").step(|| self.what())?;
        let number = tree.as_raw_fd().to_string();
        open::at(numbers.as_fd(), Path::new(&number), self.access() | OFlag::O_NOCTTY, 0).step(|| self.what())
    }

    fn is_read_only(&self) -> Result<bool, SetupError> {
        let stat = match self.number {
            0 => fstatvfs(io::stdin()),
            1 => fstatvfs(io::stdout()),
            _ => fstatvfs(io::stderr()),
        };
        Ok(stat.step(|| self.what())?.flags().contains(FsFlags::ST_RDONLY))
    }

    fn replace(&self, node: BorrowedFd<'_>) -> Result<(), SetupError> {
        fcntl(node.as_raw_fd(), FcntlArg::F_SETFL(self.flags)).step(|| self.what())?;
        descriptors::place(node, self.number).step(|| self.what())
    }

    fn refused(&self) -> SetupError {
        let Standard { number, path, .. } = self;
        SetupError::Refused(format!(
            "file descriptor {number} is the host's {path:?}, and the container has none to open in its place"
        ))
    }

    fn what(&self) -> String {
        format!("open the container's own {:?} as file descriptor {}", self.path, self.number)
    }
}
