//! Ordinary users: everything happens in a user namespace in which the caller is root.
//!
//! ```text
//!  caller's namespace     uid 1000, and the ids that /etc/subuid and /etc/subgid give to it
//!   └─ ours               0 is the caller; the others keep their numbers. The command, the supervisor
//!       └─ container's    as linux.uidMappings say, in the caller's numbers (`host::launch::idmap` translates)
//! ```
//!
//! A command that makes a sandbox makes the namespace, by newuidmap(1) and newgidmap(1) where the caller has further ids, and
//! with the caller alone where those cannot be had and none of them is asked for; the sandbox's processes keep it. A command that enters a sandbox, or signals what in it has another id, joins it: the
//! kernel lets whoever made it. A crash leaves nothing: a namespace without processes is gone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use super::{HostError, Trying, probe};
use crate::container::channel::{self, Failure, Order, Report};
use crate::model::record::{PidNamespace, SandboxRecord};
use crate::spec::plan::{IdMapping, Plan};
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::user_namespace::{self, Kind, Mapping};
use crate::sys::{descriptors, pidfd};

/// A range of ids that keep their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    size: u32,
}

/// Each the first id, and how many there are.
pub type IdRanges = Vec<(u32, u32)>;

/// Which ids the user namespace of an ordinary user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The caller's, as 0, and all that /etc/subuid and /etc/subgid give.
    Further,
    /// The same, or the caller's alone where no more can be had.
    FurtherIfPossible,
    /// The caller's alone, whatever there is: no other program is needed for it.
    CallerAlone,
}

/// Whether the caller is an ordinary user.
pub fn needed() -> bool {
    !nix::unistd::geteuid().is_root()
}

/// Who called: our uid, or, in the namespace that we have made for an ordinary user, that user's. There, and not in one that
/// a caller has made, the number outside is none inside.
pub fn caller() -> u32 {
    caller_in(&user_namespace::ours(Kind::Uid).unwrap_or_default(), nix::unistd::getuid().as_raw())
}

/// The same of the group.
pub fn caller_group() -> u32 {
    caller_in(&user_namespace::ours(Kind::Gid).unwrap_or_default(), nix::unistd::getgid().as_raw())
}

/// Whether this is the namespace that we have made.
pub fn inside() -> bool {
    caller() != nix::unistd::getuid().as_raw()
}

fn caller_in(mappings: &[Mapping], ours: u32) -> u32 {
    let Some(outer) = mappings.iter().find_map(|mapping| mapping.outside_of(ours)) else { return ours };
    let has_number_here = mappings.iter().any(|mapping| mapping.outside_of(outer).is_some());
    if has_number_here { ours } else { outer }
}

/// The ids of a container that an ordinary user asks for: those of its own, or more.
pub fn ids_for(plan: &Plan) -> Ids {
    let only = |mappings: &[IdMapping], own: u32| mappings.iter().all(|one| (one.host, one.size) == (own, 1));
    let alone = only(&plan.uid_mappings, nix::unistd::geteuid().as_raw())
        && only(&plan.gid_mappings, nix::unistd::getegid().as_raw());
    if alone { Ids::FurtherIfPossible } else { Ids::Further }
}

/// Makes a user namespace with the caller as root, and a mount namespace of its own. The caller has a single thread. Gives
/// what the user should know of ids that cannot be had.
pub fn enter_own_namespaces(ids: Ids) -> Result<Option<String>, HostError> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let passwd = read("/etc/passwd");
    let name = name_of(uid, &passwd);
    let (uids, gids) = (ranges(&read("/etc/subuid"), uid, name, uid), ranges(&read("/etc/subgid"), uid, name, gid));
    let unmapped = if ids == Ids::CallerAlone || uids.is_empty() || gids.is_empty() {
        make_namespace()?;
        map_ourselves(uid, gid)?;
        None
    } else {
        map_by_helpers((uid, &uids), (gid, &gids))?
    };
    let told = match unmapped {
        None => None,
        Some(why) if ids == Ids::Further => return Err(HostError::Said { text: why, exit_code: 1 }),
        Some(text) => {
            map_ourselves(uid, gid)?;
            Some(format!("{text}; so the container has no ids but this user's own"))
        }
    };
    unshare(CloneFlags::CLONE_NEWNS).trying(|| "make a mount namespace of our own".into())?;
    Ok(told)
}

