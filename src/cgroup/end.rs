//! The one way to end everything in a container's cgroups: for kill, delete, healing, and a creation that failed.
//!
//! A container can make itself hard to end: it freezes itself in a cgroup below its own, forks for ever, has a quota so
//! small that a killed process does not come round to ending, or nests its cgroups deeper than a path can say. So until
//! the deadline, again and again, through every hierarchy and however deep:
//!
//! 1. the door is closed: `pids.max` of the top is 0, and nobody forks;
//! 2. whoever is listed gets SIGKILL, held by a pidfd and listed once more after that was opened. Where the kernel does
//!    all of it at once (`cgroup.kill`), it is asked to;
//! 3. quotas on the processor go, since a process that is killed needs it to end;
//! 4. all is thawed from the top down (below a frozen parent a thaw does nothing): only now, so that nobody runs off.
//!
//! It is over when nothing is listed in any hierarchy, and the kernel says so too, or a second look does: a process that
//! moves between two cgroups can hide from one look, and not long.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::freeze;
use super::kill::signal_folder;
use super::tree::{self, Dir};
use super::{Error, Result};
use crate::model::record::CgroupRecord;
use crate::sys::patience;
use crate::sys::pidfd;

/// Between two rounds, unless a killed process ends sooner; doubled each time up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(16);

/// Ends every process in the cgroups of `record` and below them, and returns when nothing lives there (what has ended
/// may still be waited for by its parent). Limits and freezes are gone with it. At the deadline it is an error, and what
/// was killed stays killed.
pub fn kill_and_wait(record: &CgroupRecord, deadline: Instant) -> Result<()> {
    let mut wait = FIRST_WAIT;
    let mut quiet = 0;
    loop {
        let round = Round::go(record)?;
        quiet = if round.living == 0 { quiet + 1 } else { 0 };
        match round.kernel_says {
            Population::Nobody if quiet > 0 => return Ok(()),
            Population::Unknown if quiet > 1 => return Ok(()),
            Population::Unknown if quiet == 1 => continue,
            _ => {}
        }
        if Instant::now() >= deadline {
            return Err(round.failure(record));
        }
        let until = deadline.min(Instant::now() + wait);
        wait = LONGEST_WAIT.min(wait * 2);
        match &round.last {
            Some(killed) => {
                let failed = |source| Error::Kill { folder: first_of(record), source };
                pidfd::wait_exit(killed.as_fd(), Some(until)).map_err(failed)?;
            }
            // Whoever lives there is not to be seen from here, or has just moved.
            None => std::thread::sleep(FIRST_WAIT),
        }
    }
}

/// Takes away whatever keeps a killed process of this container from ending: freezes and quotas, at any depth.
pub fn let_end(record: &CgroupRecord) -> Result<()> {
    for folder in &record.folders {
        let failed = |source| Error::Kill { folder: folder.clone(), source };
        if let Some(top) = Dir::open_if_there(folder).map_err(failed)?
            && let Some(refused) = Hold::of(&top).and_then(|hold| hold.loosen(&top)).map_err(failed)?
        {
            return Err(failed(refused));
        }
    }
    Ok(())
}

/// One time through everything.
#[derive(Default)]
struct Round {
    /// How many were listed, in the hierarchy that listed most.
    living: usize,
    kernel_says: Population,
    /// Of those that were killed.
    last: Option<OwnedFd>,
    /// What was refused on the way. It is told if something lives at the end.
    refused: Option<io::Error>,
}

impl Round {
    fn go(record: &CgroupRecord) -> Result<Round> {
        let mut round = Round::default();
        let mut tops = Vec::new();
        for folder in &record.folders {
            let failed = |source| Error::Read { path: folder.clone(), source };
            tops.extend(Dir::open_if_there(folder).map_err(failed)?.map(|top| (folder.as_path(), top)));
        }
        round.close_door(record, &tops);
        let mut signalled = HashSet::new();
        for (folder, top) in &tops {
            let failed = |source| Error::Kill { folder: (*folder).to_owned(), source };
            round.kill_tree(top, &mut signalled).map_err(failed)?;
        }
        // Only now: a killed process cannot run off while it thaws.
        for (folder, top) in &tops {
            let failed = |source| Error::Kill { folder: (*folder).to_owned(), source };
            let refused = Hold::of(top).and_then(|hold| hold.loosen(top)).map_err(failed)?;
            round.refused = refused.or(round.refused.take());
        }
        round.kernel_says = population(&tops)?;
        Ok(round)
    }

