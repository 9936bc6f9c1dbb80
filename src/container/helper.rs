//! The program that goes ahead of a container's process: it joins cgroups and namespaces, clones the process, reports it,
//! and leaves.
//!
//! It is this binary, executed from where nobody can write to it (CVE-2019-5736), with one argument: the number of the
//! descriptor that holds its [`Letter`]. Until it has cloned it is seen by nobody in the container; by then it has
//! let go of all that is of the host. What it clones is clean for the same reason that it is.
//!
//! A crash in here is an end of file for its creator, and for the process that it may have cloned.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use nix::sched::{CloneFlags, setns, unshare};

use super::channel::{self, Report};
use super::letter::{Errand, Joined, Letter, Then};
use super::{Owner, SetupError, Step, devices, init, join, sysfs};
use crate::spec::plan::{NamespaceKind, Plan};
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::user_namespace::Mapping;
use crate::sys::{descriptors, pidfd};

/// What it is executed as; its one argument is the number of the letter's descriptor.
pub const NAME: &str = "sandkeep-enter";

/// Does not return, but for a letter that is none: there is nobody to tell then, and the creator sees us end.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let number = args.next().and_then(|arg| arg.to_str()?.parse().ok());
    let letter = number.map(|number| descriptors::take(number).and_then(Letter::read));
    match letter {
        Some(Ok(letter)) => run(letter),
        _ => ExitCode::FAILURE,
    }
}

fn run(letter: Letter) -> ! {
    let Letter { channel, tasks, parent, then, errand } = letter;
    let cloned = match errand {
        Errand::Init { joined, mut init } => clone_init(&mut init, joined, tasks, parent),
        Errand::Exec { target, process } => clone_exec(&process, target, tasks, parent),
    };
    leave(channel.as_fd(), cloned, then)
}

/// Reports what came of it, and unless it has to stay as the process's parent it exits.
pub fn leave(channel: BorrowedFd<'_>, cloned: Result<OwnedFd, SetupError>, then: Then) -> ! {
    match cloned {
        Ok(pidfd) => {
            let kept = if then == Then::Stay { pidfd.try_clone().ok() } else { None };
            let _ = channel::report(channel, &Report::Forked(pidfd));
            if let Some(kept) = kept {
                linger(kept);
            }
            clone::exit_now(0)
        }
        Err(error) => {
            let _ = channel::report(channel, &Report::Failed(error.told()));
            clone::exit_now(1)
        }
    }
}

fn clone_init(
    init: &mut init::Donations,
    joined: Vec<Joined>,
    tasks: Vec<OwnedFd>,
    parent: Parent,
) -> Result<OwnedFd, SetupError> {
    let plan = &init.plan;
    not_dumpable()?;
    if let Some(process) = &plan.process {
        super::prepare_inheritance(process)?;
    }
    join_cgroups(tasks)?;
    let joins_users = plan.has(NamespaceKind::User) && !plan.makes(NamespaceKind::User);
    if let (Some(process), false) = (&plan.process, joins_users)
        && let Some(owner) = owner(plan, process.uid, plan.makes(NamespaceKind::User))
    {
        owner.take(process);
    }
    if plan.has(NamespaceKind::User) && plan.makes(NamespaceKind::Mount) {
        // Before we are in the user namespace ourselves.
        devices::lock_hosts(&plan.devices)?;
        sysfs::lock(plan, &init.binds)?;
    }
    for Joined { kind, namespace } in joined {
        setns(namespace, flag(kind)).step(|| format!("join the {kind} namespace"))?;
    }
    if let (Some(process), true) = (&plan.process, joins_users) {
        // Only in there does it have a number. What is not from in there stays whose it is.
        Owner::ours(process.uid).take(process);
    }
    if let Some(offsets) = new_time_offsets(plan) {
        unshare(flag(NamespaceKind::Time)).step(|| "make a time namespace".into())?;
        std::fs::write("/proc/self/timens_offsets", &offsets).step(|| format!("write time offsets {offsets:?}"))?;
    }
    // The cgroup namespace is made by the init itself, once it is in its cgroup; time is made just above.
    let flags = plan
        .namespaces
        .iter()
        .filter(|namespace| namespace.path.is_none())
        .filter(|namespace| !matches!(namespace.kind, NamespaceKind::Cgroup | NamespaceKind::Time))
        .fold(CloneFlags::empty(), |flags, namespace| flags | flag(namespace.kind));
    let cloned =
        clone::clone(flags.bits(), parent, None).step(|| format!("clone the init with new namespaces {flags:?}"))?;
    match cloned {
        Cloned::Child => init::run(init),
        Cloned::Parent { pidfd, .. } => Ok(pidfd),
    }
}

