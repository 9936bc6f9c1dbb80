//! One more process in a running container: enters its namespaces, becomes its user, waits for the start.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::CloneFlags;

use super::channel::{self, Order, Report};
use super::init::finish_process;
use super::root::Root;
use super::{SetupError, Step, identity, terminal};
use crate::spec::plan::ProcessPlan;
use crate::sys::{clone, descriptors, signals};

/// What the joining process is given.
pub struct Donations {
    pub channel: OwnedFd,
    /// pidfd of the container's init, whose namespaces are entered.
    pub init: OwnedFd,
    /// Those that differ from ours, but the PID namespace: that one is for children, and we are already such a child.
    pub namespaces: CloneFlags,
    pub seccomp: Option<super::seccomp::Program>,
    pub preserved_fds: u32,
    pub session_keyring: Option<std::ffi::CString>,
}

/// Runs in the cloned process and never returns.
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
    let mut keep = vec![channel.as_raw_fd(), donations.init.as_raw_fd()];
    keep.extend(3..3 + donations.preserved_fds as i32);
    descriptors::close_others(&keep).step(|| "close the creator's descriptors".into())?;
    nix::sys::prctl::set_dumpable(false).step(|| "become non-dumpable".into())?;
    signals::reset().step(|| "reset signals".into())?;
    nix::unistd::setsid().step(|| "start a session".into())?;
    // While /proc is still the host's.
    identity::adjust_oom_score(plan)?;
    identity::label_next_exec(plan)?;
    let groups = identity::Groups::of_process(donations.init.as_fd());
    nix::sched::setns(donations.init.as_fd(), donations.namespaces)
        .step(|| "enter the container's namespaces".into())?;
    if let Some(name) = &donations.session_keyring {
        super::init::new_keyring(name)?;
    }
    let terminal = if plan.terminal {
        let top = std::fs::File::open("/").step(|| "open the container's root".into())?;
        let (master, terminal) = terminal::open(&Root(top.as_fd()), plan.console_size)?;
        channel::report(channel, &Report::Terminal(master)).map_err(|_| SetupError::CreatorGone)?;
        Some(terminal)
    } else {
        None
    };
    let entry = finish_process(plan, donations.seccomp.as_ref(), terminal.as_ref(), groups)?;
    channel::report(channel, &Report::Ready).map_err(|_| SetupError::CreatorGone)?;
    match channel::next_order(channel) {
        Ok(Order::Start) => {}
        _ => return Err(SetupError::CreatorGone),
    }
    if plan.no_new_privileges {
        super::load_seccomp(donations.seccomp.as_ref())?;
    }
    descriptors::close_on_exec_from(3 + donations.preserved_fds as i32).step(|| "close descriptors at exec".into())?;
    Err(entry.execute())
}
