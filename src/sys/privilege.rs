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

/// How many descriptors this process may have.
pub fn descriptor_limit() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// prctl(2), PR_SET_SECUREBITS: needs CAP_SETPCAP, so it comes before the capabilities go.
pub fn set_securebits(bits: u32) -> io::Result<()> {
    // SAFETY: takes integers only.
    super::check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::c_ulong::from(bits), 0u64, 0u64, 0u64) }.into())
        .map(drop)
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

/// How many descriptors this process may have: (soft, hard).
pub fn descriptor_limits() -> io::Result<(u64, u64)> {
    use nix::sys::resource::{Resource, getrlimit};
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?)
}

/// The soft limit; at most the hard one, which stays.
pub fn set_descriptor_limit(soft: u64) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, descriptor_limits()?.1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one thread alone: each has a set of its own.
    #[test]
    fn the_bounding_set_holds_what_is_kept_and_nothing_above_what_has_a_name() {
        let held = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let limited = std::thread::spawn(move || {
            let before = held();
            let first = limit_bounding_set(0b11);
            let after = held();
            // Nothing is left to drop, and nothing needed for that.
            (before, first.is_ok(), after, limit_bounding_set(0b11).is_ok())
        });
        let (before, possible, after, again) = limited.join().unwrap();
        match possible {
            true => assert_eq!((after, again), (before & 0b11, true)),
            false => eprintln!("skipped: without CAP_SETPCAP nothing can be dropped"),
        }
    }
}