    /// A refusal stops nobody: without privilege a door may not be ours to close.
    fn close_door(&mut self, record: &CgroupRecord, tops: &[(&Path, Dir)]) {
        let mut shut = false;
        for (_, top) in tops {
            for (file, value) in [("pids.max", "0"), ("cgroup.kill", "1")] {
                match tree::unless_gone(top.write(file, value)) {
                    Ok(done) => shut |= done.is_some(),
                    // A threaded cgroup is killed by the domain above it.
                    Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                    Err(error) => self.refused = Some(error),
                }
            }
        }
        // Frozen, nobody forks either.
        if !shut && record.freezer.is_some() {
            let _ = freeze::freeze(record, Instant::now() + patience::A_FREEZE_AS_A_DOOR);
        }
    }

    fn kill_tree(&mut self, top: &Dir, signalled: &mut HashSet<i32>) -> io::Result<()> {
        let mut living = 0;
        tree::each(top, |folder| {
            let outcome = signal_folder(folder, libc::SIGKILL, signalled)?;
            living += outcome.listed;
            self.last = outcome.last.or(self.last.take());
            self.refused = outcome.refused.or(self.refused.take());
            Ok(())
        })?;
        self.living = self.living.max(living);
        Ok(())
    }

    fn failure(self, record: &CgroupRecord) -> Error {
        let folder = first_of(record);
        let above = record.freezer.as_deref().and_then(|freezer| freeze::frozen_above(freezer).ok()?);
        match (self.refused, above) {
            (_, Some(folder)) => Error::FrozenAbove { folder },
            (Some(source), None) => Error::Kill { folder, source },
            (None, None) => Error::StillPopulated { folder, count: self.living.max(1) },
        }
    }
}

fn first_of(record: &CgroupRecord) -> PathBuf {
    record.folders.first().cloned().unwrap_or_default()
}

/// How the kernel itself counts who is in the cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Population {
    Somebody,
    Nobody,
    #[default]
    Unknown,
}

/// v2 counts who lives; the pids controller of v1 also who has ended and was not waited for.
fn population(tops: &[(&Path, Dir)]) -> Result<Population> {
    let mut said = if tops.is_empty() { Population::Nobody } else { Population::Unknown };
    for (folder, top) in tops {
        let failed = |source| Error::Read { path: (*folder).to_owned(), source };
        let nobody = match top.read_if_there("cgroup.events").map_err(failed)? {
            Some(events) if events.lines().any(|line| line == "populated 1") => return Ok(Population::Somebody),
            Some(_) => true,
            None => top.read_if_there("pids.current").map_err(failed)?.is_some_and(|count| count.trim() == "0"),
        };
        if nobody {
            said = Population::Nobody;
        }
    }
    Ok(said)
}

/// What one hierarchy can hold a process with that is to end.
struct Hold {
    freezes: bool,
    quota: Option<(&'static str, &'static str)>,
}

impl Hold {
    fn of(top: &Dir) -> io::Result<Hold> {
        let freezes = top.has("freezer.state")? || top.has("cgroup.freeze")?;
        let quota = match (top.has("cpu.cfs_quota_us")?, top.has("cpu.max")?) {
            (true, _) => Some(("cpu.cfs_quota_us", "-1")),
            (_, true) => Some(("cpu.max", "max")),
            _ => None,
        };
        Ok(Hold { freezes, quota })
    }

    /// In the whole tree, from the top down. What was refused stops nothing; an error means that it could not be looked
    /// at.
    fn loosen(&self, top: &Dir) -> io::Result<Option<io::Error>> {
        let mut refused = None;
        if self.freezes || self.quota.is_some() {
            tree::each(top, |folder| {
                let thawed = if self.freezes { freeze::thaw_dir(folder) } else { Ok(()) };
                let lifted = self.quota.map_or(Ok(()), |(file, none)| lift(folder, file, none));
                refused = thawed.err().or(lifted.err()).or(refused.take());
                Ok(())
            })?;
        }
        Ok(refused)
    }
}

fn lift(folder: &Dir, file: &str, none: &str) -> io::Result<()> {
    match folder.read_if_there(file)? {
        Some(text) if text.split_whitespace().next() != Some(none) => {
            tree::unless_gone(folder.write(file, none)).map(drop)
        }
        _ => Ok(()),
    }
}
