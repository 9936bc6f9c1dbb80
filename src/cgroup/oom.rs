//! Being told when the kernel kills for want of memory in a container's cgroup.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::hierarchies::{Hierarchies, Version};
use super::layout::Layout;
use super::{Error, Result, files};
use crate::model::record::CgroupRecord;

/// Readable when something may have happened.
pub struct OomWatch {
    source: Source,
    folder: PathBuf,
}

enum Source {
    /// The kernel counts into it, and once more when the cgroup is removed. The open file keeps the watch alive.
    V1 { counter: EventFd, _control: File },
    /// `memory.events` has changed; what has, its text says.
    V2 { inotify: Inotify, seen: u64 },
}

impl OomWatch {
    /// None: the container has no memory controller.
    pub fn open(hierarchies: &Hierarchies, record: &CgroupRecord) -> Result<Option<OomWatch>> {
        let layout = Layout::of_record(hierarchies, record);
        let folder = layout.folders.into_iter().find(|folder| folder.version == Version::V2 || folder.has("memory"));
        let Some(folder) = folder.filter(|folder| folder.path.exists()) else { return Ok(None) };
        let failed = |source| Error::WatchOom { folder: folder.path.clone(), source };
        let source = match folder.version {
            Version::V1 | Version::Beside => watch_v1(&folder.path).map_err(failed)?,
            Version::V2 => match watch_v2(&folder.path).map_err(failed)? {
                Some(source) => source,
                None => return Ok(None),
            },
        };
        Ok(Some(OomWatch { source, folder: folder.path }))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1 { counter, .. } => counter.as_fd(),
            Source::V2 { inotify, .. } => inotify.as_fd(),
        }
    }

    /// How often since it was last asked. Never waits.
    pub fn count(&mut self) -> Result<u64> {
        let failed = |source: io::Error| Error::WatchOom { folder: self.folder.clone(), source };
        match &mut self.source {
            Source::V1 { counter, .. } => match counter.read() {
                Ok(count) if self.folder.exists() => Ok(count),
                // That was its removal.
                Ok(_) | Err(Errno::EAGAIN) => Ok(0),
                Err(errno) => Err(failed(errno.into())),
            },
            Source::V2 { inotify, seen } => {
                match inotify.read_events() {
                    Ok(_) | Err(Errno::EAGAIN) => {}
                    Err(errno) => return Err(failed(errno.into())),
                }
                let now = killed(&self.folder).map_err(failed)?.unwrap_or(*seen);
                let count = now.saturating_sub(*seen);
                *seen = now;
                Ok(count)
            }
        }
    }
}

/// cgroup-v1/memory.rst, "OOM Control".
fn watch_v1(folder: &std::path::Path) -> io::Result<Source> {
    let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let control = File::open(folder.join("memory.oom_control"))?;
    let order = format!("{} {}", counter.as_fd().as_raw_fd(), control.as_raw_fd());
    files::write(&folder.join("cgroup.event_control"), &order)?;
    Ok(Source::V1 { counter, _control: control })
}

/// The watch is there before the count is read: nothing is missed in between.
fn watch_v2(folder: &std::path::Path) -> io::Result<Option<Source>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    match inotify.add_watch(&folder.join("memory.events"), AddWatchFlags::IN_MODIFY) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    Ok(killed(folder)?.map(|seen| Source::V2 { inotify, seen }))
}

/// None: the cgroup is gone.
fn killed(folder: &std::path::Path) -> io::Result<Option<u64>> {
    match files::read(&folder.join("memory.events")) {
        Ok(text) => {
            let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            Ok(Some(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)))
        }
        Err(error) if files::is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
