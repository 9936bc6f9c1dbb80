//! Launching a container's processes: a helper, forked inside the sandbox's PID namespace and executed anew
//! (`container::helper`), joins cgroups and namespaces and clones the process. Which process becomes its parent is one flag
//! of that clone.
//!
//! ```text
//! caller ── CLI ─┬─ supervisor (pid 1 of the sandbox's PID namespace)
//!                └─ helper ── init        Reaper::Supervisor: the helper exits, the kernel hands the init to pid 1
//!                └─ init (CLONE_PARENT)   Reaper::Caller: the CLI's child, then its reaper's
//! ```
//!
//! * [`init`] and [`exec`] write down what a helper is to do, `helper` runs it and takes the process over from it.
//! * [`launched`] is the conversation with that process, [`attend`] hands on what it has for others.
//! * [`namespaces`], [`idmap`] and [`donate`] prepare what it is given.
//!
//! A crash in here ends the process: its channel is at its end.

pub mod attend;
mod doing;
pub mod donate;
pub mod exec;
mod helper;
pub mod idmap;
pub mod init;
pub mod launched;
pub mod namespaces;

use std::ffi::CString;
use std::os::fd::BorrowedFd;

pub use doing::Doing;
pub use launched::{Launched, Ready};

/// Where the helper has to be when it clones.
#[derive(Debug, Clone, Copy)]
pub enum Inside<'a> {
    /// The PID namespace of this process (a supervisor).
    NamespaceOf(BorrowedFd<'a>),
    /// The caller's own.
    Ours,
}

/// `_ses.<id>`, as runc names it.
pub fn keyring_name(id: &str) -> Option<CString> {
    CString::new(format!("_ses.{}", &id[..id.len().min(200)])).ok()
}
