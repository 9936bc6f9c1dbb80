//! One more process in a running container, in two steps: a helper enters its namespaces, and what it then clones becomes
//! the application.
//!
//! The order is what keeps the host safe (CVE-2016-9962): a process becomes visible to the container only by entering
//! its PID namespace, and by then its root, its mounts and its descriptors are the container's own. A container with
//! CAP_SYS_PTRACE finds nothing of the host behind /proc/PID of it.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use super::channel::{self, Order, Report};
use super::init::{ToCome, become_root_of_namespace, finish_process};
use super::root::Rootfs;
use super::{Groups, Owner, SetupError, Step, stdio, terminal, verify};
use crate::spec::plan::ProcessPlan;
use crate::sys::place::Place;
use crate::sys::{clone, descriptor_limit, descriptors, signals};

/// What the joining process is given.
#[derive(Serialize, Deserialize)]
pub struct Donations {
    /// The process that it becomes.
    pub plan: ProcessPlan,
    /// Its end of the conversation.
    #[serde(with = "crate::sys::carried")]
    pub channel: OwnedFd,
    /// None: it has no filter.
    pub seccomp: Option<super::seccomp::Program>,
    /// Of the container's user namespace, as the host sees it.
    pub groups: Groups,
    /// Of the standard descriptors; None: the user has no id out here.
    pub owner: Option<Owner>,
    /// This many descriptors from 3 on belong to the process.
    pub preserved_fds: u32,
    /// Of the new session keyring (keyctl(2)); None: it keeps the caller's.
    pub session_keyring: Option<CString>,
    /// The soft limit of descriptors that the process has, if this one has more.
    pub descriptor_limit: Option<u64>,
}

impl Donations {
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        vec![self.channel.as_raw_fd()]
    }
}

/// The container to enter, opened with the host's privileges: from inside its user namespace an init that has not executed
/// its program yet, and cannot be looked into, gives nobody its namespaces.
#[derive(Serialize, Deserialize)]
pub struct Target {
    /// pidfd of its init.
    #[serde(with = "crate::sys::carried")]
    pub init: OwnedFd,
    /// Of the container's PID namespace.
    #[serde(with = "crate::sys::carried")]
    pub pid_namespace: OwnedFd,
    /// CLONE_NEW* bits of those of its namespaces that differ from the creator's, but for the PID namespace.
    pub namespaces: i32,
    /// The root that its init reported; None: that of a container of before there were such reports.
    pub root: Option<Place>,
    /// The root that its init has now.
    #[serde(with = "crate::sys::carried")]
    pub init_root: OwnedFd,
    /// Whether the container may have put another root on top of its own.
    pub may_change_root: bool,
}

impl Target {
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        vec![self.init.as_raw_fd(), self.pid_namespace.as_raw_fd(), self.init_root.as_raw_fd()]
    }

    /// In the helper, which itself is not in the container's PID namespace, ever: its children will be. Nothing by which the
    /// host could be reached from inside is open any more when this returns.
    pub(super) fn enter(self) -> Result<(), SetupError> {
        let namespaces = CloneFlags::from_bits_retain(self.namespaces) - CloneFlags::CLONE_NEWPID;
        setns(&self.init, namespaces).step(|| "enter the container's namespaces".into())?;
        if namespaces.contains(CloneFlags::CLONE_NEWNS) {
            self.stand_in_root()?;
        }
        if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
            become_root_of_namespace()?;
        }
        // Before anybody of the container can look into one of us.
        let top = std::fs::File::open("/").step(|| "open the container's root".into())?;
        stdio::make_own(&Rootfs(top.as_fd()), stdio::Otherwise::Refuse)?;
        setns(&self.pid_namespace, CloneFlags::CLONE_NEWPID).step(|| "enter the container's PID namespace".into())
    }

    /// setns(2) leads to what lies on top of everything, which `/..` cannot tell from the container's root: the record can.
    /// A container that may mount can have put something there itself, and then is where its init is.
    fn stand_in_root(&self) -> Result<(), SetupError> {
        let here = verify::root()?;
        if self.root.is_none_or(|root| root == here) {
            return Ok(());
        }
        if !self.may_change_root {
            let text =
                "the root of the container's mounts is not the one that it was started with: nothing is run there";
            return Err(SetupError::Refused(text.into()));
        }
        let what = || "enter the root of the container's init".to_owned();
        nix::unistd::fchdir(self.init_root.as_raw_fd()).step(what)?;
        nix::unistd::chroot(".").step(what)?;
        nix::unistd::chdir("/").step(what)
    }
}

/// Runs in the process that the helper has cloned, and never returns.
pub fn run(donations: &Donations) -> ! {
    let error = match enter(&donations.plan, donations) {
        Ok(never) => match never {},
        Err(SetupError::CreatorGone) => clone::exit_now(1),
        Err(error) => error,
    };
    let _ = channel::report(donations.channel.as_fd(), &Report::Failed(error.told()));
    clone::exit_now(1)
}

fn enter(plan: &ProcessPlan, donations: &Donations) -> Result<std::convert::Infallible, SetupError> {
    let channel = donations.channel.as_fd();
    donations.descriptor_limit.into_iter().for_each(descriptor_limit::remember);
    let mut keep = donations.descriptors();
    keep.extend(3..3 + donations.preserved_fds as i32);
    descriptors::close_others(&keep).step(|| "close the helper's descriptors".into())?;
    nix::sys::prctl::set_dumpable(false).step(|| "become non-dumpable".into())?;
    signals::reset().step(|| "reset signals".into())?;
    nix::unistd::setsid().step(|| "start a session".into())?;
    if let Some(name) = &donations.session_keyring {
        super::identity::new_keyring(name)?;
    }
    super::identity::run_on(&plan.affinity.last, "final")?;
    let terminal = if plan.terminal {
        let top = std::fs::File::open("/").step(|| "open the container's root".into())?;
        let (master, terminal) = terminal::open(&Rootfs(top.as_fd()), plan.console_size)?;
        channel::report(channel, &Report::Terminal(master)).map_err(|_| SetupError::CreatorGone)?;
        Some(terminal)
    } else {
        None
    };
    descriptors::close_on_exec_from(3 + donations.preserved_fds as i32).step(|| "close descriptors at exec".into())?;
    let seccomp = donations.seccomp.as_ref();
    let entry = finish_process(plan, seccomp, terminal.as_ref(), donations.groups, channel, ToCome::Program)?;
    channel::report(channel, &Report::Ready(None)).map_err(|_| SetupError::CreatorGone)?;
    match channel::next_order(channel) {
        Ok(Order::Start) => {}
        _ => return Err(SetupError::CreatorGone),
    }
    Err(entry.execute())
}
