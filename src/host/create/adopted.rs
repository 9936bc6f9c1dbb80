//! The container is there: set up, looked at, kept by the supervisor, and waiting to be started. What is left is to say so.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::birth::Birth;
use super::cgroups::Remains;
use super::left::{Left, Made};
use super::net_devices::Moved;
use crate::control::Client;
use crate::engine::Born;
use crate::host::launch;
use crate::host::notify::Notices;
use crate::host::supervisor::Supervisor;
use crate::model::record::ContainerRecord;
use crate::sys::patience;
use crate::sys::pidfd::{self, Ended};
use crate::sys::procfs;

/// Every effect is done: the supervisor keeps the init, which waits for the start message.
pub struct Adopted<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) cgroups: Remains,
    pub(super) supervisor: Supervisor,
    pub(super) init: launch::Launched,
    pub(super) moved: Option<Moved>,
    pub(super) container: ContainerRecord,
    pub(super) client: Client,
    pub(super) notices: Option<Notices>,
    pub(super) terminal: Option<OwnedFd>,
}

/// What this process has of a container that is born.
pub struct Newborn {
    /// It waits for the start message.
    pub init: launch::Launched,
    /// Spawned by this process.
    pub supervisor: Supervisor,
    /// The connection to the supervisor, for whatever comes next.
    pub client: Client,
    /// Of a container whose notices nobody else passes on.
    pub notices: Option<Notices>,
    /// The master of its terminal, if that was to be kept here.
    pub terminal: Option<OwnedFd>,
}

impl Adopted<'_> {
    /// Once it is on record. Beside it: what the user must know although nothing failed.
    pub fn settle(self) -> (Newborn, Vec<String>) {
        let Adopted { birth, supervisor, init, client, notices, terminal, .. } = self;
        (Newborn { init, supervisor, client, notices, terminal }, birth.warnings)
    }
}

impl Born for Adopted<'_> {
    fn container(&self) -> ContainerRecord {
        self.container.clone()
    }
}

impl<'a> From<Adopted<'a>> for Left<'a> {
    fn from(adopted: Adopted<'a>) -> Left<'a> {
        let Adopted { birth, cgroups, supervisor, init, moved, .. } = adopted;
        Left { birth, made: Made::Init { cgroups, supervisor, init, moved } }
    }
}

/// 128 + signal, if the init, our child, was ended by one: the application may have run by then, even if the supervisor did
/// not live to say so. When that is gone, the kernel is about to end the init.
pub fn killed_with_supervisor(init: &launch::Launched, supervisor: &Supervisor) -> Option<u8> {
    let gone = procfs::stat(supervisor.pid).ok()?.is_none_or(|stat| stat.is_gone());
    let patience = if gone { patience::A_KILLED_PROCESS } else { Duration::ZERO };
    pidfd::wait_exit(init.pidfd.as_fd(), Some(Instant::now() + patience)).ok()?;
    let status = pidfd::wait_child(init.pidfd.as_fd()).ok()??;
    Ended::of(status).signal.map(|signal| 128 + signal)
}
