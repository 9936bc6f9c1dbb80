//! The engine's effects, for real: launching, adopting, freezing and destroying on this machine.
//!
//! Owns every process, mount and socket that a command makes on the host's side. Never decides what is legal and never
//! writes a record: the engine does both around it. A crash in here leaves at most what the intent of the transition
//! names; processes that nobody has recorded die with the process that made them, because each of them holds a pipe or
//! a pidfd of its creator until it is adopted.

pub mod agent;
pub mod console;
pub mod create;
pub mod descriptors;
pub mod destroy;
mod error;
pub mod exec;
pub mod foreground;
pub mod hooks;
pub mod kept;
pub mod kill;
pub mod launch;
pub mod listener;
pub mod mend;
pub mod notify;
pub mod pidfile;
pub mod poststart;
pub mod preserved;
pub mod probe;
pub mod protect;
pub mod renewal;
pub mod resctrl;
pub mod rootless;
pub mod running;
pub mod supervisor;
pub mod unreached;
pub mod update;
mod verify;

pub use error::HostError;
pub(crate) use error::Trying;
