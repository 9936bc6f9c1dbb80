//! The effect of update: other limits on the cgroup of a container, all of them or none.
//!
//! The way back is on disk before the first value is written, and the rename of that file is what completes it
//! (`store::Limits`): a process that dies anywhere in between leaves enough for recovery to do one or the other.

use oci_spec::runtime::LinuxResources;

use super::HostError;
use crate::cgroup::{Change, Hierarchies};
use crate::engine::Effects;
use crate::model::Effect;
use crate::model::record::CgroupRecord;
use crate::spec;
use crate::store::{Folder, Limits};

pub struct Limiting<'a> {
    folder: &'a Folder,
    cgroup: &'a CgroupRecord,
    given: &'a LinuxResources,
    next: Limits,
}

impl<'a> Limiting<'a> {
    /// `given` is what was asked for now; what it does not mention stays. `frozen` are the limits of the configuration,
    /// which hold until the first update. `seq` is that of the transition.
    pub fn new(
        folder: &'a Folder,
        cgroup: &'a CgroupRecord,
        frozen: Option<&LinuxResources>,
        given: &'a LinuxResources,
        seq: u64,
    ) -> Result<Limiting<'a>, HostError> {
        let until_now = match folder.read_limits()? {
            Some(limits) => limits.resources,
            None => spec::limits_to_json(frozen),
        };
        let next = Limits { seq, resources: spec::merge_limits(until_now, given), before: Vec::new() };
        Ok(Limiting { folder, cgroup, given, next })
    }

    fn apply(&mut self) -> Result<(), HostError> {
        let change = Change::prepare(&Hierarchies::read()?, self.cgroup, self.given)?;
        self.next.before = change.before().to_vec();
        self.folder.begin_limits(&self.next)?;
        if let Err(error) = change.apply() {
            self.folder.drop_limits()?;
            return Err(error.into());
        }
        Ok(self.folder.keep_limits()?)
    }
}

impl Effects for Limiting<'_> {
    type Error = HostError;

    fn perform(&mut self, effect: Effect) -> Result<(), HostError> {
        match effect {
            Effect::ApplyLimits => self.apply(),
            other => Err(super::not_ours(other)),
        }
    }
}
