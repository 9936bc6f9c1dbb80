//! Stopping and continuing everything in a cgroup, with no process able to notice or escape.

use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::files::{self, Pause};
use super::{Error, Result};
use crate::model::record::CgroupRecord;

const V1_STATE: &str = "freezer.state";
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

/// Thawing what is not frozen, or gone, succeeds.
pub fn thaw(record: &CgroupRecord) -> Result<()> {
    thaw_folder(record.freezer.as_deref().ok_or(Error::NoFreezer)?)
}

/// A cgroup that is still freezing is not frozen; neither is one that is gone.
pub fn is_frozen(record: &CgroupRecord) -> Result<bool> {
    let folder = record.freezer.as_deref().ok_or(Error::NoFreezer)?;
    let (file, yes) = match version(folder) {
        Ok(Kind::V1) => (V1_STATE, "FROZEN"),
        Ok(Kind::V2) => (V2_EVENTS, "frozen 1"),
        Err(Error::Freeze { source, .. }) if files::is_gone(&source) => return Ok(false),
        Err(error) => return Err(error),
    };
    let path = folder.join(file);
    match files::read(&path) {
        Ok(text) => Ok(text.lines().any(|line| line == yes)),
        Err(error) if files::is_gone(&error) => Ok(false),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Whether somebody has switched freezing on, here or above, whether or not all is frozen yet. Not if it is gone.
pub(super) fn is_switched_on(folder: &Path) -> Result<bool> {
    for (file, off) in [(V1_STATE, "THAWED"), (V2_SWITCH, "0")] {
        let path = folder.join(file);
        match files::read(&path) {
            Ok(text) => return Ok(text.trim() != off),
            Err(error) if files::is_gone(&error) => {}
            Err(source) => return Err(Error::Read { path, source }),
        }
    }
    Ok(false)
}

/// Of one folder, of either version; a folder without a freezer has nothing to thaw.
pub(super) fn thaw_folder(folder: &Path) -> Result<()> {
    for (file, value) in [(V1_STATE, "THAWED"), (V2_SWITCH, "0")] {
        match files::write(&folder.join(file), value) {
            Ok(()) => return Ok(()),
            Err(error) if files::is_gone(&error) => {}
            Err(source) => return Err(Error::Freeze { folder: folder.to_owned(), source }),
        }
    }
    Ok(())
}

enum Kind {
    V1,
    V2,
}

fn version(folder: &Path) -> Result<Kind> {
    if folder.join(V1_STATE).exists() {
        Ok(Kind::V1)
    } else if folder.join(V2_SWITCH).exists() {
        Ok(Kind::V2)
    } else {
        Err(Error::Freeze { folder: folder.to_owned(), source: io::Error::from_raw_os_error(libc::ENOENT) })
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
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut fds, files::timeout(deadline.min(Instant::now() + LOOK_AGAIN))) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
