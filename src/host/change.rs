//! `pause`, `resume` and `update`: what a caller asks of a sandbox that goes on. `start` is a file of its own.

use oci_spec::runtime::LinuxResources;

use super::kept::{self, root_container};
use super::running::Changing;
use super::tell::{self, Tell};
use super::update::Limiting;
use super::{Failed, HostError};
use crate::engine::{Held, pod_of};
use crate::model::{ChangeRequest, Event};

/// Everything in it stands still.
pub fn pause(held: Held<'_>, tell: &dyn Tell) -> Result<(), Failed> {
    freeze_or_thaw(held, ChangeRequest::Pause, tell)
}

/// And goes on.
pub fn resume(held: Held<'_>, tell: &dyn Tell) -> Result<(), Failed> {
    freeze_or_thaw(held, ChangeRequest::Resume, tell)
}

fn freeze_or_thaw(held: Held<'_>, request: ChangeRequest, tell: &dyn Tell) -> Result<(), Failed> {
    let (folder, snapshot) = (held.folder().try_clone()?, held.snapshot().clone());
    let mut changing = Changing::of(&folder, &snapshot);
    tell::notices(&mut held.change(&snapshot.sandbox.id, request, &mut changing)?, tell);
    Ok(())
}

/// Its root container gets these limits, and keeps those that they do not mention.
pub fn update(held: Held<'_>, given: &LinuxResources, tell: &dyn Tell) -> Result<(), Failed> {
    let (folder, snapshot) = (held.folder().try_clone()?, held.snapshot().clone());
    let id = &snapshot.sandbox.id;
    // Denied before anything is read: the files of a sandbox that has ended do not matter.
    pod_of(&snapshot).step(id.as_str(), id.as_str(), Event::UpdateRequested)?;
    let container = root_container(&snapshot).ok_or_else(|| HostError::Absent { id: id.clone() })?;
    let configured = kept::load(&folder, &snapshot)?.plan.cgroup.resources;
    let seq = snapshot.state.seq + 1;
    let limits = Limiting::new(&folder, &container.cgroup, configured.as_ref(), given, seq)?;
    let mut changing = Changing::of(&folder, &snapshot).to_limit(limits);
    tell::notices(&mut held.change(id, ChangeRequest::Update, &mut changing)?, tell);
    Ok(())
}
