//! What heals a sandbox on this machine, made only once there is something to heal: to end one takes its configuration,
//! for the poststop hooks.

use super::HostError;
use super::destroy::Destruction;
use super::kept::destruction_of;
use super::running::Changing;
use crate::engine::{Mend, Wreck};
use crate::model::record::Snapshot;
use crate::store::Folder;

/// Keeps nothing: all is read anew for each sandbox.
pub struct Mender;

impl Mend for Mender {
    type Error = HostError;
    type Changes<'w> = Changing<'w>;
    type Ends<'w> = Destruction;

    fn changes<'w>(&self, folder: &'w Folder, snapshot: &'w Snapshot) -> Changing<'w> {
        Changing::left(folder, snapshot)
    }

    fn ends<'w>(&self, wreck: Wreck<'w>) -> Destruction {
        destruction_of(&wreck)
    }
}
