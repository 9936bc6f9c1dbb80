//! Paths of the container, resolved inside its rootfs: nothing in here can be led outside by a symlink or a race.
//!
//! What exists is opened in one step, with openat2(2) and RESOLVE_IN_ROOT. Where something is missing, also at the end of
//! a symlink of the image or in the middle of one, it is walked to name by name, and made: an image that has
//! `/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf` and no /run is not broken, and other runtimes make what
//! is missing there, too.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{Mode, fstat, mkdirat};

use super::{SetupError, Step};
use crate::sys::{open, place, umask};

/// As many symlinks as the kernel follows on one path (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// A path has not more names than this (PATH_MAX), so no walk makes more folders: whoever makes us do more takes away
/// what we make.
const MOST_MADE: u32 = 4096;

/// The top of a container's tree.
pub struct Rootfs<'a>(pub BorrowedFd<'a>);

/// Where a path leads.
pub enum End {
    /// An O_PATH descriptor of what is there.
    There(OwnedFd),
    /// Nothing is there yet, not even a symlink: the folder it belongs in, and its name in that.
    Free { folder: OwnedFd, name: OsString, at: Missing },
}

/// Where in the root something is missing, for its error.
pub struct Missing(PathBuf);

impl Missing {
    fn below(folders: &[(OsString, OwnedFd)], name: &OsStr) -> Missing {
        let names = folders.iter().map(|(name, _)| name.as_os_str());
        Missing([OsStr::new("/")].into_iter().chain(names).chain([name]).collect())
    }

    fn cannot_be_made(self, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), CannotMake { path: self.0, source })
    }
}

/// A symlink may have led far from the path that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {path:?} there")]
struct CannotMake {
    path: PathBuf,
    source: io::Error,
}

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Like {
    Folder,
    File,
}

/// Which of the names that are missing a walk makes, as folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Make {
    All,
    /// All but the last.
    Parents,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

