//! Who is in a container's cgroups, and signals to all of them. No process escapes by forking: what forks is frozen
//! meanwhile.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::freeze::{freeze, is_frozen, thaw};
use super::tree::{self, Dir, Listed};
use super::{Error, Result};
use crate::model::record::CgroupRecord;
use crate::sys::patience;
use crate::sys::pidfd;

/// For the files that are read while processes are held.
const SPARE_DESCRIPTORS: usize = 4;

/// So many are held at once. Whoever may open fewer descriptors holds fewer.
const HELD_AT_ONCE: usize = 128;

/// Every process, also in cgroups below, in every hierarchy; in rising order. Those that our PID namespace does not see
/// are left out.
pub fn processes(record: &CgroupRecord) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for folder in &record.folders {
        let listed = tree::processes_below(folder).map_err(|source| Error::Read { path: folder.clone(), source })?;
        pids.extend(listed.pids);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Sends `signal` to every process and returns how many there were. A frozen container stays frozen and the signals wait
/// (v2 lets those through that end a process). To end a container there is [`super::kill_and_wait`].
pub fn signal_all(record: &CgroupRecord, signal: i32) -> Result<usize> {
    let was_frozen = is_frozen(record).unwrap_or(false);
    let frozen_here = !was_frozen && freeze(record, Instant::now() + patience::A_FREEZE_FOR_A_SIGNAL).is_ok();
    let mut signalled = HashSet::new();
    let result = signal_tree(record, signal, &mut signalled);
    if frozen_here {
        thaw(record)?;
    }
    result.map(|()| signalled.len())
}

fn signal_tree(record: &CgroupRecord, signal: i32, signalled: &mut HashSet<i32>) -> Result<()> {
    let mut refused = None;
    for folder in &record.folders {
        let failed = |source| Error::Kill { folder: folder.clone(), source };
        let Some(top) = Dir::open_if_there(folder).map_err(failed)? else { continue };
        tree::each(&top, |folder| {
            refused = signal_folder(folder, signal, signalled)?.refused.or(refused.take());
            Ok(())
        })
        .map_err(failed)?;
    }
    match refused {
        Some(source) => Err(Error::Signal { signal, source }),
        None => Ok(()),
    }
}

/// What came of signalling one folder.
#[derive(Default)]
pub(super) struct Signalled {
    /// How many were in it, signalled before or not.
    pub listed: usize,
    /// One of those that were signalled.
    pub last: Option<OwnedFd>,
    /// Why one of them was not. The others were.
    pub refused: Option<io::Error>,
}

/// Signals whoever is in this very folder and not in `signalled`, and puts it there. Each is held by a pidfd and has to
/// be listed after that was opened, so that a number that was freed and given to a stranger meanwhile cannot be hit.
pub(super) fn signal_folder(folder: &Dir, signal: i32, signalled: &mut HashSet<i32>) -> io::Result<Signalled> {
    let Listed { mut pids, unseen } = folder.processes()?;
    let mut outcome = Signalled { listed: pids.len() + unseen, ..Signalled::default() };
    pids.retain(|pid| !signalled.contains(pid));
    // The oldest first, mostly: a parent that is killed does not see its children go.
    pids.reverse();
    while !pids.is_empty() {
        let held = hold(&mut pids)?;
        let still = folder.processes()?;
        for (pid, process) in held {
            if !still.has(pid) {
                continue;
            }
            match pidfd::send_signal(process.as_fd(), signal) {
                Ok(()) => {
                    signalled.insert(pid);
                    outcome.last = Some(process);
                }
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => outcome.refused = Some(error),
            }
        }
    }
    Ok(outcome)
}

/// Takes as many off the end as may be held at once. Those that have ended are left out.
fn hold(pids: &mut Vec<i32>) -> io::Result<Vec<(i32, OwnedFd)>> {
    let mut held = Vec::new();
    while held.len() < HELD_AT_ONCE
        && let Some(pid) = pids.pop()
    {
        match pidfd::open(pid) {
            Ok(process) => held.push((pid, process)),
            // ENOENT, EINVAL: the number is a thread's by now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT | libc::EINVAL)) => {}
            Err(error) if is_out_of_descriptors(&error) && held.len() > 1 => {
                pids.push(pid);
                // What lists them once more needs some, too.
                let kept = held.len().saturating_sub(SPARE_DESCRIPTORS).max(1);
                pids.extend(held.drain(kept..).map(|(pid, _)| pid));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
