//! The container's side of a launch: what a freshly cloned process does to itself until it is the application.
//!
//! Owns the order in which a [`Plan`](crate::spec::plan::Plan) is applied, and the conversation with whoever launched
//! it ([`channel`]). Never opens anything of the host by path that the plan did not name, never looks at the store, and
//! resolves every path of the container inside its rootfs (`root`).
//!
//! ```text
//! creator                               init
//!    │ ◀─────────── Forked (pidfd) ────── (the helper that cloned it)
//!    │ ◀─────────── Unmapped ──────────── only with a new user namespace
//!    │ ──────────── Mapped ─────────────▶ the other namespaces
//!    │ ◀─────────── Namespaces ────────── they exist
//!    │ ──────────── Mount ──────────────▶ mounts, devices
//!    │ ◀─────────── Mounted ───────────── with hooks of the runtime they run now
//!    │ ──────────── HooksRan ───────────▶ only then; createContainer hooks, pivot
//!    │ ◀─────────── Terminal (master) ─── only with a terminal
//!    │ ◀─────────── Entered ───────────── the rootfs is /; what is left is to become the application's user
//!    │ ◀─────────── Listener (number) ─── only with a seccomp agent; answered with Listening
//!    │ ◀─────────── Ready ─────────────── (or Failed: what it tried, and why that failed)
//!    │ hands its end to the supervisor
//!  supervisor ───── Start ──────────────▶ startContainer hooks, execve
//!    │ ◀─────────── end of file ───────── the application runs (or Failed)
//! ```
//!
//! A crash of anyone who holds the other end is an end of file here: the process exits, and its mount namespace takes
//! everything it made with it.

pub mod channel;
mod copy_up;
pub mod devices;
mod entry;
mod error;
mod filesystem;
pub mod forgiven;
mod forked;
pub mod helper;
mod home;
pub mod hooks;
mod identity;
pub mod init;
pub mod join;
mod keeper;
pub mod landlock;
pub mod letter;
mod masks;
mod mounts;
pub mod net;
mod node;
mod overlay;
mod pivot;
mod root;
pub mod seccomp;
pub mod source;
pub mod stdio;
mod stdio_owner;
pub mod sysfs;
mod terminal;
mod tmpfs;
mod verify;

use std::os::fd::{AsRawFd, BorrowedFd};

pub use error::SetupError;
use error::Step;
pub use identity::{Groups, run_on};
pub use mounts::{CgroupView, Whose};
pub use stdio_owner::Owner;

use crate::spec::plan::ProcessPlan;

/// What a process inherits from the one that clones it, and what only that one may still write: /proc is the host's
/// there, and no user namespace stands in the way.
pub fn prepare_inheritance(plan: &ProcessPlan) -> Result<(), SetupError> {
    identity::adjust_oom_score(plan)?;
    identity::label_next_exec(plan)
}

/// When the filter is installed. Without no_new_privs this needs CAP_SYS_ADMIN (seccomp(2)), so it comes before the
/// capabilities go; with it, as late as possible, but before startContainer hooks, and while the creator is still there to
/// take a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Privileged,
    Last,
}

fn seccomp_moment(process: &ProcessPlan) -> Moment {
    if process.no_new_privileges { Moment::Last } else { Moment::Privileged }
}

/// Installs the application's filter if now is its moment. Once it has a listener, every call may be one that the agent
/// is asked about: the creator hands it on, and we keep none, or calls would wait for ever when the agent is gone.
fn load_seccomp(
    now: Moment,
    process: &ProcessPlan,
    program: Option<&seccomp::Program>,
    channel: BorrowedFd<'_>,
) -> Result<(), SetupError> {
    let Some(program) = program.filter(|_| seccomp_moment(process) == now) else { return Ok(()) };
    let listener =
        crate::sys::seccomp::load(&program.bpf, program.flags).step(|| "load the seccomp filter".to_owned())?;
    let Some(listener) = listener else { return Ok(()) };
    let gone = |_| SetupError::CreatorGone;
    channel::report(channel, &channel::Report::Listener(listener.as_raw_fd())).map_err(gone)?;
    match channel::next_order(channel).map_err(gone)? {
        channel::Order::Listening => Ok(()),
        _ => Err(SetupError::CreatorGone),
    }
}
