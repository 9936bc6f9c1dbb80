//! One more process in a running container.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;

use super::helper::{Helper, pidfd_pid};
use super::{Inside, Launched};
use crate::cgroup::Joiner;
use crate::container::letter::{Errand, Then};
use crate::container::{channel, join};
use crate::host::protect::Binary;
use crate::host::{HostError, Trying};
use crate::model::record::Reaper;
use crate::sys::open::{self, AT_CWD};
use crate::sys::place::Place;

/// A container to join.
pub struct Target<'a> {
    /// pidfd of its init.
    pub init: BorrowedFd<'a>,
    /// Those of its namespaces that differ from ours.
    pub namespaces: CloneFlags,
    /// Of the cgroups that it is to be in.
    pub joiner: &'a Joiner,
    /// What its record says of its root.
    pub root: Option<Place>,
    /// Whether its processes may have put another root on top of that.
    pub may_change_root: bool,
}

/// Clones one more process into a running container. The caller still has a single thread. `patience`: how long the
/// helper may take; none for a frozen container, whose cgroup freezes the helper until it is thawed.
pub fn launch(
    donate: impl FnOnce(OwnedFd) -> join::Donations,
    target: &Target<'_>,
    inside: Inside<'_>,
    reaper: Reaper,
    binary: &Binary,
    patience: Option<Duration>,
) -> Result<Launched, HostError> {
    let (ours, theirs) = channel::pair().trying(|| "make the process's channel".into())?;
    let inside = if reaper == Reaper::Caller { Inside::Ours } else { inside };
    let entered = join::Target {
        init: target.init.try_clone_to_owned().trying(|| "keep the container's init".into())?,
        pid_namespace: open_of(target.init, "ns/pid", OFlag::O_RDONLY)?,
        namespaces: target.namespaces.bits(),
        root: target.root,
        init_root: open_of(target.init, "root", OFlag::O_PATH | OFlag::O_DIRECTORY)?,
        may_change_root: target.may_change_root,
    };
    let errand = Errand::Exec { target: entered, process: Box::new(donate(theirs)) };
    Helper { inside, joiner: target.joiner, reaper, then: Then::Leave, binary }.send(errand, ours, patience)
}

/// A file of /proc/PID, opened with our privileges, of a process that we know by pidfd.
fn open_of(process: BorrowedFd<'_>, name: &str, flags: OFlag) -> Result<OwnedFd, HostError> {
    let what = || format!("open {name} of the container's init");
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = pidfd_pid(process)?.ok_or_else(gone).trying(what)?;
    let opened = open::at(AT_CWD, Path::new(&format!("/proc/{pid}/{name}")), flags, 0).trying(what)?;
    // Still the same process: the number has not come to mean another one meanwhile.
    match pidfd_pid(process)? {
        Some(_) => Ok(opened),
        None => Err(gone()).trying(what),
    }
}
