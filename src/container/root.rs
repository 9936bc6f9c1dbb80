//! Paths of the container, resolved inside its rootfs: nothing in here can be led outside by a symlink or a race.
//! What exists is opened with openat2(2) and RESOLVE_IN_ROOT; what is missing is made by pathrs, step by step.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, ResolveFlag};

use super::SetupError;
use crate::sys::open;

/// The top of a container's tree.
pub struct Root<'a>(pub BorrowedFd<'a>);

impl Root<'_> {
    /// An O_PATH descriptor of what is at `path`, or None when nothing is.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
        self.open(path, OFlag::O_PATH, ResolveFlag::empty())
    }

    /// Like [`Root::find`], but a symlink anywhere on the way is an error.
    pub fn find_without_symlinks(&self, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
        self.open(path, OFlag::O_PATH, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    pub fn open(&self, path: &Path, flags: OFlag, resolve: ResolveFlag) -> Result<Option<OwnedFd>, SetupError> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | resolve;
        loop {
            match open::confined(self.0, relative(path), flags, resolve) {
                Ok(fd) => return Ok(Some(fd)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                // A rename raced with the lookup: the kernel asks to try again (openat2(2)).
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(source) => return Err(SetupError::Resolve { path: path.into(), source }),
            }
        }
    }

    /// The folder at `path`, made with its missing parents (0755) when there is none.
    pub fn folder(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        if let Some(made) = self.make_in_parent(path)? {
            return Ok(made);
        }
        // Something odd is in the way (a dangling symlink, a `..`): pathrs goes step by step.
        let root = pathrs::RootRef::from_fd(self.0);
        let made = root.mkdir_all(relative(path), &Permissions::from_mode(0o755));
        made.map(OwnedFd::from).map_err(|error| resolve_error(path, error))
    }

    /// The usual case, in three system calls: the parent is there, or can be made the same way, and the name is free.
    fn make_in_parent(&self, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let parent = self.folder(parent)?;
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
        if nix::sys::stat::mkdirat(Some(parent.as_raw_fd()), name, mode).is_err() {
            return Ok(None);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(open::at(parent.as_fd(), Path::new(name), flags, 0).ok())
    }

    /// The file at `path`, made empty with its missing parents when there is none.
    pub fn file(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let (parent, name) = self.parent(path)?;
        match open::at(parent.as_fd(), &name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW, 0o644) {
            Ok(fd) => Ok(fd),
            // A symlink that leads to nothing yet, or something that has just appeared.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                let confined = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                open::create_confined(self.0, relative(path), 0o644, confined)
                    .map_err(|source| SetupError::Resolve { path: path.into(), source })
            }
            Err(source) => Err(SetupError::Resolve { path: path.into(), source }),
        }
    }

    /// Like [`Root::file`], but the last name may not be a symlink.
    pub fn file_without_symlink(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        let (parent, name) = self.parent(path)?;
        let refused = |source| SetupError::Resolve { path: path.into(), source };
        match open::at(parent.as_fd(), &name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW, 0o644) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = open::at(parent.as_fd(), &name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0).map_err(refused)?;
                match is_symlink(&found).map_err(refused)? {
                    true => Err(refused(io::Error::from_raw_os_error(libc::ELOOP))),
                    false => Ok(found),
                }
            }
            other => other.map_err(refused),
        }
    }

    /// The folder that holds `path` (made if missing), and the last name.
    pub fn parent(&self, path: &Path) -> Result<(OwnedFd, PathBuf), SetupError> {
        let parent = self.folder(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().ok_or_else(|| SetupError::Refused(format!("{path:?} names no file")))?;
        Ok((parent, PathBuf::from(name)))
    }
}

fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

fn resolve_error(path: &Path, error: pathrs::error::Error) -> SetupError {
    let source = match error.kind() {
        pathrs::error::ErrorKind::OsError(Some(errno)) => io::Error::from_raw_os_error(errno),
        _ => io::Error::other(error.to_string()),
    };
    SetupError::Resolve { path: path.into(), source }
}

fn is_symlink(fd: &OwnedFd) -> io::Result<bool> {
    Ok(nix::sys::stat::fstat(fd.as_raw_fd())?.st_mode & libc::S_IFMT == libc::S_IFLNK)
}

/// Whether a descriptor is of a folder.
pub fn is_folder(fd: &impl AsFd) -> Result<bool, SetupError> {
    use super::Step;
    let stat = nix::sys::stat::fstat(fd.as_fd().as_raw_fd()).step(|| "look at a mount source".into())?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_symlink_to_the_outside_stays_inside() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path(), inside.path().join("escape")).unwrap();
        symlink("../../../../../..", inside.path().join("up")).unwrap();
        let top = std::fs::File::open(inside.path()).unwrap();
        let root = Root(top.as_fd());
        root.folder(Path::new("/up/made")).unwrap();
        assert!(inside.path().join("made").is_dir());
        // The dangling link is followed inside the root or refused, never outside.
        let _ = root.folder(Path::new("/escape/made"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn missing_files_are_made_and_found_again() {
        let inside = tempfile::tempdir().unwrap();
        let top = std::fs::File::open(inside.path()).unwrap();
        let root = Root(top.as_fd());
        root.file(Path::new("/a/b/c")).unwrap();
        assert!(root.find(Path::new("/a/b/c")).unwrap().is_some());
        assert!(root.find(Path::new("/a/x")).unwrap().is_none());
    }
}
