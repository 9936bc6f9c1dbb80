//! Whom we believe. What lies below a root says whom to kill and what to remove, and root acts on it: it must be ours, and
//! nobody else may write to it or put something else in its place. What is not is refused before anything of it is read.
//!
//! | what | who owns it | who else may write to it |
//! |---|---|---|
//! | the root, `sandboxes`, `store`, a sandbox's folder, a file that is read | we: the effective user | nobody |
//! | a folder above the root | we or root | nobody; anybody where it is sticky, and what we go on to is ours or root's |
//! | a symbolic link on the way to the root | we or root | – |
//!
//! "Nobody" leaves out the group of root, and our own private one (its number is our uid), for folders above the root.
//! In a user namespace every id that it does not have reads as the overflow uid, root of the host among them: above the
//! root we believe such an owner of a folder, since `/` is of that kind; of the root itself, and of a link in a folder that
//! is open to all, we do not.
//!
//! Every step is taken from an open folder and looked at after it was opened, so that nothing is swapped in between. From
//! there on only we and root can swap anything.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::geteuid;

use super::StoreError;
use super::error::Distrust;
use crate::sys::open;
use crate::sys::user_namespace;

const ROOT: u32 = 0;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// As the kernel, path_resolution(7).
const MOST_LINKS: u32 = 40;

/// What to do about a folder that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Report,
    /// Private to us.
    Make,
}

/// The folder at this absolute path, by a way that nobody else can lead elsewhere. Whether it is ours itself is not asked.
pub(super) fn folder(path: &Path, missing: Missing) -> Result<Option<File>, StoreError> {
    let failed = |source| StoreError::OpenRoot { path: path.to_owned(), source };
    let mut here = Here::top().map_err(failed)?;
    let mut todo = components(path);
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        let crossed = here.check(path)?;
        let next = match open_any(&here.dir, &name) {
            Err(error) if error.kind() == ErrorKind::NotFound && missing == Missing::Make => {
                make(&here.dir, &name).map_err(|source| StoreError::MakeRoot { path: path.to_owned(), source })?;
                open_any(&here.dir, &name).map_err(failed)?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(StoreError::NotAFolder { path: path.to_owned() });
            }
            opened => opened.map_err(failed)?,
        };
        let about = next.metadata().map_err(failed)?;
        let at = here.path.join(&name);
        if about.file_type().is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(failed(io::Error::from_raw_os_error(libc::ELOOP)));
            }
            if !is_believed(about.uid(), crossed) {
                let why = Distrust::Link { owner: about.uid(), we: geteuid().as_raw() };
                return Err(StoreError::UntrustedWay { path: path.to_owned(), at, why });
            }
            let target = PathBuf::from(
                nix::fcntl::readlinkat(Some(next.as_raw_fd()), "").map_err(|errno| failed(errno.into()))?,
            );
            if target.is_absolute() {
                here = Here::top().map_err(failed)?;
            }
            for component in components(&target).into_iter().rev() {
                todo.push_front(component);
            }
            continue;
        }
        if !about.is_dir() {
            return Err(StoreError::NotAFolder { path: path.to_owned() });
        }
        let path = if name == ".." { here.path.parent().unwrap_or(Path::new("/")).to_owned() } else { at };
        here = Here { dir: next, path, about };
    }
    Ok(Some(here.dir))
}

/// A folder in `parent`, which is ours. None: there is nothing of that name.
pub(super) fn below(parent: &File, name: &str, path: &dyn Fn() -> PathBuf) -> Result<Option<File>, StoreError> {
    let found = match open_any(parent, OsStr::new(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|source| StoreError::OpenRoot { path: path(), source })?,
    };
    if !ours(&found, path)?.is_dir() {
        return Err(StoreError::NotAFolder { path: path() });
    }
    Ok(Some(found))
}

/// Makes it, private to us, if it is not there.
pub(super) fn make(parent: &File, name: &OsStr) -> io::Result<()> {
    match mkdirat(Some(parent.as_raw_fd()), name, Mode::S_IRWXU) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What is open here is ours, and nobody else may write to it.
pub(super) fn ours(file: &File, path: &dyn Fn() -> PathBuf) -> Result<Metadata, StoreError> {
    let about = file.metadata().map_err(|source| StoreError::Read { path: path(), source })?;
    match doubt(&about) {
        Some(why) => Err(StoreError::Untrusted { path: path(), why }),
        None => Ok(about),
    }
}

/// The same of a file: a regular one. None of this may wait for anybody: it was opened with O_NONBLOCK.
pub(super) fn our_file(file: File, path: &dyn Fn() -> PathBuf) -> Result<File, StoreError> {
    let about = ours(&file, path)?;
    if about.is_file() { Ok(file) } else { Err(StoreError::NotAFile { path: path() }) }
}

/// None: it is ours, and nobody else may write to it. The mode of a symbolic link says nothing.
pub(super) fn doubt(about: &Metadata) -> Option<Distrust> {
    let (owner, mode, we) = (about.uid(), mode(about), geteuid().as_raw());
    if owner != we {
        return Some(Distrust::Owner { owner, mode, we });
    }
    let writable = !about.file_type().is_symlink() && mode & (WRITABLE_BY_GROUP | WRITABLE_BY_OTHERS) != 0;
    writable.then_some(Distrust::Writable { owner, mode })
}

/// Where a walk has come.
struct Here {
    dir: File,
    path: PathBuf,
    about: Metadata,
}

/// What kind of folder the next step starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crossed {
    Closed,
    /// Sticky: everybody puts things there, and only their owners take them away.
    OpenToAll,
}

impl Here {
    fn top() -> io::Result<Here> {
        let dir = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open("/")?;
        let about = dir.metadata()?;
        Ok(Here { dir, path: PathBuf::from("/"), about })
    }

    /// Whether what is in this folder stays what it is. `root` is where the way leads.
    fn check(&self, root: &Path) -> Result<Crossed, StoreError> {
        let (owner, group, mode, we) = (self.about.uid(), self.about.gid(), mode(&self.about), geteuid().as_raw());
        let untrusted = |why| StoreError::UntrustedWay { path: root.to_owned(), at: self.path.clone(), why };
        if !is_believed(owner, Crossed::Closed) {
            return Err(untrusted(Distrust::Owner { owner, mode, we }));
        }
        let private_group = group == ROOT || (owner == we && group == we);
        let by_group = mode & WRITABLE_BY_GROUP != 0 && !private_group;
        match by_group || mode & WRITABLE_BY_OTHERS != 0 {
            true if mode & STICKY == 0 => Err(untrusted(Distrust::Writable { owner, mode })),
            true => Ok(Crossed::OpenToAll),
            false => Ok(Crossed::Closed),
        }
    }
}

fn is_believed(owner: u32, place: Crossed) -> bool {
    owner == ROOT || owner == geteuid().as_raw() || (place == Crossed::Closed && user_namespace::is_unmapped_uid(owner))
}

fn mode(about: &Metadata) -> u32 {
    about.mode() & 0o7777
}

fn components(path: &Path) -> VecDeque<OsString> {
    let named = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(named).collect()
}

/// Whatever it is, without opening it for anything and without following it.
fn open_any(folder: &File, name: &OsStr) -> io::Result<File> {
    open::at(folder.as_fd(), Path::new(name), OFlag::O_PATH | OFlag::O_NOFOLLOW, 0).map(File::from)
}
