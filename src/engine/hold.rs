//! A sandbox that this process has locked, and whose last transition is complete.

use super::Recorder;
use super::effects::Grip;
use crate::model::record::Snapshot;
use crate::store::Folder;

/// The lock, and what it protects.
pub struct Held<'a> {
    pub(super) grip: Grip<'a>,
    pub(super) snapshot: Snapshot,
}

impl<'a> Held<'a> {
    /// As it was last published, healing included.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The sandbox's own.
    pub fn folder(&self) -> &Folder {
        &self.grip.folder
    }

    /// What it is committed through.
    pub fn recorder(&mut self) -> &mut Recorder<'a> {
        &mut self.grip.recorder
    }
}
