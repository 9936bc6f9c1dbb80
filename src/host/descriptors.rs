//! Descriptors for as many mounts as a configuration has: each is open from its source's look-up until it is attached.

use crate::spec::plan::{MountKind, MountPlan, Plan};
use crate::sys::privilege;

use super::{HostError, Trying};

/// What a launch has open beside its mounts: folders, sockets, pipes, cgroups, the store.
const BESIDE: u64 = 64;

/// While it lives, this process may open as many as its hard limit says. What is launched meanwhile inherits that, and is told
/// what to go back to ([`Raised::before`]): an application has the limits that it would have had.
pub struct Raised {
    before: u64,
}

impl Raised {
    /// None: the limit is high enough. An error: no limit that we may set is.
    pub fn for_mounts(plan: &Plan) -> Result<Option<Raised>, HostError> {
        let what = || "look at how many files may be open".to_owned();
        let mounts = plan.mounts.iter().filter(|mount| is_held(mount)).count() as u64;
        let (soft, hard) = privilege::descriptor_limits().trying(what)?;
        if mounts + BESIDE <= soft {
            return Ok(None);
        }
        let open = std::fs::read_dir("/proc/self/fd").trying(what)?.count() as u64;
        let needed = mounts + open + BESIDE;
        if needed <= soft {
            return Ok(None);
        }
        // With few mounts it may do all the same.
        if mounts > BESIDE && needed > hard {
            let text = format!(
                "its mounts take up to {needed} open files, and this process may have {hard}: raise the hard limit of \
                 whoever starts it (ulimit -Hn, LimitNOFILE= of a service)"
            );
            return Err(HostError::Container { text, exit_code: 1 });
        }
        privilege::set_descriptor_limit(hard).trying(|| format!("raise the limit of open files to {hard}"))?;
        Ok(Some(Raised { before: soft }))
    }

    pub fn before(&self) -> u64 {
        self.before
    }
}

/// Sources of bind mounts until all are attached, and what is made read-only when everything has its place in it.
fn is_held(mount: &MountPlan) -> bool {
    match mount.kind {
        MountKind::Bind { .. } => true,
        MountKind::Filesystem { .. } => mount.attrs_set & libc::MOUNT_ATTR_RDONLY != 0,
        MountKind::Remount | MountKind::Cgroup => false,
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // Lowering a limit is refused to nobody.
        let _ = privilege::set_descriptor_limit(self.before);
    }
}