/// Of the standard descriptors, while we are in no user namespace of the container's. None: it has no id out here.
fn owner(plan: &Plan, uid: u32, mapped: bool) -> Option<Owner> {
    match mapped {
        false => Some(Owner::ours(uid)),
        true => Owner::mapped(uid, &plan.uid_mappings.iter().map(Mapping::from).collect::<Vec<_>>()),
    }
}

/// Everything of the container but its PID namespace first, see [`join`].
fn clone_exec(
    process: &join::Donations,
    target: join::Target,
    tasks: Vec<OwnedFd>,
    parent: Parent,
) -> Result<OwnedFd, SetupError> {
    not_dumpable()?;
    super::prepare_inheritance(&process.plan)?;
    join_cgroups(tasks)?;
    if let Some(owner) = process.owner {
        owner.take(&process.plan);
    }
    target.enter()?;
    match clone::clone(0, parent, None).step(|| "clone the process".into())? {
        Cloned::Child => join::run(process),
        Cloned::Parent { pidfd, .. } => Ok(pidfd),
    }
}

fn not_dumpable() -> Result<(), SetupError> {
    nix::sys::prctl::set_dumpable(false).step(|| "become non-dumpable".into())
}

/// Each takes whoever writes `0` to it. They are closed with that: nothing of the host's cgroups is open in what enters.
fn join_cgroups(tasks: Vec<OwnedFd>) -> Result<(), SetupError> {
    tasks
        .into_iter()
        .try_for_each(|tasks| nix::unistd::write(tasks, b"0").map(drop).step(|| "join the container's cgroups".into()))
}

/// The CLONE_NEW* bit of a kind.
pub fn flag(kind: NamespaceKind) -> CloneFlags {
    match kind {
        NamespaceKind::User => CloneFlags::CLONE_NEWUSER,
        NamespaceKind::Pid => CloneFlags::CLONE_NEWPID,
        NamespaceKind::Network => CloneFlags::CLONE_NEWNET,
        NamespaceKind::Ipc => CloneFlags::CLONE_NEWIPC,
        NamespaceKind::Uts => CloneFlags::CLONE_NEWUTS,
        NamespaceKind::Mount => CloneFlags::CLONE_NEWNS,
        NamespaceKind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        NamespaceKind::Time => CloneFlags::from_bits_retain(libc::CLONE_NEWTIME),
    }
}

/// The offsets of a new time namespace, as /proc/self/timens_offsets takes them (time_namespaces(7)).
fn new_time_offsets(plan: &Plan) -> Option<String> {
    let lines = plan.time_offsets.iter().map(|(clock, seconds, nanos)| format!("{clock} {seconds} {nanos}\n"));
    plan.makes(NamespaceKind::Time).then(|| lines.collect())
}

/// In a foreign PID namespace nobody else would reap the init: this helper stays as its parent, holding nothing else.
fn linger(init: OwnedFd) {
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for number in 0..3 {
            let _ = descriptors::place(null.as_fd(), number);
        }
    }
    let _ = descriptors::close_others(&[init.as_raw_fd()]);
    let _ = pidfd::wait_exit(init.as_fd(), None);
    let _ = pidfd::wait_child(init.as_fd());
}
