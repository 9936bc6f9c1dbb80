//! Stopping and continuing everything in a cgroup, with no process able to notice or escape.

use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::files::{self, Pause};
use super::tree::{self, Dir};
use super::{Error, Result};
use crate::model::record::CgroupRecord;
use crate::sys::ready::timeout_until;

const V1_STATE: &str = "freezer.state";
/// Whether it is this very folder that freezes: `freezer.state` tells of those above, too, and looks at everything below.
const V1_SWITCH: &str = "freezer.self_freezing";
const V2_SWITCH: &str = "cgroup.freeze";
const V2_EVENTS: &str = "cgroup.events";

/// After so many looks at a v1 freezer that is still FREEZING, it is thawed for a moment: a task can be waiting, where it
/// cannot be frozen, for another that is frozen already.
const LOOKS_BEFORE_SHAKING: u32 = 50;

/// Between two looks at a v2 cgroup that is freezing, unless it reports sooner.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Returns when every process is frozen. At the deadline it is thawed again, and that is an error. Freezing what is
/// frozen succeeds.
pub fn freeze(record: &CgroupRecord, deadline: Instant) -> Result<()> {
    let folder = record.freezer.as_deref().ok_or(Error::NoFreezer)?;
    let frozen = match version(folder)? {
        Kind::V1 => freeze_v1(folder, deadline),
        Kind::V2 => freeze_v2(folder, deadline),
    };
    match frozen {
        Ok(true) => Ok(()),
        Ok(false) => {
            thaw_folder(folder)?;
            Err(Error::FreezeTimeout { folder: folder.to_owned() })
        }
        Err(source) => Err(Error::Freeze { folder: folder.to_owned(), source }),
    }
}

/// Thawing what is not frozen, or gone, succeeds. What the container has frozen below its own cgroup stays so.
pub fn thaw(record: &CgroupRecord) -> Result<()> {
    thaw_folder(record.freezer.as_deref().ok_or(Error::NoFreezer)?)
}

/// A cgroup that is still freezing is not frozen; neither is one that is gone.
pub fn is_frozen(record: &CgroupRecord) -> Result<bool> {
    let folder = record.freezer.as_deref().ok_or(Error::NoFreezer)?;
    let look = || {
        let Some(dir) = Dir::open_if_there(folder)? else { return Ok(false) };
        let (text, yes) = match dir.read_if_there(V1_STATE)? {
            Some(state) => (Some(state), "FROZEN"),
            None => (dir.read_if_there(V2_EVENTS)?, "frozen 1"),
        };
        Ok(text.is_some_and(|text| text.lines().any(|line| line == yes)))
    };
    look().map_err(|source| Error::Read { path: folder.to_owned(), source })
}

/// The cgroup at or above `folder`, which need not be there, in which somebody has switched freezing on, whether or not
/// all is frozen yet. The nearest, if there are more.
pub(super) fn frozen_above(folder: &Path) -> Result<Option<PathBuf>> {
    for path in folder.ancestors() {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let Some(dir) = Dir::open_if_there(path).map_err(failed)? else { continue };
        if is_switched_on(&dir).map_err(failed)? {
            return Ok(Some(path.to_owned()));
        }
    }
    Ok(None)
}

/// Whether somebody has switched freezing on in this very folder.
pub(super) fn is_switched_on(folder: &Dir) -> io::Result<bool> {
    let switch = match folder.read_if_there(V1_SWITCH)? {
        Some(switch) => Some(switch),
        None => folder.read_if_there(V2_SWITCH)?,
    };
    Ok(switch.is_some_and(|switch| switch.trim() != "0"))
}

/// Of one folder, of either version; a folder without a freezer has nothing to thaw.
pub(super) fn thaw_folder(folder: &Path) -> Result<()> {
    let thaw = || match Dir::open_if_there(folder)? {
        Some(dir) => thaw_dir(&dir),
        None => Ok(()),
    };
    thaw().map_err(|source| Error::Freeze { folder: folder.to_owned(), source })
}

/// The same. Looked at first: on v1 the write goes through everything below.
pub(super) fn thaw_dir(folder: &Dir) -> io::Result<()> {
    if !is_switched_on(folder)? {
        return Ok(());
    }
    match tree::unless_gone(folder.write(V1_STATE, "THAWED"))? {
        Some(()) => Ok(()),
        None => tree::unless_gone(folder.write(V2_SWITCH, "0")).map(drop),
    }
}

enum Kind {
    V1,
    V2,
}

fn version(folder: &Path) -> Result<Kind> {
    let failed = |source| Error::Freeze { folder: folder.to_owned(), source };
    // Whoever made the container may not have been allowed to make it.
    let dir = Dir::open_if_there(folder).map_err(failed)?.ok_or(Error::NoFreezer)?;
    match (dir.has(V1_STATE).map_err(failed)?, dir.has(V2_SWITCH).map_err(failed)?) {
        (true, _) => Ok(Kind::V1),
        (_, true) => Ok(Kind::V2),
        _ => Err(failed(io::Error::from_raw_os_error(libc::ENOENT))),
    }
}

/// False at the deadline. v1 tells nobody when it is done: look, and look again. Every look makes the kernel check, and
/// FROZEN is written again because a process that was forked meanwhile may have been missed.
fn freeze_v1(folder: &Path, deadline: Instant) -> io::Result<bool> {
    let state = folder.join(V1_STATE);
    let mut pause = Pause::default();
    loop {
        files::write(&state, "FROZEN")?;
        if files::read(&state)?.trim() == "FROZEN" {
            return Ok(true);
        }
        if !pause.once(deadline) {
            return Ok(false);
        }
        if pause.times().is_multiple_of(LOOKS_BEFORE_SHAKING) {
            files::write(&state, "THAWED")?;
        }
    }
}

/// False at the deadline. v2 reports on cgroup.events (POLLPRI), but not twice within 10 ms: so look, too.
fn freeze_v2(folder: &Path, deadline: Instant) -> io::Result<bool> {
    let mut events = std::fs::File::open(folder.join(V2_EVENTS))?;
    files::write(&folder.join(V2_SWITCH), "1")?;
    loop {
        events.rewind()?;
        let text = crate::sys::text::all_of(&mut events)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut fds, timeout_until(Some(deadline.min(Instant::now() + LOOK_AGAIN)))) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
