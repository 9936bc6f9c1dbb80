//! The sandbox that a container is born into: a new one, whose supervisor keeps it.

use std::os::fd::{AsFd, OwnedFd};

use super::birth::Birth;
use crate::cgroup::Joiner;
use crate::control;
use crate::host::notify::Notices;
use crate::host::supervisor::{self, Donation, Supervisor};
use crate::host::{HostError, Trying};
use crate::store::Folder;

/// What a supervisor is given of the sandbox's folder.
pub struct NewHome {
    /// Let go of once the supervisor has it: nobody is to knock at a door behind which nobody is.
    controller: OwnedFd,
    exits: OwnedFd,
    spec: OwnedFd,
    /// Which it passes on.
    notices: Option<Notices>,
}

impl NewHome {
    pub fn prepare(folder: &Folder, notices: Option<Notices>) -> Result<NewHome, HostError> {
        Ok(NewHome {
            controller: control::listen(folder.dir()).trying(|| "bind the control socket".into())?,
            exits: folder.make_exits()?,
            spec: folder.open_file("config.json")?,
            notices,
        })
    }

    pub fn spawn_supervisor(self, birth: &Birth<'_>, joiner: &Joiner) -> Result<Supervisor, HostError> {
        let options = birth.options;
        supervisor::spawn(&Donation {
            binary: &birth.binary,
            id: &options.id,
            bundle: &options.bundle,
            spec: self.spec.as_fd(),
            controller: self.controller.as_fd(),
            exits: self.exits.as_fd(),
            notices: self.notices.as_ref().map(Notices::as_fds),
            joiner,
            log: options.log.as_ref().map(|log| log.as_fd()),
            debug_log: options.log.as_ref().filter(|_| options.debug).map(|log| log.as_fd()),
            pid_namespace: birth.pid_namespace(),
            attached: options.attached,
        })
    }
}
