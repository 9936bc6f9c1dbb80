//! Signals to everything in a container's cgroups. No process escapes by forking: what forks is frozen meanwhile.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::{self, Pause};
use super::freeze::{freeze, is_frozen, thaw, thaw_folder};
use super::{Error, Result};
use crate::model::record::CgroupRecord;
use crate::sys::pidfd;

/// How long a freeze may take that only makes signalling exact.
const FREEZE_FOR_SIGNAL: Duration = Duration::from_secs(2);

/// Every process, also in cgroups below, in every hierarchy; in rising order.
pub fn processes(record: &CgroupRecord) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for folder in &record.folders {
        let found = files::pids_below(folder).map_err(|source| Error::Read { path: folder.clone(), source })?;
        pids.extend(found);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Sends `signal` to every process and returns how many there were. A frozen container stays frozen and the signals wait
/// (v2 lets those through that end a process); but SIGKILL thaws it: on v1 a killed process stays frozen until then.
pub fn signal_all(record: &CgroupRecord, signal: i32) -> Result<usize> {
    if signal == libc::SIGKILL {
        return kill_all(record);
    }
    let was_frozen = is_frozen(record).unwrap_or(false);
    let frozen_here = !was_frozen && freeze(record, Instant::now() + FREEZE_FOR_SIGNAL).is_ok();
    let mut seen = HashSet::new();
    let result = signal_new(record, signal, &mut seen);
    if frozen_here {
        thaw(record)?;
    }
    result.map(|()| seen.len())
}

/// SIGKILLs until nothing is left, and returns when nothing is: every process has ended (it may still be waited for by
/// its parent).
pub fn kill_and_wait(record: &CgroupRecord, deadline: Instant) -> Result<()> {
    let mut pause = Pause::default();
    loop {
        let pids = processes(record)?;
        if pids.is_empty() {
            return Ok(());
        }
        kill_all(record)?;
        files::wait_for_ends(&pids, deadline);
        let left = processes(record)?;
        if left.is_empty() {
            return Ok(());
        }
        if !pause.once(deadline) {
            let folder = record.folders.first().cloned().unwrap_or_default();
            return Err(Error::StillPopulated { folder, count: left.len() });
        }
    }
}

fn kill_all(record: &CgroupRecord) -> Result<usize> {
    let on_v2 = record.freezer.as_deref().map(|folder| (folder, folder.join("cgroup.kill")));
    if let Some((folder, switch)) = on_v2.filter(|(_, switch)| switch.exists()) {
        let count = processes(record)?.len();
        return match files::write(&switch, "1") {
            // Left frozen, it would freeze whoever is placed here next.
            Ok(()) => thaw_folder(folder).map(|()| count),
            Err(error) if files::is_gone(&error) => Ok(count),
            Err(source) => Err(Error::Kill { folder: folder.to_owned(), source }),
        };
    }
    // On v1: freeze, so that nothing forks between reading and killing; kill; thaw. A freeze that fails (no freezer, a
    // process that cannot be stopped) leaves the race open, so look again until nobody new is found.
    let frozen = freeze(record, Instant::now() + FREEZE_FOR_SIGNAL).is_ok();
    let mut seen = HashSet::new();
    let mut result = signal_new(record, libc::SIGKILL, &mut seen);
    if let Some(folder) = &record.freezer {
        let thawed = thaw_below(folder);
        result = result.and(thawed);
    }
    let mut before = 0;
    while result.is_ok() && !frozen && seen.len() > before {
        before = seen.len();
        result = signal_new(record, libc::SIGKILL, &mut seen);
    }
    result.map(|()| seen.len())
}

/// Also what the container froze itself, in cgroups below its own.
fn thaw_below(folder: &Path) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        thaw_folder(&folder)?;
        folders.extend(files::children(&folder).map_err(|source| Error::Read { path: folder, source })?);
    }
    Ok(())
}

/// Signals every process that is not in `seen`, and adds it there. Each is held by a pidfd and looked up once more before
/// it is signalled, so that a number that was freed and given to a stranger meanwhile cannot be hit.
fn signal_new(record: &CgroupRecord, signal: i32, seen: &mut HashSet<i32>) -> Result<()> {
    let mut held = Vec::new();
    for pid in processes(record)? {
        if !seen.contains(&pid)
            && let Ok(fd) = pidfd::open(pid)
        {
            held.push((pid, fd));
        }
    }
    let still = processes(record)?;
    for (pid, fd) in held {
        if still.binary_search(&pid).is_err() {
            continue;
        }
        match pidfd::send_signal(fd.as_fd(), signal) {
            Ok(()) => {
                seen.insert(pid);
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(source) => return Err(Error::Signal { pid, signal, source }),
        }
    }
    Ok(())
}
