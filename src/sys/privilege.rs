//! Giving up privileges that cannot be got back: capabilities, securely and for good (capabilities(7)).

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

/// Keeps these capabilities effective and permitted, and nothing in the inheritable and ambient sets. The bounding set
/// keeps the same ones, those of a newer kernel that have no name here included among the dropped.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    for number in 0..64 {
        if kept.iter().any(|capability| u64::from(capability.index()) == number) {
            continue;
        }
        // SAFETY: takes integers only. EINVAL: the kernel has no capability with this number, nor any above it.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0u64, 0u64, 0u64) } < 0 {
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINVAL) => break,
                error => return Err(error),
            }
        }
    }
    let none = CapsHashSet::new();
    let kept: CapsHashSet = kept.iter().copied().collect();
    let have = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet = kept.intersection(&have).copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
    caps::set(None, CapSet::Inheritable, &none).map_err(io::Error::other)?;
    caps::set(None, CapSet::Effective, &kept).map_err(io::Error::other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(io::Error::other)
}

/// How many descriptors this process may have.
pub fn descriptor_limit() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
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