impl Rootfs<'_> {
    /// An O_PATH descriptor of what is at `path`, or None when nothing is.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>, SetupError> {
        self.open(path, OFlag::O_PATH, ResolveFlag::empty())
    }

    /// Whether that is the top of the tree, and not only a mount of the same folder.
    pub fn is_at(&self, found: &OwnedFd) -> Result<bool, SetupError> {
        let what = || "look at the root".to_owned();
        let (top, found) = (place::look(self.0, c"").step(what)?, place::look(found.as_fd(), c"").step(what)?);
        Ok(top.place == found.place)
    }

    /// Like [`Rootfs::find`], but a symlink anywhere on the way is an error.
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
                Err(source) => return Err(refused(path, source)),
            }
        }
    }

    /// Where `path` leads; the folders on the way are made (0755).
    pub fn end(&self, path: &Path) -> Result<End, SetupError> {
        match self.find(path)? {
            Some(found) => Ok(End::There(found)),
            None => self.walk(path, Make::Parents, Links::Followed).map_err(|source| refused(path, source)),
        }
    }

    /// What is at `path`: a folder (0755), made with its missing parents, when there is nothing.
    pub fn folder(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        match self.find(path)? {
            Some(found) => Ok(found),
            None => self.made(path, Links::Followed),
        }
    }

    /// Like [`Rootfs::folder`], but a symlink anywhere on the way is an error (ELOOP).
    pub fn folder_without_symlinks(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        match self.find_without_symlinks(path)? {
            Some(found) => Ok(found),
            None => self.made(path, Links::Refused),
        }
    }

    fn made(&self, path: &Path, links: Links) -> Result<OwnedFd, SetupError> {
        match self.walk(path, Make::All, links).map_err(|source| refused(path, source))? {
            End::There(folder) => Ok(folder),
            End::Free { .. } => Err(refused(path, io::ErrorKind::NotFound.into())),
        }
    }

    /// What is at `path`: an empty file (0644), made with its missing parents, when there is nothing.
    pub fn file(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        self.found_or_made(path, Like::File, Rootfs::end)
    }

    /// Like [`Rootfs::folder`] and [`Rootfs::file`], but if the last name is a symlink, that is what is there.
    pub fn itself(&self, path: &Path, like: Like) -> Result<OwnedFd, SetupError> {
        self.found_or_made(path, like, Rootfs::end_nofollow)
    }

    fn found_or_made(
        &self,
        path: &Path,
        like: Like,
        end: impl Fn(&Self, &Path) -> Result<End, SetupError>,
    ) -> Result<OwnedFd, SetupError> {
        // What has just appeared there may be a symlink, and lead on.
        for _ in 0..MOST_LINKS {
            let (folder, name, at) = match end(self, path)? {
                End::There(found) => return Ok(found),
                End::Free { folder, name, at } => (folder, name, at),
            };
            let made = match like {
                Like::Folder => new_folder(folder.as_fd(), &name),
                Like::File => new_file(folder.as_fd(), &name).map(drop),
            };
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(refused(path, at.cannot_be_made(error)));
                }
                _ => {}
            }
        }
        Err(refused(path, io::Error::from_raw_os_error(libc::ELOOP)))
    }

    /// Where `path` leads when its last name, should it be a symlink, is not followed: then the symlink is what is there.
    pub fn end_nofollow(&self, path: &Path) -> Result<End, SetupError> {
        let Some(name) = path.file_name() else { return self.end(path) };
        let folder = self.folder(path.parent().unwrap_or(Path::new("/")))?;
        match open::at(folder.as_fd(), Path::new(name), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0) {
            Ok(found) => Ok(End::There(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(End::Free { folder, name: name.to_owned(), at: Missing(path.to_owned()) })
            }
            Err(source) => Err(refused(path, source)),
        }
    }

    /// Like [`Rootfs::file`], but the last name may not be a symlink.
    pub fn file_without_symlink(&self, path: &Path) -> Result<OwnedFd, SetupError> {
        let found = self.itself(path, Like::File)?;
        match kind_of(&found).map_err(|source| refused(path, source))? {
            libc::S_IFLNK => {
                Err(SetupError::Refused(format!("{path:?} is a symlink in the container, and is not followed")))
            }
            _ => Ok(found),
        }
    }

    /// Name by name, each opened with O_NOFOLLOW in the folder that was opened before; no name is trusted twice. The
    /// folders that we came through are held open, and `..` goes back to the one before, never to what the kernel would
    /// call its parent: whatever is renamed meanwhile, no step leaves the root. Afterwards `path` leads there for the
    /// kernel, too: of `missing/../name`, `missing` is made as well.
    fn walk(&self, path: &Path, make: Make, links: Links) -> io::Result<End> {
        let most_links = if links == Links::Followed { MOST_LINKS } else { 0 };
        let (mut followed, mut made) = (0, 0);
        let mut above: Vec<(OsString, OwnedFd)> = Vec::new();
        let mut ahead: Vec<OsString> = names(path).rev().collect();
        while let Some(name) = ahead.pop() {
            if name == ".." {
                above.pop();
                continue;
            }
            let here = above.last().map_or(self.0, |(_, folder)| folder.as_fd());
            let found = match open::at(here, Path::new(&name), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if make == Make::Parents && ahead.is_empty() {
                        let at = Missing::below(&above, &name);
                        return Ok(End::Free { folder: itself(here)?, name, at });
                    }
                    made += 1;
                    if made > MOST_MADE {
                        return Err(io::Error::other("what is made there is taken away again"));
                    }
                    match new_folder(here, &name) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(Missing::below(&above, &name).cannot_be_made(error));
                        }
                        // Whatever is there now is looked at like all the others.
                        _ => ahead.push(name),
                    }
                    continue;
                }
                other => other?,
            };
            match kind_of(&found)? {
                libc::S_IFDIR => above.push((name, found)),
                libc::S_IFLNK => {
                    followed += 1;
                    if followed > most_links {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    let target = nix::fcntl::readlinkat(Some(found.as_raw_fd()), "")?;
                    if Path::new(&target).is_absolute() {
                        above.clear();
                    }
                    ahead.extend(names(Path::new(&target)).rev());
                }
                _ if ahead.is_empty() => return Ok(End::There(found)),
                _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            }
        }
        itself(above.last().map_or(self.0, |(_, folder)| folder.as_fd())).map(End::There)
    }
}

/// One more descriptor of a folder.
fn itself(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open::at(folder, Path::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY, 0)
}

/// The names of a path, and its `..`.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// Of exactly the mode 0755, whatever umask the caller has.
fn new_folder(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mode = Mode::from_bits_truncate(0o755);
    Ok(umask::cleared(|| mkdirat(Some(parent.as_raw_fd()), name, mode))?)
}

/// Of the mode 0644.
fn new_file(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    umask::cleared(|| open::at(folder, Path::new(name), OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW, 0o644))
}

fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

fn refused(path: &Path, source: io::Error) -> SetupError {
    SetupError::Resolve { path: path.into(), source }
}

/// S_IFDIR, S_IFLNK, …
fn kind_of(fd: &OwnedFd) -> io::Result<u32> {
    Ok(fstat(fd.as_raw_fd())?.st_mode & libc::S_IFMT)
}

/// Whether a descriptor is of a folder.
pub fn is_folder(fd: &OwnedFd) -> Result<bool, SetupError> {
    Ok(kind_of(fd).step(|| "look at an end of a mount".into())? == libc::S_IFDIR)
}

