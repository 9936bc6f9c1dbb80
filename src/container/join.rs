//! One more process in a running container, in two steps: a helper enters its namespaces, and what it then clones becomes
//! the application.
//!
//! The order is what keeps the host safe (CVE-2016-9962): a process becomes visible to the container only by entering
//! its PID namespace, and by then its root, its mounts and its descriptors are the container's own. A container with
//! CAP_SYS_PTRACE finds nothing of the host behind /proc/PID of it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;

use super::channel::{self, Order, Report};
use super::init::{become_root_of_namespace, finish_process};
use super::root::Root;
use super::{Groups, SetupError, Step, stdio, terminal};
use crate::spec::plan::ProcessPlan;
use crate::sys::{clone, descriptors, signals};

/// What the joining process is given.
pub struct Donations {
    pub channel: OwnedFd,
    pub seccomp: Option<super::seccomp::Program>,
    /// Of the container's user namespace, as the host sees it.
    pub groups: Groups,
    pub preserved_fds: u32,
    pub session_keyring: Option<std::ffi::CString>,
}

/// In the helper, which is not yet in the container's PID namespace: enters everything else. `namespaces` are those that
/// differ from ours; `init` is a pidfd of the container's init.
pub fn enter_namespaces(init: BorrowedFd<'_>, namespaces: CloneFlags) -> Result<(), SetupError> {
    nix::sys::prctl::set_dumpable(false).step(|| "become non-dumpable".into())?;
    nix::sched::setns(init, namespaces - CloneFlags::CLONE_NEWPID)
        .step(|| "enter the container's namespaces".into())?;
    if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        become_root_of_namespace()?;
    }
    Ok(())
}

/// Runs in the process that the helper has cloned, and never returns.
pub fn run(plan: &ProcessPlan, donations: &Donations) -> ! {
    let error = match enter(plan, donations) {
        Ok(never) => match never {},
        Err(SetupError::CreatorGone) => clone::exit_now(1),
        Err(error) => error,
    };
    let report = Report::Failed { exit_code: error.exit_code(), text: super::one_line(&error) };
    let _ = channel::report(donations.channel.as_fd(), &report);
    clone::exit_now(1)
}

fn enter(plan: &ProcessPlan, donations: &Donations) -> Result<std::convert::Infallible, SetupError> {
    let channel = donations.channel.as_fd();
    let mut keep = vec![channel.as_raw_fd()];
    keep.extend(3..3 + donations.preserved_fds as i32);
    descriptors::close_others(&keep).step(|| "close the creator's descriptors".into())?;
    nix::sys::prctl::set_dumpable(false).step(|| "become non-dumpable".into())?;
    signals::reset().step(|| "reset signals".into())?;
    nix::unistd::setsid().step(|| "start a session".into())?;
    if let Some(name) = &donations.session_keyring {
        super::identity::new_keyring(name)?;
    }
    super::identity::run_on(&plan.affinity.last, "final")?;
    let top = std::fs::File::open("/").step(|| "open the container's root".into())?;
    let terminal = if plan.terminal {
        let (master, terminal) = terminal::open(&Root(top.as_fd()), plan.console_size)?;
        channel::report(channel, &Report::Terminal(master)).map_err(|_| SetupError::CreatorGone)?;
        Some(terminal)
    } else {
        stdio::make_own(&Root(top.as_fd()), stdio::Otherwise::Refuse)?;
        None
    };
    descriptors::close_on_exec_from(3 + donations.preserved_fds as i32).step(|| "close descriptors at exec".into())?;
    let entry = finish_process(plan, donations.seccomp.as_ref(), terminal.as_ref(), donations.groups, channel)?;
    channel::report(channel, &Report::Ready).map_err(|_| SetupError::CreatorGone)?;
    match channel::next_order(channel) {
        Ok(Order::Start) => {}
        _ => return Err(SetupError::CreatorGone),
    }
    Err(entry.execute())
}
