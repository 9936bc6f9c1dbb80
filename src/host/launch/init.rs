//! The init of a container.

use std::os::fd::OwnedFd;

use super::helper::Helper;
use super::{Inside, Launched, namespaces};
use crate::cgroup::Joiner;
use crate::container::letter::{Errand, Then};
use crate::container::{channel, init};
use crate::host::protect::Binary;
use crate::host::{HostError, Trying};
use crate::model::record::Reaper;
use crate::spec::plan::Plan;
use crate::sys::patience;

/// Clones it, by way of a helper that is a program of its own. The caller still has a single thread.
pub fn launch(
    plan: &Plan,
    donate: impl FnOnce(OwnedFd) -> init::Donations,
    inside: Inside<'_>,
    joiner: &Joiner,
    reaper: Reaper,
    binary: &Binary,
) -> Result<Launched, HostError> {
    let (ours, theirs) = channel::pair().trying(|| "make the init's channel".into())?;
    let lingering = reaper == Reaper::Supervisor && matches!(inside, Inside::Ours);
    let errand = Errand::Init { joined: namespaces::open_joined(plan)?, init: Box::new(donate(theirs)) };
    let then = if lingering { Then::Stay } else { Then::Leave };
    let helper = Helper { inside, joiner, reaper, then, binary };
    helper.send(errand, ours, Some(patience::A_STEP_OF_INIT))
}
