//! Id mappings: of a container's new user namespace, written from outside it (user_namespaces(7)), and of mounts.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::container::channel;
use crate::host::{HostError, Trying, rootless};
use crate::spec::plan::{IdMapping, Plan};
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::user_namespace::{self, Kind, Mapping};
use crate::sys::{descriptors, pidfd};

/// Maps the user namespace of the process `pid`, our own being its parent.
pub fn write(pid: i32, plan: &Plan) -> Result<(), HostError> {
    write_map(pid, Kind::Uid, &plan.uid_mappings)?;
    match write_map(pid, Kind::Gid, &plan.gid_mappings) {
        // Without CAP_SETGID, as in another container, one may map one's own gid, but then nobody sets groups there.
        Err(HostError::Io { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            let path = format!("/proc/{pid}/setgroups");
            std::fs::write(&path, "deny").trying(|| format!("write \"deny\" to {path}"))?;
            write_map(pid, Kind::Gid, &plan.gid_mappings)
        }
        other => other,
    }
}

/// All ids that can be given to a new user namespace whose configuration has no mappings, those of users and those of groups:
/// for root the ones that /etc/subuid and /etc/subgid give to root, if they do, and else all that we have ourselves, in our
/// order from 0 on. For an ordinary user these are the caller and the caller's further ids.
pub fn all() -> Result<(Vec<IdMapping>, Vec<IdMapping>), HostError> {
    match rootless::further_of_root() {
        Some((uids, gids)) => Ok((one_after_the_other(&uids), one_after_the_other(&gids))),
        None => Ok((all_of_ours(Kind::Uid)?, all_of_ours(Kind::Gid)?)),
    }
}

fn all_of_ours(kind: Kind) -> Result<Vec<IdMapping>, HostError> {
    let mut ranges: rootless::IdRanges = ours(kind)?.iter().map(|mapping| (mapping.inside, mapping.length)).collect();
    ranges.sort_unstable();
    Ok(one_after_the_other(&ranges))
}

/// The ids of the host, (first, how many), as those of a container from 0 on.
fn one_after_the_other(ranges: &[(u32, u32)]) -> Vec<IdMapping> {
    let mut container: u32 = 0;
    let mapping = |&(host, size): &(u32, u32)| {
        let size = size.min(u32::MAX - container);
        let mapping = IdMapping { container, host, size };
        container += size;
        mapping
    };
    ranges.iter().map(mapping).filter(|mapping| mapping.size > 0).collect()
}

/// A user namespace that nobody lives in: it only carries mappings, for mount_setattr(2).
pub fn namespace_for(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, HostError> {
    let what = || "make a user namespace for an idmapped mount".to_owned();
    let (ours, theirs) = channel::pair().trying(what)?;
    let Cloned::Parent { pid, pidfd } = clone::clone(libc::CLONE_NEWUSER, Parent::Me, None).trying(what)? else {
        // It lives until we have what we need, or are gone, and holds none of our locks meanwhile.
        if descriptors::close_others(&[theirs.as_raw_fd()]).is_ok() {
            let _ = channel::next_order(theirs.as_fd());
        }
        clone::exit_now(0)
    };
    drop(theirs);
    let namespace = write_map(pid, Kind::Uid, uids)
        .and_then(|()| write_map(pid, Kind::Gid, gids))
        .and_then(|()| std::fs::File::open(format!("/proc/{pid}/ns/user")).trying(what));
    drop(ours);
    pidfd::wait_exit(pidfd.as_fd(), None).and_then(|_| pidfd::wait_child(pidfd.as_fd())).trying(what)?;
    Ok(namespace?.into())
}

fn ours(kind: Kind) -> Result<Vec<Mapping>, HostError> {
    user_namespace::ours(kind).trying(|| format!("read our own {}_map", kind.name()))
}

fn write_map(pid: i32, kind: Kind, mappings: &[IdMapping]) -> Result<(), HostError> {
    let path = kind.map_of(pid);
    let ours = ours(kind)?;
    let mappings = mappings.iter().map(|mapping| in_our_numbers(&ours, mapping)).collect::<Option<Vec<_>>>();
    let Some(mappings) = mappings else {
        return Err(HostError::ForeignIds { kind: kind.name() });
    };
    let lines: String = mappings.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect();
    std::fs::write(&path, &lines).trying(|| format!("write the mappings {:?} to {path:?}", lines.trim()))
}

/// A mapping says "host" and means whoever wrote it: us, or an ordinary user whose ids have other numbers in the user
/// namespace that `host::rootless` has made. What is an id here is taken as it stands; what is one of the user's outside is
/// translated; None: it is neither.
fn in_our_numbers(ours: &[Mapping], mapping: &IdMapping) -> Option<IdMapping> {
    let (first, last) = (mapping.host, mapping.host.checked_add(mapping.size - 1)?);
    let mapped = |id: u32| ours.iter().any(|one| one.outside_of(id).is_some());
    // A range may go over several lines: the kernel checks the rest.
    if mapped(first) && mapped(last) {
        return Some(*mapping);
    }
    let host = ours.iter().find_map(|one| one.inside_of(last).and(one.inside_of(first)))?;
    Some(IdMapping { host, ..*mapping })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ids_are_given_one_after_the_other() {
        let given = |ranges: &[(u32, u32)]| {
            let mappings = one_after_the_other(ranges).into_iter();
            mappings.map(|m| (m.container, m.host, m.size)).collect::<Vec<_>>()
        };
        assert_eq!(given(&[(0, u32::MAX)]), [(0, 0, u32::MAX)]);
        assert_eq!(
            given(&[(0, 1), (100_000, 65536), (300_000, 5)]),
            [(0, 0, 1), (1, 100_000, 65536), (65537, 300_000, 5)]
        );
        assert_eq!(given(&[(0, u32::MAX), (7, 5)]), [(0, 0, u32::MAX)]);
    }

    #[test]
    fn the_ids_of_an_ordinary_user_are_found_in_the_namespace_it_is_root_of() {
        let ours =
            user_namespace::parse("         0       1000          1\n    100000     100000      65536\n").unwrap();
        let of =
            |host, size| in_our_numbers(&ours, &IdMapping { container: 5, host, size }).map(|mapping| mapping.host);
        assert_eq!(of(1000, 1), Some(0));
        assert_eq!(of(0, 1), Some(0));
        assert_eq!(of(100_000, 65536), Some(100_000));
        assert_eq!((of(1000, 2), of(5, 1), of(165_536, 1)), (None, None, None));
        let everything = user_namespace::parse("0 0 4294967295\n").unwrap();
        assert_eq!(in_our_numbers(&everything, &IdMapping { container: 0, host: 7, size: 9 }).unwrap().host, 7);
    }
}
