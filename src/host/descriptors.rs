//! How many descriptors a command may have: a few whatever its caller's soft limit is, and for as many mounts as a
//! configuration has, each open from its source's look-up until it is attached, as many more.

use crate::spec::plan::{MountKind, MountPlan, Plan};
use crate::sys::{descriptor_limit, privilege};

use super::{HostError, Trying};

/// What a launch has open beside its mounts: folders, sockets, pipes, cgroups, the store.
const BESIDE: u64 = 64;

/// What every command has at least, if its hard limit allows it: far more than any needs but for its mounts.
const FLOOR: u64 = 256;

/// What making a container takes at the very least, beside what is open already and its mounts. Most are its cgroups and its
/// supervisor's: of v1 one a hierarchy.
const LEAST: u64 = 48;

/// Call first of all. What is executed for others goes back by itself (`sys::descriptor_limit`).
pub fn raise_to_floor() {
    // Refused to nobody up to the hard limit; if it is, what it was raised for says so.
    let _ = descriptor_limit::raise_to(FLOOR);
}

/// Call before anything of a container is made: where that would fail half-way, nothing has begun.
pub fn check_for_container() -> Result<(), HostError> {
    let what = || "look at how many files may be open".to_owned();
    let (soft, hard) = privilege::descriptor_limits().trying(what)?;
    let needed = std::fs::read_dir("/proc/self/fd").trying(what)?.count() as u64 + LEAST;
    if needed <= soft {
        return Ok(());
    }
    Err(HostError::TooFewDescriptors { needed, hard })
}

/// Call before anything of a container is made: from then on this process may have as many open as its hard limit says, if
/// its mounts take more than its soft one. What is executed for others goes back, as from the floor. An error: no limit that
/// we may set is enough.
pub fn raise_for_mounts(plan: &Plan) -> Result<(), HostError> {
    let what = || "look at how many files may be open".to_owned();
    let mounts = plan.mounts.iter().filter(|mount| is_held(mount)).count() as u64;
    let (soft, hard) = privilege::descriptor_limits().trying(what)?;
    if mounts + BESIDE <= soft {
        return Ok(());
    }
    let open = std::fs::read_dir("/proc/self/fd").trying(what)?.count() as u64;
    let needed = mounts + open + BESIDE;
    if needed <= soft {
        return Ok(());
    }
    // What is set aside beside them is plenty.
    if mounts + open + LEAST > hard {
        return Err(HostError::TooManyMounts { needed, hard });
    }
    descriptor_limit::raise_to(hard).trying(|| format!("raise the limit of open files to {hard}"))
}

/// Sources of bind mounts until all are attached, and what is made read-only when everything has its place in it.
fn is_held(mount: &MountPlan) -> bool {
    match mount.kind {
        MountKind::Bind { .. } => true,
        MountKind::Filesystem { .. } => mount.attrs_set & libc::MOUNT_ATTR_RDONLY != 0,
        MountKind::Remount | MountKind::Cgroup => false,
    }
}
