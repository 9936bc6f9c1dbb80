//! Being told when the kernel kills for want of memory in a container's cgroup.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::hierarchies::{Hierarchies, Version};
use super::layout::Layout;
use super::{Error, Result, files, tree};
use crate::model::record::CgroupRecord;
use crate::sys::ready::{self, Readiness};

/// Readable when something may have happened.
pub struct OomWatch {
    source: Source,
    folder: PathBuf,
}

enum Source {
    /// The kernel counts into it, and once more when the cgroup is removed. The open file keeps the watch alive.
    V1 { counter: EventFd, _control: File },
    /// `memory.events` has changed; what has, its text says.
    V2 { inotify: Inotify, seen: Kills },
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

    /// Readable when there may be something to tell: ask [`OomWatch::count`] then.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V1 { counter, .. } => counter.as_fd(),
            Source::V2 { inotify, .. } => inotify.as_fd(),
        }
    }

    /// How often since it was last asked. On v2 it waits until a kill that is under way is over.
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
                drain(inotify).map_err(failed)?;
                let now = settled(inotify, &self.folder, *seen).map_err(failed)?;
                let count = now.since(*seen, whole(&self.folder).map_err(failed)?);
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

/// What `memory.events` counts (cgroup-v2.rst). A group that is killed as a whole (`memory.oom.group`) counts once among
/// the groups, and each of its processes among the processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kills {
    processes: u64,
    /// None: this kernel does not say (before 5.17).
    groups: Option<u64>,
}

impl Kills {
    fn parse(text: &str) -> Kills {
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Kills { processes: of("oom_kill ").unwrap_or(0), groups: of("oom_group_kill ") }
    }

    /// How often memory ran out. Where a group was killed, its processes are not told apart from others. The first of a group
    /// is counted before the group is: where whole groups go, that one is not yet an event.
    fn since(self, before: Kills, whole: Whole) -> u64 {
        let processes = self.processes.saturating_sub(before.processes);
        let groups = self.groups.map(|groups| groups.saturating_sub(before.groups.unwrap_or(0)));
        match (groups, whole) {
            (Some(groups), Whole::Group) => groups,
            (Some(groups), Whole::Process) if groups > 0 => groups,
            (None, Whole::Group) => processes.min(1),
            _ => processes,
        }
    }
}

/// What goes when memory runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Group,
    Process,
}

/// The processes of a group are killed, and counted, one after the other; the kernel tells of a change at once, and of
/// those that follow within 10 ms together.
const FOLLOW: Duration = Duration::from_millis(15);

/// So often a count that goes on rising is waited for.
const PATIENCE: u32 = 20;

fn settled(inotify: &Inotify, folder: &std::path::Path, seen: Kills) -> io::Result<Kills> {
    let mut before = seen;
    for _ in 0..PATIENCE {
        let now = killed(folder)?.unwrap_or(before);
        if now == before {
            break;
        }
        before = now;
        if !ready::wait(inotify.as_fd(), Readiness::Readable, Some(Instant::now() + FOLLOW))? {
            break;
        }
        drain(inotify)?;
    }
    Ok(before)
}

fn whole(folder: &std::path::Path) -> io::Result<Whole> {
    let switch = tree::unless_gone(files::read(&folder.join("memory.oom.group")))?;
    Ok(if switch.is_some_and(|switch| switch.trim() == "1") { Whole::Group } else { Whole::Process })
}

fn drain(inotify: &Inotify) -> io::Result<()> {
    match inotify.read_events() {
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// None: the cgroup is gone.
fn killed(folder: &std::path::Path) -> io::Result<Option<Kills>> {
    Ok(tree::unless_gone(files::read(&folder.join("memory.events")))?.map(|text| Kills::parse(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(processes: u64, groups: Option<u64>) -> Kills {
        Kills { processes, groups }
    }

    #[test]
    fn a_group_that_is_killed_as_a_whole_ran_out_of_memory_once() {
        let before = Kills::parse("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n");
        assert_eq!(before, kills(1, Some(0)));
        assert_eq!(kills(5, Some(1)).since(before, Whole::Group), 1);
        let begun = kills(2, Some(0));
        assert_eq!((begun.since(before, Whole::Group), kills(5, Some(1)).since(begun, Whole::Group)), (0, 1));
        assert_eq!(kills(3, Some(0)).since(before, Whole::Process), 2);
        assert_eq!(before.since(before, Whole::Group), 0);
    }

    #[test]
    fn a_kernel_that_does_not_count_groups_is_asked_whether_the_whole_group_goes() {
        let before = Kills::parse("oom_kill 0\n");
        assert_eq!(kills(4, None).since(before, Whole::Group), 1);
        assert_eq!(kills(4, None).since(before, Whole::Process), 4);
    }
}
