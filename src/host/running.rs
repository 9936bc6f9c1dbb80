//! The effects of start, pause and resume on a sandbox that exists.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::HostError;
use super::create::CALL_DEADLINE;
use crate::cgroup;
use crate::control::{Client, Container, Request};
use crate::engine::{Effects, Pace};
use crate::model::record::CgroupRecord;
use crate::model::{Effect, Id};

/// How long freezing may take: processes in uninterruptible sleep freeze late.
const FREEZE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// Start: the supervisor releases the init.
pub struct Release<'a> {
    pub folder: BorrowedFd<'a>,
    pub container: &'a Id,
    /// The connection of a creation that goes straight on to start.
    pub client: Option<Client>,
    /// startContainer hooks run before the application does.
    pub pace: Pace,
}

impl Effects for Release<'_> {
    type Error = HostError;

    fn pace(&self) -> Pace {
        self.pace
    }

    fn perform(&mut self, effect: Effect) -> Result<(), HostError> {
        if effect != Effect::ReleaseInit {
            return Err(super::not_ours(effect));
        }
        let deadline = Some(Instant::now() + CALL_DEADLINE);
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.folder, deadline)?,
        };
        client.call(&Request::Start(Container { cid: self.container.clone() }), &[], deadline)?;
        self.client = Some(client);
        Ok(())
    }
}

/// Pause and resume: the container's cgroup is frozen or thawed as a whole.
pub struct Freezing<'a> {
    pub containers: Vec<&'a CgroupRecord>,
}

impl Effects for Freezing<'_> {
    type Error = HostError;

    fn perform(&mut self, effect: Effect) -> Result<(), HostError> {
        for record in &self.containers {
            match effect {
                Effect::Freeze => cgroup::freeze(record, Instant::now() + FREEZE_DEADLINE)?,
                Effect::Thaw => cgroup::thaw(record)?,
                other => return Err(super::not_ours(other)),
            }
        }
        Ok(())
    }
}
