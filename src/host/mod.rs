//! The engine's effects, for real: launching, adopting, freezing and destroying on this machine.
//!
//! Owns every process, mount and socket that a command makes on the host's side. Never decides what is legal, and never
//! writes an intent, a snapshot or a journal entry: the engine does that around it. What it writes into a sandbox's folder
//! is what its own effects need to be done again or taken back: the kept configuration, the ledger of hooks, limits under
//! way, the scope, resctrl groups. A crash in here leaves at most what the intent of the transition
//! names; processes that nobody has recorded die with the process that made them, because each of them holds a pipe or
//! a pidfd of its creator until it is adopted.

pub mod agent;
pub mod change;
pub mod claim;
pub mod console;
pub mod create;
pub mod delete;
pub mod descriptors;
pub mod destroy;
mod error;
pub mod exec;
pub mod execution;
pub mod foreground;
pub mod hold;
pub mod hooks;
pub mod kept;
pub mod kill;
pub mod launch;
pub mod listener;
pub mod look;
pub mod mend;
pub mod notify;
pub mod pidfile;
pub mod poststart;
pub mod preserved;
pub mod probe;
pub mod protect;
pub mod renewal;
pub mod request;
pub mod resctrl;
pub mod rootless;
pub mod running;
pub mod signal;
pub mod start;
pub mod supervisor;
pub mod tell;
pub mod unreached;
pub mod update;
mod verify;
pub mod wait;

pub(crate) use error::Trying;
pub use error::{Failed, HostError, LookError, ResctrlError};
