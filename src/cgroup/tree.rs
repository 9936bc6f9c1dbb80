//! A cgroup and everything below it, by descriptor.
//!
//! A container nests cgroups as deep as it likes, so that a path to one may be longer than any system call takes. Here a
//! folder is opened below the one before it, and one is open at a time: the way back is `..`. Nobody can lead that
//! astray: the kernel moves no cgroup below another parent, and in its file system there are no symlinks.
//!
//! What happens meanwhile is the container's doing. A cgroup that vanishes on the way is passed over; one that appears
//! may be missed, and whoever needs to be sure looks again.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::dir::Type;
use nix::fcntl::OFlag;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::files;
use crate::sys::open;

/// More than any cgroup file holds that we read (cgroup.procs of a million processes is 8 MB).
const LARGEST: usize = 16 << 20;

/// So many lines of a list are read before anybody asks how many there can be.
const LONG_LIST: usize = 1000;

/// How often a walk that lost its way begins anew.
const ATTEMPTS: u32 = 100;

/// One folder, open.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

/// What a cgroup says is in it.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Rising.
    pub pids: Vec<i32>,
    /// Those that our PID namespace does not see. They live all the same.
    pub unseen: usize,
}

impl Listed {
    pub fn count(&self) -> usize {
        self.pids.len() + self.unseen
    }

    pub fn has(&self, pid: i32) -> bool {
        self.pids.binary_search(&pid).is_ok()
    }

    fn settle(&mut self) {
        self.pids.sort_unstable();
        self.pids.dedup();
    }
}