/// Whether a descriptor is of a symlink itself.
pub fn is_symlink(fd: &OwnedFd) -> Result<bool, SetupError> {
    Ok(kind_of(fd).step(|| "look at an end of a mount".into())? == libc::S_IFLNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Tree(tempfile::TempDir, std::fs::File);

    impl Tree {
        fn with(links: &[(&str, &str)]) -> Tree {
            let top = tempfile::tempdir().unwrap();
            links.iter().for_each(|(name, target)| symlink(target, top.path().join(name)).unwrap());
            let open = std::fs::File::open(top.path()).unwrap();
            Tree(top, open)
        }

        fn root(&self) -> Rootfs<'_> {
            Rootfs(self.1.as_fd())
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }
    }

    fn inode(fd: &OwnedFd) -> u64 {
        fstat(fd.as_raw_fd()).unwrap().st_ino
    }

    #[test]
    fn a_symlink_to_the_outside_stays_inside() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        let tree =
            Tree::with(&[("escape", target), ("up", "../../../../../.."), ("far", &format!("../../../..{target}"))]);
        tree.root().folder(Path::new("/up/made")).unwrap();
        assert!(tree.path("made").is_dir());
        for name in ["escape", "far"] {
            tree.root().folder(&Path::new("/").join(name).join("made")).unwrap();
            tree.root().file(&Path::new("/").join(name).join("file")).unwrap();
        }
        assert!(tree.path(&target[1..]).join("made").is_dir() && tree.path(&target[1..]).join("file").is_file());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    /// The kernel's own walk comes to the same place afterwards.
    #[test]
    fn what_is_made_at_the_end_of_a_dangling_link_is_found_there_by_the_kernel() {
        let links = [
            ("a", "b"),
            ("b", "/c/d"),
            ("dots", "none/../../../there/./it"),
            ("self", "."),
            ("abs", "/"),
            ("trailing", "folder/"),
        ];
        for path in
            ["/a", "/a/x", "/dots", "/dots/y", "/self/new", "/abs/new", "/trailing/z", "/no/../new", "/a/../../e/f"]
        {
            for like in [Like::Folder, Like::File] {
                let tree = Tree::with(&links);
                let root = tree.root();
                let made = if like == Like::Folder { root.folder(Path::new(path)) } else { root.file(Path::new(path)) };
                let made = made.unwrap();
                let found = root.find(Path::new(path)).unwrap().expect(path);
                assert_eq!(inode(&found), inode(&made), "{path}");
            }
        }
        let tree = Tree::with(&links);
        tree.root().folder(Path::new("/dots")).unwrap();
        assert!(tree.path("there/it").is_dir());
    }

    #[test]
    fn forty_links_are_followed_and_no_more() {
        let names: Vec<String> = (0..42).map(|n| format!("l{n}")).collect();
        let links: Vec<(&str, &str)> = names.windows(2).map(|two| (two[0].as_str(), two[1].as_str())).collect();
        let tree = Tree::with(&links);
        for (path, most) in [("/l0", false), ("/l0/x", false), ("/l1", true), ("/l1/x", true)] {
            let walked = tree.root().walk(Path::new(path), Make::All, Links::Followed);
            assert_eq!(walked.is_ok(), most, "{path}");
            if let Err(error) = walked {
                assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
            }
        }
    }

    #[test]
    fn where_symlinks_are_refused_none_is_followed() {
        let tree = Tree::with(&[("link", "none")]);
        for path in ["/link", "/link/below"] {
            assert!(tree.root().folder_without_symlinks(Path::new(path)).is_err());
            assert!(tree.root().walk(Path::new(path), Make::All, Links::Refused).is_err());
        }
        assert!(tree.root().file_without_symlink(Path::new("/link")).is_err());
        assert!(!tree.path("none").exists());
        tree.root().folder_without_symlinks(Path::new("/new/folder")).unwrap();
        let link = tree.root().itself(Path::new("/link"), Like::File).unwrap();
        assert!(is_symlink(&link).unwrap());
    }

    /// As a container does it that shares the folder: what `..` led to a moment ago is elsewhere now.
    #[test]
    fn a_folder_that_is_moved_out_during_the_walk_leads_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        let tree = Tree::with(&[]);
        let (inside, elsewhere) = (tree.path("a/b"), outside.path().join("deep/b"));
        for folder in [&inside, &elsewhere] {
            std::fs::create_dir_all(folder).unwrap();
            symlink("../../new", folder.join("link")).unwrap();
        }
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                    nix::fcntl::renameat2(None, &inside, None, &elsewhere, exchange).unwrap();
                }
            });
            for _ in 0..1000 {
                tree.root().walk(Path::new("/a/b/link/x"), Make::All, Links::Followed).unwrap();
                std::fs::remove_dir_all(tree.path("new")).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let names = |folder: &Path| {
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        assert_eq!((names(outside.path()), names(&elsewhere)), (vec!["deep".into()], vec!["link".into()]));
    }

    #[test]
    fn missing_files_are_made_and_found_again() {
        let inside = tempfile::tempdir().unwrap();
        let top = std::fs::File::open(inside.path()).unwrap();
        let root = Rootfs(top.as_fd());
        root.file(Path::new("/a/b/c")).unwrap();
        assert!(root.find(Path::new("/a/b/c")).unwrap().is_some());
        assert!(root.find(Path::new("/a/x")).unwrap().is_none());
    }
}
