//! What update does: other limits on the cgroup of a container, all of them or none.
//!
//! The way back is on disk before the first value is written, and the rename of that file is what completes it
//! (`record::Limits`): a process that dies anywhere in between leaves enough for recovery to do one or the other.

use oci_spec::runtime::LinuxResources;

use super::HostError;
use super::destroy::systemd_of;
use crate::cgroup;
use crate::cgroup::systemd::names_of;
use crate::cgroup::{Change, Hierarchies};
use crate::model::record::{CgroupRecord, Limits, ScopeRecord};
use crate::spec;
use crate::store::Folder;

/// An update of one container's limits, merged and not applied yet.
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

    pub(super) fn apply(&mut self) -> Result<(), HostError> {
        let hierarchies = Hierarchies::read()?;
        let effective = spec::effective_limits(&self.next.resources, self.given)?;
        let change = Change::prepare(&hierarchies, self.cgroup, &effective)?;
        let scope = self.folder.read_scope()?;
        let mut systemd = scope.as_ref().map(systemd_of).transpose()?;
        self.next.before = change.before().to_vec();
        self.folder.begin_limits(&self.next)?;
        let mut set = change.apply();
        // The kernel first: it says no to more. systemd refuses a call as a whole.
        if let (Ok(()), Some(scope), Some(systemd)) = (&set, &scope, &mut systemd) {
            let properties = spec::completed_limits(&self.next.resources, &effective)?;
            let told = systemd.set(&scope.unit, &properties, names_of(&hierarchies));
            set = told.map_err(|error| change.undo(error));
        }
        if let Err(error) = set {
            self.folder.drop_limits()?;
            return Err(error.into());
        }
        Ok(self.folder.keep_limits()?)
    }
}

/// Takes an update that was cut short back. A value that is refused by now stops nothing: whoever heals goes on, and says
/// so, in what this returns.
pub(super) fn set_back(folder: &Folder) -> Result<Vec<String>, HostError> {
    let mut told = Vec::new();
    match folder.read_next_limits() {
        Ok(None) => {}
        Ok(Some(next)) => {
            let left = cgroup::set_back(&next.before);
            told.extend(left.into_iter().map(|text| format!("a limit could not be set back: {text}")));
            // One that cannot be read is one that systemd collects by itself.
            if let Ok(Some(scope)) = folder.read_scope()
                && let Err(error) = tell_systemd_again(&scope, folder)
            {
                told.push(crate::sys::told::on_one_line(&error));
            }
        }
        Err(error) => {
            let why = crate::sys::told::on_one_line(&error);
            told.push(format!("some limits may be those of an update that was cut short: {why}"));
        }
    }
    folder.drop_limits()?;
    Ok(told)
}

/// systemd may have heard of an update that was taken back.
fn tell_systemd_again(scope: &ScopeRecord, folder: &Folder) -> Result<(), HostError> {
    let Some(limits) = folder.read_limits()? else { return Ok(()) };
    let resources = spec::limits_of(limits.resources)?;
    Ok(systemd_of(scope)?.set(&scope.unit, &resources, names_of(&Hierarchies::read()?))?)
}
