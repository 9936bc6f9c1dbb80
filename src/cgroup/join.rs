//! Joining the cgroups of a container, the fast way.
//!
//! Writing a pid into a v1 `cgroup.procs` locks out every fork and exit on the machine and waits for an RCU grace
//! period. A process with one thread that writes `0` into `tasks` moves only itself and needs no such lock. On v2 there is
//! no such file; there a process is best born in the cgroup, with CLONE_INTO_CGROUP.
//!
//! A v2 cgroup that hands controllers on takes no process itself. A container that may write to its cgroups (an init
//! system, a container manager) makes its own into such a one and moves on into one below: whoever joins later follows its
//! init there.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::freeze;
use super::tree::{self, Dir};
use super::{Error, Result};
use crate::model::record::CgroupRecord;

/// Open descriptors by which a process gets into the cgroups, without a path and without privilege to open them.
/// All are close-on-exec.
#[derive(Debug, Default)]
pub struct Joiner {
    /// `tasks` of each v1 folder, open for writing.
    tasks: Vec<OwnedFd>,
    /// The v2 folder.
    folder: Option<Dir>,
    places: Vec<Place>,
}

/// Where one hierarchy is joined.
#[derive(Debug)]
struct Place {
    own: PathBuf,
    /// The names below it, on v2. As a path they may be longer than a system call takes.
    below: Vec<OsString>,
}

impl Joiner {
    /// For one more process of a container that exists, beside its `init`. Folders that were never made (rootless) are
    /// left out.
    pub fn open(record: &CgroupRecord, init: i32) -> Result<Joiner> {
        let mut joiner = Joiner::default();
        for folder in &record.folders {
            let failed = |source| Error::Open { folder: folder.clone(), source };
            let Some(top) = Dir::open_if_there(folder).map_err(failed)? else { continue };
            let (dir, below) = match takes_nobody(&top).map_err(failed)? {
                true => find(&top, init).map_err(failed)?.unwrap_or((top, Vec::new())),
                false => (top, Vec::new()),
            };
            joiner.add(dir, Place { own: folder.clone(), below }).map_err(failed)?;
        }
        Ok(joiner)
    }

    /// Into these folders, whatever they are: each has to exist.
    pub fn exactly(folders: &[PathBuf]) -> Result<Joiner> {
        Joiner::of(folders.iter().map(PathBuf::as_path))
    }

    pub(super) fn of<'a>(folders: impl Iterator<Item = &'a Path>) -> Result<Joiner> {
        let mut joiner = Joiner::default();
        for folder in folders {
            let failed = |source| Error::Open { folder: folder.to_owned(), source };
            let dir = Dir::open(folder).map_err(failed)?;
            joiner.add(dir, Place { own: folder.to_owned(), below: Vec::new() }).map_err(failed)?;
        }
        Ok(joiner)
    }

    fn add(&mut self, dir: Dir, place: Place) -> io::Result<()> {
        match dir.file("tasks", OFlag::O_WRONLY) {
            Ok(tasks) => self.tasks.push(tasks.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.folder = Some(dir),
            Err(error) => return Err(error),
        }
        self.places.push(place);
        Ok(())
    }

    /// Where freezing is switched on, at or above what is joined: whoever joins stops there.
    pub fn frozen(&self) -> Result<Option<PathBuf>> {
        for Place { own, below } in &self.places {
            let failed = |source| Error::Read { path: own.clone(), source };
            let mut names = below.as_slice();
            let mut up = None;
            while let (Some((_, rest)), Some(folder)) = (names.split_last(), &self.folder) {
                let here = up.as_ref().unwrap_or(folder);
                if freeze::is_switched_on(here).map_err(failed)? {
                    return Ok(Some(names.iter().fold(own.clone(), |path, name| path.join(name))));
                }
                up = Some(here.parent().map_err(failed)?);
                names = rest;
            }
            if let Some(frozen) = freeze::frozen_above(own)? {
                return Ok(Some(frozen));
            }
        }
        Ok(None)
    }

    /// Moves the calling process, on v1 only: on v2 it was born there ([`Joiner::v2_folder`]). It must have one thread:
    /// with more, v1 moves only the calling one.
    pub fn join_v1(&self) -> io::Result<()> {
        for tasks in &self.tasks {
            nix::unistd::write(tasks, b"0")?;
        }
        Ok(())
    }

    /// The same on either version; the slow way on v2. Beside v1, where nothing is charged on v2, that is left out.
    pub fn join_self(&self) -> io::Result<()> {
        self.join_v1()?;
        if let (Some(folder), true) = (&self.folder, self.tasks.is_empty()) {
            folder.write("cgroup.procs", "0")?;
        }
        Ok(())
    }

    /// What clone3(2) takes with CLONE_INTO_CGROUP.
    pub fn v2_folder(&self) -> Option<BorrowedFd<'_>> {
        self.folder.as_ref().map(|folder| folder.as_fd())
    }

    /// What must stay open across a fork for [`Joiner::join_v1`] to work. Whoever writes `0` into each joins, too.
    pub fn v1_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks.iter().map(|fd| fd.as_fd())
    }

    /// What must stay open across a fork for [`Joiner::join_self`] to work.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v1_fds().chain(self.v2_folder())
    }
}

/// Whether it is of v2 and hands controllers on.
fn takes_nobody(folder: &Dir) -> io::Result<bool> {
    Ok(folder.read_if_there("cgroup.subtree_control")?.is_some_and(|handed_on| !handed_on.trim().is_empty()))
}

/// Where this process is, below `top`: the folder, and the names that lead there. It is looked for in the tree, since
/// /proc tells of no path that is too long for a system call (ENAMETOOLONG).
fn find(top: &Dir, process: i32) -> io::Result<Option<(Dir, Vec<OsString>)>> {
    let mut found = None;
    tree::each_named(top, |folder, names| {
        if found.is_none() && folder.processes()?.has(process) {
            found = Some((folder.try_clone()?, names.to_vec()));
        }
        Ok(())
    })?;
    Ok(found)
}
