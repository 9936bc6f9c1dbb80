//! `tmpcopyup`: what lies at a tmpfs's destination goes into it before it covers it.
//!
//! Descriptor by descriptor: whatever is swapped for a symlink meanwhile, by a container that shares the folder, leads
//! nowhere. A name is looked up once, and only in the folder it was read from.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::sys::open;

/// Deeper than any sane image; an end for what is made to have none.
const DEEPEST: u32 = 128;

/// Files, folders and symlinks of `from` with their owner and mode; devices, pipes and sockets are left out, as what they
/// stand for is not in them. `from` may be an O_PATH descriptor; `to` is an empty folder that nobody else sees yet.
pub fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    copy_folder(from, to, DEEPEST)
}

fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(io::Error::other(format!("folders are nested deeper than {DEEPEST}")));
    };
    // The trailing dot lists the folder itself, which the descriptor holds: nothing on the way can be swapped.
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}/.", from.as_raw_fd()))? {
        let name = entry?.file_name();
        let name = Path::new(&name);
        let found = match open::at(from, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0) {
            // Somebody has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        copy_one(&found, to, name, depth)?;
    }
    Ok(())
}

fn copy_one(found: &OwnedFd, to: BorrowedFd<'_>, name: &Path, depth: u32) -> io::Result<()> {
    let stat = fstat(found.as_raw_fd())?;
    let into = Some(to.as_raw_fd());
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {
            mkdirat(into, name, Mode::S_IRWXU)?;
            let made = open::at(to, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)?;
            copy_folder(found.as_fd(), made.as_fd(), depth)?;
            give(&made, &stat)
        }
        libc::S_IFREG => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
            let made = open::at(to, name, flags, 0o600)?;
            // The file that `found` is, whatever its name stands for by now.
            let mut source = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
            let mut target = File::from(made.try_clone()?);
            io::copy(&mut source, &mut target)?;
            give(&made, &stat)
        }
        libc::S_IFLNK => {
            let points_to = nix::fcntl::readlinkat(Some(found.as_raw_fd()), "")?;
            nix::unistd::symlinkat(points_to.as_os_str(), into, name)?;
            let made = open::at(to, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
            let (uid, gid) = owner(&stat);
            Ok(fchownat(Some(made.as_raw_fd()), "", uid, gid, AtFlags::AT_EMPTY_PATH)?)
        }
        _ => Ok(()),
    }
}

/// Owner first: changing it takes the set-user-id bit away (chown(2)).
fn give(made: &OwnedFd, stat: &FileStat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    nix::unistd::fchown(made.as_raw_fd(), uid, gid)?;
    File::from(made.try_clone()?).set_permissions(Permissions::from_mode(stat.st_mode & 0o7777))
}

fn owner(stat: &FileStat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn copy(from: &Path, to: &Path) -> io::Result<()> {
        let from = open::at(File::open("/")?.as_fd(), from, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        copy_up(from.as_fd(), File::open(to)?.as_fd())
    }

    #[test]
    fn files_folders_and_symlinks_keep_their_content_and_mode() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/file"), "text").unwrap();
        fs::set_permissions(from.path().join("a/b/file"), Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(from.path().join("a"), Permissions::from_mode(0o1777)).unwrap();
        symlink("b/file", from.path().join("a/link")).unwrap();
        nix::unistd::mkfifo(&from.path().join("pipe"), Mode::S_IRWXU).unwrap();
        copy(from.path(), to.path()).unwrap();
        let mode = |name: &str| fs::metadata(to.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b/file")), (0o1777, 0o4751));
        assert_eq!(fs::read_to_string(to.path().join("a/link")).unwrap(), "text");
        assert!(!to.path().join("pipe").exists());
    }

    #[test]
    fn a_symlink_to_the_outside_is_copied_as_one_and_never_followed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink("/etc", from.path().join("folder")).unwrap();
        symlink("/etc/passwd", from.path().join("file")).unwrap();
        copy(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_link(to.path().join("folder")).unwrap(), Path::new("/etc"));
        assert_eq!(fs::read_link(to.path().join("file")).unwrap(), Path::new("/etc/passwd"));
    }

    #[test]
    fn what_is_swapped_for_a_symlink_after_it_was_looked_up_is_copied_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("file"), "mine").unwrap();
        let folder = File::open(from.path()).unwrap();
        let name = Path::new("file");
        let found = open::at(folder.as_fd(), name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0).unwrap();
        fs::remove_file(from.path().join("file")).unwrap();
        symlink("/etc/passwd", from.path().join("file")).unwrap();
        copy_one(&found, File::open(to.path()).unwrap().as_fd(), name, 1).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("file")).unwrap(), "mine");
    }

    #[test]
    fn a_tree_without_an_end_is_refused() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("d/".repeat(DEEPEST as usize + 1))).unwrap();
        assert!(copy(from.path(), to.path()).is_err());
    }
}
