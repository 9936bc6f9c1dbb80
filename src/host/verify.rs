//! A process that says it is ready, looked at from outside before it may start: what the kernel says of it has to be what
//! was planned. Nothing inside can be trusted to look at itself under a filter that forbids looking.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::io;

use super::{HostError, Trying};
use crate::spec::plan::{OriginalGroups, ProcessPlan};
use crate::sys::procfs;

/// What was promised of a process.
pub struct Promise<'a> {
    pub process: &'a ProcessPlan,
    /// It has a seccomp filter.
    pub filtered: bool,
    /// It has as many descriptors from 3 on.
    pub preserved_fds: u32,
    /// Its user namespace is ours: the numbers in its plan are those that we see.
    pub our_users: bool,
}

/// What is not as promised is an error, and so is what cannot be looked at.
pub fn ready(pid: i32, promise: &Promise<'_>) -> Result<(), HostError> {
    let path = format!("/proc/{pid}/status");
    let text = crate::sys::text::read(&path).trying(|| format!("look at the process before its start ({path})"))?;
    let groups = groups_of(promise.process)?;
    let broken = judge(&Status::of(&text), promise, &groups).or(descriptors(pid, promise.preserved_fds)?);
    match broken {
        None => Ok(()),
        Some(why) => Err(HostError::Unconfined { why }),
    }
}

/// Those that it may be in: the planned ones, or our own.
fn groups_of(process: &ProcessPlan) -> Result<Vec<u64>, HostError> {
    match process.original_groups {
        OriginalGroups::Dropped => Ok(process.additional_gids.iter().copied().map(u64::from).collect()),
        OriginalGroups::Kept => {
            let ours = nix::unistd::getgroups().trying(|| "look at our own groups".into())?;
            Ok(ours.into_iter().map(|gid| gid.as_raw().into()).collect())
        }
    }
}

/// proc_pid_status(5), by name.
struct Status<'t>(BTreeMap<&'t str, &'t str>);

