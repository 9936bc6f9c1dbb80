//! Joining the cgroups of a container, the fast way.
//!
//! Writing a pid into a v1 `cgroup.procs` locks out every fork and exit on the machine and waits for an RCU grace
//! period. A process with one thread that writes `0` into `tasks` moves only itself and needs no such lock. On v2 there is
//! no such file; there a process is best born in the cgroup, with CLONE_INTO_CGROUP.
//!
//! A v2 cgroup that hands controllers on takes no process itself. A container that may write to its cgroups (an init
//! system, a container engine) makes its own into such a one and moves on into one below: whoever joins later follows its
//! init there.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::files;
use super::hierarchies::Hierarchies;
use super::{Error, Result};
use crate::model::record::CgroupRecord;

/// Open descriptors by which a process gets into the cgroups, without a path and without privilege to open them.
/// All are close-on-exec.
#[derive(Debug, Default)]
pub struct Joiner {
    /// `tasks` of each v1 folder, open for writing.
    tasks: Vec<OwnedFd>,
    /// The v2 folder.
    folder: Option<OwnedFd>,
}

impl Joiner {
    /// For one more process of a container that exists, beside its `init`. Folders that were never made (rootless) are
    /// left out.
    pub fn open(record: &CgroupRecord, init: i32) -> Result<Joiner> {
        let there = record.folders.iter().filter(|folder| folder.exists());
        let folders: Vec<PathBuf> =
            there.map(|folder| below_with(init, folder).unwrap_or_else(|| folder.clone())).collect();
        Joiner::of(folders.iter().map(PathBuf::as_path))
    }

    /// Into these folders, whatever they are: each has to exist.
    pub fn exactly(folders: &[PathBuf]) -> Result<Joiner> {
        Joiner::of(folders.iter().map(PathBuf::as_path))
    }

    pub(super) fn of<'a>(folders: impl Iterator<Item = &'a Path>) -> Result<Joiner> {
        let mut joiner = Joiner::default();
        for folder in folders {
            let failed = |source| Error::Open { folder: folder.to_owned(), source };
            match OpenOptions::new().write(true).open(folder.join("tasks")) {
                Ok(tasks) => joiner.tasks.push(tasks.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let flags = libc::O_DIRECTORY | libc::O_PATH;
                    let opened = OpenOptions::new().read(true).custom_flags(flags).open(folder).map_err(failed)?;
                    joiner.folder = Some(opened.into());
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(joiner)
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
            let procs = format!("/proc/self/fd/{}/cgroup.procs", folder.as_raw_fd());
            nix::unistd::write(OpenOptions::new().write(true).open(procs)?, b"0")?;
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
        self.tasks.iter().chain(&self.folder).map(|fd| fd.as_fd())
    }
}

/// Where `init` is, if `folder` is of v2 and takes no process itself, and `init` is below it.
fn below_with(init: i32, folder: &Path) -> Option<PathBuf> {
    let handed_on = files::read(&folder.join("cgroup.subtree_control")).ok()?;
    if handed_on.trim().is_empty() {
        return None;
    }
    let mounts = files::read(Path::new("/proc/self/mountinfo")).ok()?;
    let its = Hierarchies::parse(&mounts, &files::read(&PathBuf::from(format!("/proc/{init}/cgroup"))).ok()?).ok()?;
    its.all().iter().map(|hierarchy| hierarchy.mount.join(&hierarchy.own)).find(|at| at.starts_with(folder))
}
