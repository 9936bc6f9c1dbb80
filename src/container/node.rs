//! A device node or a pipe, made in a folder that somebody else may be writing to at this moment.
//!
//! The mode is given to mknod(2) itself; the owner goes to a descriptor, once that is seen to be of the very node.
//! Nothing is ever done to a name a second time: a symlink that was swapped in leads nowhere (container/devices.rs used
//! to follow it with fchmodat(2), and gave files of the host to everybody).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mknodat};
use nix::unistd::fchownat;

use super::forgiven;
use crate::sys::{mode, open, umask};

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub file_type: u32,
    /// 0 for a pipe.
    pub number: u64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    New,
    /// Something has that name. Whatever it is, it was neither followed nor changed.
    NameIsTaken,
    /// mknod(2): no device is made by who is not privileged in the first user namespace.
    NotAllowed,
}

impl Node {
    pub fn make(&self, folder: BorrowedFd<'_>, name: &Path) -> io::Result<Made> {
        let kind = SFlag::from_bits_truncate(self.file_type);
        let mode = Mode::from_bits_truncate(self.mode);
        let made = umask::cleared(|| mknodat(Some(folder.as_raw_fd()), name, kind, mode, self.number));
        match made.map_err(io::Error::from) {
            Err(error) if forgiven::NAME_IS_TAKEN.covers(&error) => return Ok(Made::NameIsTaken),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && self.file_type != libc::S_IFIFO => {
                return Ok(Made::NotAllowed);
            }
            other => other?,
        }
        self.finish(folder, name).map(|()| Made::New)
    }

    /// Owner, and what a default ACL of the folder has taken from the mode.
    fn finish(&self, folder: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        let node = open::at(folder, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
        let found = fstat(node.as_raw_fd())?;
        if !self.is(&found) || found.st_uid != nix::unistd::geteuid().as_raw() || found.st_nlink != 1 {
            return Err(io::Error::other("something else was put into its place while it was made"));
        }
        let owned = (found.st_uid, found.st_gid) == (self.uid, self.gid);
        if !owned {
            let owner = (Some(self.uid.into()), Some(self.gid.into()));
            fchownat(Some(node.as_raw_fd()), "", owner.0, owner.1, AtFlags::AT_EMPTY_PATH)?;
        }
        // chown(2) takes the set-user-id and set-group-id bits away.
        let kept = if owned { found.st_mode & 0o7777 } else { found.st_mode & 0o1777 };
        if kept != self.mode { mode::change(node.as_fd(), self.mode) } else { Ok(()) }
    }

    /// Whether this is a node of that type and number.
    pub fn is(&self, found: &FileStat) -> bool {
        found.st_mode & libc::S_IFMT == self.file_type
            && (self.file_type == libc::S_IFIFO || found.st_rdev == self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    const NULL: Node = Node { file_type: libc::S_IFCHR, number: 0x103, mode: 0o640, uid: 7, gid: 8 };
    const PIPE: Node = Node { file_type: libc::S_IFIFO, number: 0, mode: 0o622, uid: 7, gid: 8 };

    fn is_root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            eprintln!("skipped: nodes need root");
        }
        root
    }

    fn made(node: Node, at: &Path) -> (u32, u32, u32) {
        let folder = File::open(at.parent().unwrap()).unwrap();
        let name = Path::new(at.file_name().unwrap());
        assert_eq!(node.make(folder.as_fd(), name).unwrap(), Made::New);
        let found = fs::symlink_metadata(at).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    }

    #[test]
    fn a_node_has_the_mode_and_owner_that_were_asked_for_whatever_the_umask() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, node) in [("null", NULL), ("pipe", PIPE)] {
            assert_eq!(made(node, &dir.path().join(name)), (node.mode, 7, 8));
        }
        let plain = Node { mode: 0o666, uid: 0, gid: 0, ..NULL };
        assert_eq!(made(plain, &dir.path().join("plain")), (0o666, 0, 0));
        // The folder's group is not the one that was asked for.
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        std::os::unix::fs::chown(&shared, None, Some(99)).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o2777)).unwrap();
        assert_eq!(made(plain, &shared.join("plain")), (0o666, 0, 0));
        // chown(2) would have taken the bit away.
        if mode::change(File::open(&shared).unwrap().as_fd(), 0o777).is_ok() {
            assert_eq!(made(Node { mode: 0o4660, ..NULL }, &dir.path().join("set")), (0o4660, 7, 8));
        }
    }

    #[test]
    fn whatever_has_the_name_already_is_left_alone() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&victim, dir.path().join("link")).unwrap();
        symlink("/nowhere", dir.path().join("dangling")).unwrap();
        let folder = File::open(dir.path()).unwrap();
        for name in ["victim", "link", "dangling"] {
            for node in [NULL, PIPE] {
                assert_eq!(node.make(folder.as_fd(), Path::new(name)).unwrap(), Made::NameIsTaken);
            }
        }
        let found = fs::metadata(&victim).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o600, 0, 0));
    }

    /// Each is what the name may stand for when it is looked at again.
    #[test]
    fn what_was_swapped_in_since_is_refused_and_not_touched() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "").unwrap();
        fs::set_permissions(path("file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink(path("file"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let folder = File::open(dir.path()).unwrap();
        let other = Node { number: 0x105, uid: 0, gid: 0, ..NULL };
        assert_eq!(other.make(folder.as_fd(), Path::new("zero")).unwrap(), Made::New);
        assert_eq!(NULL.make(folder.as_fd(), Path::new("foreign")).unwrap(), Made::New);
        let twice = Node { uid: 0, gid: 0, ..NULL };
        assert_eq!(twice.make(folder.as_fd(), Path::new("twice")).unwrap(), Made::New);
        fs::hard_link(path("twice"), path("linked")).unwrap();
        let look = |name: &str| {
            let found = fs::symlink_metadata(path(name)).unwrap();
            (found.mode(), found.uid(), found.gid())
        };
        for name in ["file", "link", "folder", "zero", "foreign", "linked"] {
            let before = look(name);
            let wanted = Node { mode: 0o666, uid: 5, gid: 5, ..NULL };
            let error = wanted.finish(folder.as_fd(), Path::new(name)).unwrap_err();
            assert!(error.to_string().contains("put into its place"), "{name}: {error}");
            assert_eq!(look(name), before, "{name}");
        }
        assert_eq!(look("file").0 & 0o7777, 0o600);
        let gone = NULL.finish(folder.as_fd(), Path::new("gone")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