/// Whatever it holds: one odd byte of somebody's line takes nobody's ids away.
fn read(file: &str) -> String {
    crate::sys::text::read(file).unwrap_or_default()
}

/// What /etc/subuid and /etc/subgid give to root, root itself first; None: nothing, or this
/// is not the first user namespace, whose files they are.
pub fn further_of_root() -> Option<(IdRanges, IdRanges)> {
    if needed() || user_namespace::is_ours_a_further_one() {
        return None;
    }
    let further = |file: &str| {
        let text = read(file);
        let ranges = ranges(&text, 0, Some("root"), 0);
        let all = [(0, 1)].into_iter().chain(ranges.iter().map(|range| (range.first, range.size)));
        (!ranges.is_empty()).then(|| all.collect())
    };
    Some((further("/etc/subuid")?, further("/etc/subgid")?))
}

/// For an ordinary user: joins the user namespace of a sandbox's supervisor, in which the caller is root, or that of another
/// process where the supervisor is dead. The caller has a single thread.
pub fn join_sandbox(sandbox: &SandboxRecord, without_supervisor: Option<BorrowedFd<'_>>) -> Result<(), HostError> {
    if !needed() {
        return Ok(());
    }
    let supervisor = probe::open_if_alive(&sandbox.supervisor, &sandbox.boot)?;
    match supervisor.as_ref().map(AsFd::as_fd).or(without_supervisor) {
        Some(process) => join_namespace_of(process),
        // Nothing of it lives, as whoever goes on will see.
        None if sandbox.pid_namespace == PidNamespace::Own => Ok(()),
        None => Err(HostError::NoWayIn { id: sandbox.id.clone() }),
    }
}

fn join_namespace_of(process: BorrowedFd<'_>) -> Result<(), HostError> {
    setns(process, CloneFlags::CLONE_NEWUSER)
        .trying(|| "join the user namespace of the sandbox: was it made by another user?".into())
}

fn make_namespace() -> Result<(), HostError> {
    unshare(CloneFlags::CLONE_NEWUSER).trying(|| match why_refused() {
        Some(why) => format!("make a user namespace, which an ordinary user needs: {why}"),
        None => "make a user namespace, which an ordinary user needs: run as root, or let the system allow it".into(),
    })
}

/// The setting of this machine that refuses user namespaces to an ordinary user, in words, if it is one that we know.
pub fn why_refused() -> Option<&'static str> {
    let is = |path: &str, value: &str| crate::sys::text::read(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some("none may be made here (user.max_user_namespaces is 0, as in a sandbox of `do`)");
    }
    if needed() && is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some("only root may make one here (kernel.unprivileged_userns_clone is 0)");
    }
    if needed() && is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Some(
            "AppArmor lets only programs with a profile make one (kernel.apparmor_restrict_unprivileged_userns is 1): \
             give sandkeep a profile that allows `userns`, or run as root",
        );
    }
    None
}

/// Without further ids: the caller alone, whose groups stay what they are (user_namespaces(7)). A map that is there stays.
fn map_ourselves(uid: u32, gid: u32) -> Result<(), HostError> {
    let write = |path: &str, line: &str| std::fs::write(path, line).trying(|| format!("write {line:?} to {path}"));
    let is_open = |path: &str| std::fs::read(path).map(|map| map.is_empty()).trying(|| format!("read {path}"));
    if is_open("/proc/self/uid_map")? {
        write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    }
    if is_open("/proc/self/gid_map")? {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    }
    Ok(())
}

