//! What has come to be of a birth that failed, and how it is taken back: last first, and what the failed step may have made
//! before all.

use std::os::fd::AsFd;

use super::birth::Birth;
use super::cgroups::Remains;
use super::net_devices::Moved;
use crate::engine::{self, Poststop, Undone};
use crate::host::supervisor::Supervisor;
use crate::host::{HostError, kill, launch};
use crate::model::record::Reaper;
use crate::sys::told::on_one_line;

pub struct Left<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) made: Made,
}

/// Each with all that was made before it.
pub(super) enum Made {
    Cgroups(Remains),
    Supervisor { cgroups: Remains, supervisor: Supervisor },
    Init { cgroups: Remains, supervisor: Supervisor, init: launch::Launched, moved: Option<Moved> },
}

impl engine::Left for Left<'_> {
    type Error = HostError;

    /// A failure stops none of the others, and is the outcome.
    fn take_back(self, poststop: Poststop) -> Undone<HostError> {
        let Left { mut birth, made } = self;
        let outcome = match made {
            Made::Cgroups(cgroups) => cgroups.remove(),
            Made::Supervisor { cgroups, supervisor } => end_supervisor(cgroups, supervisor),
            Made::Init { cgroups, supervisor, init, moved } => {
                // While there is a network namespace that they can be taken from.
                if let Some(Err(error)) = moved.map(Moved::bring_back) {
                    birth.warnings.push(on_one_line(&error));
                }
                let killed = cgroups
                    .end_container()
                    .and_then(|()| kill::and_wait(init.pidfd.as_fd(), birth.options.reaper == Reaper::Caller));
                killed.and(end_supervisor(cgroups, supervisor))
            }
        };
        if outcome.is_ok() && poststop == Poststop::Owed {
            birth.run_poststop();
        }
        Undone { outcome, warnings: birth.warnings }
    }
}

fn end_supervisor(cgroups: Remains, supervisor: Supervisor) -> Result<(), HostError> {
    // A helper that was about to clone the init is in nobody's PID namespace but ours.
    let ended = cgroups.end_container().and_then(|()| kill::and_wait(supervisor.pidfd.as_fd(), true));
    ended.and(cgroups.remove())
}