impl Dir {
    /// The top of a tree that we made or that a record names: its path is one that a system call takes.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        Ok(Dir(OpenOptions::new().read(true).custom_flags(flags).open(path)?.into()))
    }

    /// None: it is gone, or never was.
    pub fn open_if_there(path: &Path) -> io::Result<Option<Dir>> {
        unless_gone(Dir::open(path))
    }

    pub fn child(&self, name: &OsStr) -> io::Result<Dir> {
        open::at(self.0.as_fd(), Path::new(name), FOLDER, 0).map(Dir)
    }

    pub fn parent(&self) -> io::Result<Dir> {
        self.child(OsStr::new(".."))
    }

    /// The whole file.
    pub fn read(&self, name: &str) -> io::Result<String> {
        crate::sys::text::all_of(&mut self.file(name, OFlag::O_RDONLY)?.take(LARGEST as u64))
    }

    /// None: it is not there, or the whole cgroup is not.
    pub fn read_if_there(&self, name: &str) -> io::Result<Option<String>> {
        unless_gone(self.read(name))
    }

    /// One write(2), which is how a cgroup file takes a value.
    pub fn write(&self, name: &str, value: &str) -> io::Result<()> {
        self.file(name, OFlag::O_WRONLY)?.write_all(value.as_bytes())
    }

    pub fn has(&self, name: &str) -> io::Result<bool> {
        Ok(unless_gone(open::at(self.0.as_fd(), Path::new(name), OFlag::O_PATH, 0))?.is_some())
    }

    pub fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        open::at(self.0.as_fd(), Path::new(name), flags | OFlag::O_NOFOLLOW, 0).map(File::from)
    }

    /// The cgroups directly below; none if it is gone.
    pub fn children(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::dir::Dir::openat(Some(self.0.as_raw_fd()), ".", flags, nix::sys::stat::Mode::empty());
        let Some(mut folder) = unless_gone(opened.map_err(io::Error::from))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in folder.iter() {
            let Some(entry) = unless_gone(entry.map_err(io::Error::from))? else { break };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." && entry.file_type() == Some(Type::Directory) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The processes of this very folder; nothing if it is gone.
    pub fn processes(&self) -> io::Result<Listed> {
        let mut listed = match self.list("cgroup.procs") {
            // A threaded cgroup of v2: its processes are listed by the domain above it, which may not be ours to look at.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.owners_of_threads()?,
            other => unless_gone(other)?.unwrap_or_default(),
        };
        listed.settle();
        Ok(listed)
    }

    fn owners_of_threads(&self) -> io::Result<Listed> {
        let threads = unless_gone(self.list("cgroup.threads"))?.unwrap_or_default();
        let mut owners = Listed { pids: Vec::new(), unseen: threads.unseen };
        for thread in threads.pids {
            owners.pids.extend(crate::sys::procfs::owner_of_thread(thread)?);
        }
        Ok(owners)
    }

    /// v1 takes a picture when the file is opened. v2 goes through the living list while it is read, and what is forked
    /// meanwhile comes last: in a fork bomb a reader would run after the end of it for ever. So reading ends, too, after
    /// as many lines as there are tasks on the whole machine: those that were there have all been told.
    fn list(&self, name: &str) -> io::Result<Listed> {
        let mut file = self.file(name, OFlag::O_RDONLY)?;
        let mut listed = Listed::default();
        let mut most = None;
        let mut text = Vec::new();
        let mut part = vec![0; 64 << 10];
        loop {
            let length = match file.read(&mut part) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            text.extend_from_slice(&part[..length]);
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in String::from_utf8_lossy(&text[..whole]).lines() {
                match line.parse::<i32>() {
                    Ok(0) => listed.unseen += 1,
                    Ok(pid) => listed.pids.push(pid),
                    Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{line:?} is no pid"))),
                }
            }
            text.drain(..whole);
            if length == 0 {
                return Ok(listed);
            }
            if listed.count() > LONG_LIST {
                let most = match most {
                    Some(most) => most,
                    None => *most.insert(listed.count() + crate::sys::procfs::tasks()?),
                };
                if listed.count() > most {
                    return Ok(listed);
                }
            }
        }
    }

    fn remove_child(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(Some(self.0.as_raw_fd()), Path::new(name), UnlinkatFlags::RemoveDir)?)
    }

    pub fn try_clone(&self) -> io::Result<Dir> {
        Ok(Dir(self.0.try_clone()?))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW);

/// ENOENT and ENODEV both mean that a cgroup is gone, or that it has no such file. Every other failure is one: what could
/// not be looked at is not empty.
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if files::is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `visit` for `top` and for every cgroup below it, parents first. It may be called more than once for one of
/// them.
pub(super) fn each(top: &Dir, mut visit: impl FnMut(&Dir) -> io::Result<()>) -> io::Result<()> {
    each_named(top, |folder, _| visit(folder))
}

/// The same, with the names that lead there from the top.
pub(super) fn each_named(top: &Dir, mut visit: impl FnMut(&Dir, &[OsString]) -> io::Result<()>) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        match walk(top, &mut visit, |_, _| Ok(())) {
            Err(Lost::Way) if attempts < ATTEMPTS => attempts += 1,
            Err(Lost::Way) => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            Err(Lost::For(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// The processes of `path` and of all cgroups below it; nothing if it is gone.
pub(super) fn processes_below(path: &Path) -> io::Result<Listed> {
    let mut all = Listed::default();
    let Some(top) = Dir::open_if_there(path)? else { return Ok(all) };
    each(&top, |folder| {
        let mut listed = folder.processes()?;
        all.pids.append(&mut listed.pids);
        all.unseen += listed.unseen;
        Ok(())
    })?;
    all.settle();
    Ok(all)
}

/// Removes every cgroup below `top` that nothing is in, the deepest first.
pub(super) fn remove_below(top: &Dir) -> io::Result<()> {
    let remove = |parent: &Dir, name: &OsStr| match parent.remove_child(name) {
        Err(error) if files::is_gone(&error) || is_busy(&error) => Ok(()),
        other => other,
    };
    match walk(top, |_, _| Ok(()), remove) {
        // Whoever removes looks whether it is done, and goes on if not.
        Ok(()) | Err(Lost::Way) => Ok(()),
        Err(Lost::For(error)) => Err(error),
    }
}

pub(super) fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY))
}

/// Why a walk ended early.
enum Lost {
    /// There was no way up any more: what it stood in has been removed.
    Way,
    For(io::Error),
}

/// `arrive` at every folder before those below it; `leave` every one but the top, by its parent and its name.
fn walk(
    top: &Dir,
    mut arrive: impl FnMut(&Dir, &[OsString]) -> io::Result<()>,
    mut leave: impl FnMut(&Dir, &OsStr) -> io::Result<()>,
) -> Result<(), Lost> {
    let mut here = top.try_clone().map_err(Lost::For)?;
    arrive(&here, &[]).map_err(Lost::For)?;
    // What is still to be visited in each folder from the top down to this one, and what each is called above.
    let mut todo = vec![here.children().map_err(Lost::For)?];
    let mut names: Vec<OsString> = Vec::new();
    while let Some(rest) = todo.last_mut() {
        if let Some(name) = rest.pop() {
            let Some(child) = unless_gone(here.child(&name)).map_err(Lost::For)? else { continue };
            here = child;
            names.push(name);
            arrive(&here, &names).map_err(Lost::For)?;
            todo.push(here.children().map_err(Lost::For)?);
            continue;
        }
        todo.pop();
        let Some(name) = names.pop() else { break };
        here = match here.parent() {
            Ok(parent) => parent,
            Err(error) if files::is_gone(&error) => return Err(Lost::Way),
            Err(error) => return Err(Lost::For(error)),
        };
        leave(&here, &name).map_err(Lost::For)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn nested(top: &Path, depth: usize, name: &str) {
        let mut here = Dir::open(top).unwrap();
        for _ in 0..depth {
            nix::sys::stat::mkdirat(Some(here.0.as_raw_fd()), name, nix::sys::stat::Mode::S_IRWXU).unwrap();
            here = here.child(OsStr::new(name)).unwrap();
        }
        fs::write(format!("/proc/self/fd/{}/mark", here.0.as_raw_fd()), "here").unwrap();
    }

    #[test]
    fn a_folder_is_reached_and_removed_however_long_its_path() {
        let dir = tempfile::tempdir().unwrap();
        nested(dir.path(), 60, &"n".repeat(200));
        nested(dir.path(), 300, "d");
        let (mut folders, mut marks) = (0, 0);
        let top = Dir::open(dir.path()).unwrap();
        each(&top, |folder| {
            folders += 1;
            let mark = folder.read_if_there("mark")?;
            if mark.is_some() {
                nix::unistd::unlinkat(Some(folder.0.as_raw_fd()), "mark", UnlinkatFlags::NoRemoveDir)?;
            }
            marks += usize::from(mark.is_some());
            Ok(())
        })
        .unwrap();
        assert_eq!((folders, marks), (361, 2));
        remove_below(&top).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_empty_stays_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b", "c/d"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("a/b/file"), "").unwrap();
        remove_below(&Dir::open(dir.path()).unwrap()).unwrap();
        assert!(dir.path().join("a/b/file").exists());
        assert!(!dir.path().join("c").exists());
    }

    #[test]
    fn a_folder_that_vanishes_on_the_way_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b", "c/d", "e/f"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let mut visited = 0;
        each(&Dir::open(dir.path()).unwrap(), |_| {
            visited += 1;
            if visited == 2 {
                for name in ["a", "c", "e"] {
                    fs::remove_dir_all(dir.path().join(name)).unwrap();
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(visited, 2);
    }

    #[test]
    fn what_is_gone_has_no_processes_and_what_cannot_be_looked_at_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(processes_below(&dir.path().join("gone")).unwrap().count(), 0);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(processes_below(&dir.path().join("file")).is_err());
        assert!(processes_below(&dir.path().join("n".repeat(5000))).is_err());
        fs::write(dir.path().join("cgroup.procs"), "7\n5\n0\n5\n").unwrap();
        let listed = processes_below(dir.path()).unwrap();
        assert_eq!((listed.pids, listed.unseen), (vec![5, 7], 1));
        fs::write(dir.path().join("cgroup.procs"), "seven\n").unwrap();
        assert!(processes_below(dir.path()).is_err());
    }
}