/// The set-user-ID programs have to be called from outside of the namespace that they map: by a child that stays there. Gives
/// why they did not do it, if the namespace is there all the same.
fn map_by_helpers(uids: (u32, &[Range]), gids: (u32, &[Range])) -> Result<Option<String>, HostError> {
    let what = || "map our user namespace".to_owned();
    let (ours, theirs) = channel::pair().trying(what)?;
    let target = std::process::id();
    let Cloned::Parent { pidfd: helper, .. } = clone::clone(0, Parent::Me, None).trying(what)? else {
        let alone = descriptors::close_others(&[theirs.as_raw_fd()]).is_ok();
        if !alone || !matches!(channel::next_order(theirs.as_fd()), Ok(Order::Go)) {
            clone::exit_now(1);
        }
        let outcome = run_mapper("newuidmap", target, uids).and_then(|()| run_mapper("newgidmap", target, gids));
        let report = match outcome {
            Ok(()) => Report::Ready(None),
            Err(error) => Report::Failed(Failure::of_helper(crate::sys::told::on_one_line(&error))),
        };
        let _ = channel::report(theirs.as_fd(), &report);
        clone::exit_now(0)
    };
    drop(theirs);
    let mapped = make_namespace()
        .and_then(|()| channel::order(ours.as_fd(), Order::Go).trying(what))
        .and_then(|()| channel::next_report(ours.as_fd()).trying(what));
    drop(ours);
    pidfd::wait_exit(helper.as_fd(), None).and_then(|_| pidfd::wait_child(helper.as_fd())).trying(what)?;
    match mapped? {
        Report::Ready(_) => Ok(None),
        Report::Failed(failure) => Ok(Some(failure.text)),
        _ => Err(io::Error::other("the helper ended without a word")).trying(what),
    }
}

fn run_mapper(program: &'static str, target: u32, (own, further): (u32, &[Range])) -> Result<(), HostError> {
    let numbers = further.iter().flat_map(|range| [range.first, range.first, range.size]);
    let numbers = [target, 0, own, 1].into_iter().chain(numbers).map(|number| number.to_string());
    let output = Command::new(program).args(numbers).output().trying(|| {
        format!(
            "cannot run {program} (package uidmap), by which /etc/subuid and /etc/subgid give this user further ids"
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(HostError::Mapper { program, said })
}

/// The user's ranges in a file like /etc/subuid, by number or name (subuid(5)). What would overlap with an earlier one,
/// with the caller, or with 0, which stands for the caller, is left out.
fn ranges(text: &str, uid: u32, name: Option<&str>, own: u32) -> Vec<Range> {
    let mut found: Vec<Range> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [owner, first, size] = fields[..] else { continue };
        if Some(owner) != name && owner.parse() != Ok(uid) {
            continue;
        }
        let (Ok(first), Ok(size)) = (first.parse::<u32>(), size.parse::<u32>()) else { continue };
        let range = Range { first, size };
        let clash = first == 0 || size == 0 || first.checked_add(size).is_none() || range.holds(own);
        if !clash && !found.iter().any(|earlier| earlier.holds(first) || range.holds(earlier.first)) {
            found.push(range);
        }
    }
    found
}

impl Range {
    fn holds(&self, id: u32) -> bool {
        id >= self.first && id - self.first < self.size
    }
}

fn name_of(uid: u32, passwd: &str) -> Option<&str> {
    let uid = uid.to_string();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.as_str()))?
        .first()
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_a_name_or_a_number_and_never_overlap() {
        let text = "web:100000:65536\n# a comment\n1000:300000:10\nother:400000:5\nweb:100010:5\nweb:0:5\nweb:999:3\nweb:x:1\n\
                    web:4294967295:9\nweb:500:0\n";
        let found = ranges(text, 1000, Some("web"), 1000);
        assert_eq!(found, [Range { first: 100_000, size: 65536 }, Range { first: 300_000, size: 10 }]);
        assert!(ranges(text, 7, None, 7).is_empty());
    }

    #[test]
    fn the_caller_is_known_only_in_a_namespace_that_we_have_made() {
        let caller_in = |map, ours| caller_in(&user_namespace::parse(map).unwrap(), ours);
        assert_eq!(caller_in("0 1000 1\n100000 100000 65536\n", 0), 1000);
        assert_eq!(caller_in("0 1000 1\n", 0), 1000);
        // As a caller makes it, and as the machine begins.
        assert_eq!(caller_in("0 1000 1\n1 100000 65536\n", 0), 0);
        assert_eq!(caller_in("0 0 4294967295\n", 0), 0);
        assert_eq!(caller_in("", 5), 5);
    }

    #[test]
    fn a_name_is_found_by_its_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n";
        assert_eq!((name_of(1000, passwd), name_of(5, passwd)), (Some("web"), None));
    }
}
