//! The effects of start, pause, resume and update on a sandbox that exists, and what takes them back.

use std::time::Instant;

use super::HostError;
use super::hooks::Ledger;
use super::update::{self, Limiting};
use crate::cgroup;
use crate::control::{Client, Container, ControlError, Method, Request};
use crate::engine::{Effects, Pace, Performer};
use crate::model::record::{CgroupRecord, Snapshot};
use crate::model::{Change, Id};
use crate::store::Folder;
use crate::sys::patience;

/// What changes a sandbox, and leaves it.
pub struct Changing<'a> {
    folder: &'a Folder,
    root: &'a Id,
    /// The cgroups of its containers, to be frozen and thawed as a whole.
    freezers: Vec<&'a CgroupRecord>,
    start: Start<'a>,
    /// None: no other limits are asked for.
    limits: Option<Limiting<'a>>,
    warnings: Vec<String>,
}

/// What a start is to heed.
pub struct Start<'a> {
    /// The connection of a creation that goes straight on to start.
    pub client: Option<Client>,
    /// startContainer hooks run before the application does, for as long as each of them may take.
    pub pace: Pace,
    /// Whose poststart hooks this process runs once the application does.
    pub ledger: Option<&'a Ledger>,
}

impl<'a> Changing<'a> {
    /// All containers of the sandbox: the root stands for the whole.
    pub fn of(folder: &'a Folder, snapshot: &'a Snapshot) -> Changing<'a> {
        let freezers = snapshot.containers.values().map(|container| &container.cgroup).collect();
        let start = Start { client: None, pace: Pace::Quick, ledger: None };
        Changing { folder, root: &snapshot.sandbox.id, freezers, start, limits: None, warnings: Vec::new() }
    }

    /// What a command left that was cut short. A container without a freezer, or without its cgroup, was not left frozen.
    pub fn left(folder: &'a Folder, snapshot: &'a Snapshot) -> Changing<'a> {
        let mut changing = Changing::of(folder, snapshot);
        changing.freezers.retain(|record| record.freezer.is_some() && cgroup::exists(record).unwrap_or(true));
        changing
    }

    /// For a row that releases the init.
    pub fn to_start(self, start: Start<'a>) -> Changing<'a> {
        Changing { start, ..self }
    }

    /// For a row that sets limits.
    pub fn to_limit(self, limits: Limiting<'a>) -> Changing<'a> {
        Changing { limits: Some(limits), ..self }
    }

    fn release(&mut self) -> Result<(), HostError> {
        if let Some(ledger) = self.start.ledger {
            ledger.claim_poststart()?;
        }
        let soon = Some(Instant::now() + patience::A_CALL);
        let mut client = match self.start.client.take() {
            Some(client) => client,
            None => Client::connect(self.folder.dir(), soon)?,
        };
        // The answer comes once the application runs. A hook that hangs is ended by `delete --force`.
        let deadline = if self.start.pace == Pace::RunsHooks { None } else { soon };
        client.call(&Request::Start(Container { cid: self.root.clone() }), &[], deadline)?;
        self.start.client = Some(client);
        Ok(())
    }

    fn freeze(&self) -> Result<(), HostError> {
        for record in &self.freezers {
            cgroup::freeze(record, Instant::now() + patience::A_FREEZE)?;
        }
        Ok(())
    }

    fn thaw(&self) -> Result<(), HostError> {
        Ok(self.freezers.iter().try_for_each(|record| cgroup::thaw(record))?)
    }
}

impl Performer for Changing<'_> {
    type Error = HostError;

    fn pace(&self) -> Pace {
        self.start.pace
    }

    fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
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

impl Effects<Change> for Changing<'_> {
    fn perform(&mut self, effect: Change) -> Result<(), HostError> {
        match effect {
            Change::Release => self.release(),
            Change::Freeze => self.freeze(),
            Change::Thaw => self.thaw(),
            Change::SetLimits => self.limits.as_mut().map_or(Ok(()), Limiting::apply),
            Change::SetLimitsBack => {
                self.warnings.extend(update::set_back(self.folder)?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ErrorCode;
    use crate::store::Root;

    #[test]
    fn a_start_that_was_ordered_and_not_answered_may_still_happen() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_make(dir.path()).unwrap();
        let (folder, _guard) = root.prepare().unwrap();
        let snapshot = crate::store::schema::samples::snapshot("web");
        let changing = Changing::of(&folder, &snapshot);
        let unknown = |error: ControlError| changing.outcome_unknown(&error.into());
        let after = std::time::Duration::from_secs(10);
        assert!(unknown(ControlError::Timeout { method: Method::Start, after }));
        assert!(unknown(ControlError::Transport { method: Method::Start, source: std::io::ErrorKind::Other.into() }));
        assert!(!unknown(ControlError::Timeout { method: Method::Handshake, after }), "nothing was ordered yet");
        assert!(!unknown(ControlError::Gone));
        assert!(!unknown(ControlError::Refused { code: ErrorCode::StartFailed, message: String::new() }));
    }
}
