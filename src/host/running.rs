//! The effects of start, pause and resume on a sandbox that exists.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::HostError;
use super::hooks::Ledger;
use super::supervisor::CALL_DEADLINE;
use crate::cgroup;
use crate::control::{Client, Container, ControlError, Method, Request};
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
    /// startContainer hooks run before the application does, for as long as each of them may take.
    pub pace: Pace,
    /// Whose poststart hooks this process runs once the application does.
    pub ledger: Option<&'a Ledger>,
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
        if let Some(ledger) = self.ledger {
            ledger.claim_poststart()?;
        }
        let soon = Some(Instant::now() + CALL_DEADLINE);
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.folder, soon)?,
        };
        // The answer comes once the application runs. A hook that hangs is ended by `delete --force`.
        let deadline = if self.pace == Pace::RunsHooks { None } else { soon };
        client.call(&Request::Start(Container { cid: self.container.clone() }), &[], deadline)?;
        self.client = Some(client);
        Ok(())
    }

    /// Once the order is out, only a refusal says that it had no effect; a supervisor that is gone has ended everything.
    fn outcome_unknown(&self, error: &HostError) -> bool {
        let HostError::Control(error) = error else { return false };
        match error {
            ControlError::Timeout { method, .. }
            | ControlError::Interrupted { method, .. }
            | ControlError::Transport { method, .. }
            | ControlError::Decode { method, .. }
            | ControlError::UnexpectedReply { method } => *method == Method::Start,
            ControlError::Refused { .. } | ControlError::Gone | ControlError::Version { .. } => false,
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::ErrorCode;

    #[test]
    fn a_start_that_was_ordered_and_not_answered_may_still_happen() {
        let top = std::fs::File::open("/").unwrap();
        let id = Id::parse("web").unwrap();
        let folder = std::os::fd::AsFd::as_fd(&top);
        let release = Release { folder, container: &id, client: None, pace: Pace::Quick, ledger: None };
        let unknown = |error: ControlError| release.outcome_unknown(&error.into());
        let after = Duration::from_secs(10);
        assert!(unknown(ControlError::Timeout { method: Method::Start, after }));
        assert!(unknown(ControlError::Transport { method: Method::Start, source: std::io::ErrorKind::Other.into() }));
        assert!(!unknown(ControlError::Timeout { method: Method::Handshake, after }), "nothing was ordered yet");
        assert!(!unknown(ControlError::Gone));
        assert!(!unknown(ControlError::Refused { code: ErrorCode::StartFailed, message: String::new() }));
    }
}
