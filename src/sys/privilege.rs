//! Giving up privileges that cannot be got back: capabilities, securely and for good (capabilities(7)).

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

use super::check;

/// Keeps these capabilities effective and permitted, and nothing in the inheritable and ambient sets. The bounding set
/// keeps the same ones, those of a newer kernel that have no name here included among the dropped.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    limit_bounding_set(kept.iter().fold(0, |mask, capability| mask | 1 << capability.index()))?;
    let none = CapsHashSet::new();
    let kept: CapsHashSet = kept.iter().copied().collect();
    let have = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet = kept.intersection(&have).copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
    caps::set(None, CapSet::Inheritable, &none).map_err(io::Error::other)?;
    caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)
}

/// Drops from the bounding set whatever is not in `kept` (bit n: the capability with number n), those of a newer kernel
/// that have no name here included. What is not in the set needs no privilege to be dropped.
pub fn limit_bounding_set(kept: u64) -> io::Result<()> {
    for number in (0..64u64).filter(|number| kept & (1 << number) == 0) {
        // SAFETY: takes integers only.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0u64, 0u64, 0u64) };
        match check(held.into()) {
            Ok(0) => {}
            // SAFETY: as above.
            Ok(_) => drop(check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0u64, 0u64, 0u64) }.into())?),
            // The kernel has no capability with this number, nor any above it (capabilities(7)).
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As many descriptors as this user may have, up to `most`.
pub fn raise_descriptor_limit(most: u64) -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < most {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(most), hard)?;
    }
    Ok(())
}