impl<'t> Status<'t> {
    fn of(text: &'t str) -> Status<'t> {
        Status(text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect())
    }

    fn numbers(&self, name: &str, radix: u32) -> Option<Vec<u64>> {
        self.0.get(name)?.split_whitespace().map(|number| u64::from_str_radix(number, radix).ok()).collect()
    }

    /// The only number of a line; None: this kernel has no such line.
    fn number(&self, name: &str, radix: u32) -> Option<u64> {
        self.numbers(name, radix)?.first().copied()
    }
}

fn judge(status: &Status<'_>, promise: &Promise<'_>, allowed_groups: &[u64]) -> Option<String> {
    let plan = promise.process;
    let sets = &plan.capabilities;
    let allowed = [
        ("CapInh", sets.inheritable),
        ("CapPrm", sets.permitted),
        ("CapEff", sets.effective),
        ("CapBnd", sets.bounding),
        ("CapAmb", sets.ambient),
    ];
    for (name, allowed) in allowed {
        match status.number(name, 16) {
            Some(has) if has & !allowed == 0 => {}
            Some(has) => return Some(format!("{name} is {has:x}, and may be {allowed:x}")),
            None => return Some(format!("{name} is not told")),
        }
    }
    if plan.no_new_privileges && status.number("NoNewPrivs", 10) != Some(1) {
        return Some("no_new_privs is not set".into());
    }
    // 2: filtered (seccomp(2)).
    if promise.filtered && status.number("Seccomp", 10) != Some(2) {
        return Some("it has no seccomp filter".into());
    }
    if !promise.our_users {
        return None;
    }
    let all =
        |name: &str, id: u32| status.numbers(name, 10).is_some_and(|ids| ids.iter().all(|has| *has == u64::from(id)));
    if !all("Uid", plan.uid) || !all("Gid", plan.gid) {
        return Some(format!("it is not user {} in group {}", plan.uid, plan.gid));
    }
    let Some(groups) = status.numbers("Groups", 10) else { return Some("Groups is not told".into()) };
    let allowed: HashSet<u64> = allowed_groups.iter().copied().collect();
    let stranger = groups.iter().find(|has| !allowed.contains(has));
    stranger.map(|gid| format!("it is in group {gid}"))
}

/// Whatever is open beside the promised is closed by its execve.
fn descriptors(pid: i32, preserved: u32) -> Result<Option<String>, HostError> {
    let folder = format!("/proc/{pid}/fd");
    let what = || format!("look at the descriptors of the process before its start ({folder})");
    for entry in std::fs::read_dir(&folder).trying(what)? {
        let name = entry.trying(what)?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if number < 3 + preserved {
            continue;
        }
        let flags = match procfs::open_flags(pid, number) {
            // Closed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.trying(what)?,
        };
        if flags & libc::O_CLOEXEC == 0 {
            return Ok(Some(format!("its descriptor {number} would stay open")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, Host};

    const STATUS: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t9 10 \nCapInh:\t0000000000000000\n\
        CapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nCapBnd:\t0000000000000420\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    fn judged(status: &str, change: impl FnOnce(&mut ProcessPlan, &mut bool)) -> Option<String> {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
        let host = Host { rootless: false, last_capability: 40 };
        let plan = spec::plan(&spec::Inputs::of(&spec::default_spec(false), bundle.path(), &host)).unwrap().0;
        let mut process = plan.process.unwrap();
        (process.uid, process.gid, process.additional_gids) = (7, 8, vec![9, 10]);
        process.no_new_privileges = true;
        let mut our_users = true;
        change(&mut process, &mut our_users);
        let groups = groups_of(&process).unwrap();
        judge(&Status::of(status), &Promise { process: &process, filtered: true, preserved_fds: 0, our_users }, &groups)
    }

    #[test]
    fn what_is_as_planned_or_less_passes() {
        assert_eq!(judged(STATUS, |_, _| {}), None);
        assert_eq!(judged(STATUS, |process, _| process.no_new_privileges = false), None);
    }

    #[test]
    fn each_thing_that_is_more_than_planned_is_told() {
        let less = |process: &mut ProcessPlan, _: &mut bool| process.capabilities.permitted = 0;
        assert!(judged(STATUS, less).unwrap().contains("CapPrm is 20"));
        for (from, to, why) in [
            ("CapBnd:\t0000000000000420", "CapBnd:\t0000000000200420", "CapBnd"),
            ("CapAmb:\t0000000000000000", "CapAmb:\t0000000000000020", "CapAmb"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no_new_privs"),
            ("Seccomp:\t2", "Seccomp:\t0", "seccomp"),
            ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7", "user 7"),
            ("Groups:\t9 10 ", "Groups:\t9 10 0 ", "group 0"),
            ("CapEff:", "CapXxx:", "CapEff is not told"),
            ("Groups:", "Xxx:", "Groups is not told"),
        ] {
            let told = judged(&STATUS.replace(from, to), |_, _| {}).unwrap_or_default();
            assert!(told.contains(why), "{to}: {told:?}");
        }
        assert_eq!(judged(&STATUS.replace("Uid:\t7\t7", "Uid:\t107\t107"), |_, ours| *ours = false), None);
    }

    #[test]
    fn a_descriptor_that_would_stay_open_is_seen() {
        let own = std::process::id() as i32;
        let file = tempfile::tempfile().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file) as u32;
        assert_ne!(procfs::open_flags(own, number).unwrap() & libc::O_CLOEXEC, 0);
        crate::sys::descriptors::set_close_on_exec(std::os::fd::AsFd::as_fd(&file), false).unwrap();
        assert!(descriptors(own, 0).unwrap().is_some());
        assert!(procfs::open_flags(own, 1_000_000).is_err());
    }

    #[test]
    #[ignore = "prints what the look from outside costs"]
    fn figure_of_the_look_from_outside() {
        let own = std::process::id() as i32;
        let began = std::time::Instant::now();
        for _ in 0..1000 {
            let text = std::fs::read_to_string(format!("/proc/{own}/status")).unwrap();
            assert!(Status::of(&text).number("CapBnd", 16).is_some());
            let _ = descriptors(own, 0).unwrap();
        }
        println!("{:?} each", began.elapsed() / 1000);
    }
}
