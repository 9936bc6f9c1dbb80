//! The engine's effects, for real: launching, adopting, freezing and destroying on this machine.
//!
//! Owns every process, mount and socket that a command makes on the host's side. Never decides what is legal, and never
//! writes an intent, a snapshot or a journal entry: the engine does that around it. What it writes into a sandbox's folder
//! is what its own effects need to be done again or taken back: the kept configuration, the ledger of hooks, limits under
//! way, the scope, resctrl groups. A crash in here leaves at most what the intent of the transition
//! names; processes that nobody has recorded die with the process that made them, because each of them holds a pipe or
//! a pidfd of its creator until it is adopted.

pub mod agent;
pub mod attend;
pub mod cgroups;
pub mod claim;
pub mod console;
pub mod create;
pub mod descriptors;
pub mod destroy;
pub mod donate;
pub mod exec;
pub mod foreground;
pub mod hold;
pub mod hooks;
pub mod idmap;
pub mod kept;
pub mod kill;
pub mod launch;
pub mod listener;
pub mod look;
pub mod mend;
pub mod namespaces;
pub mod net_devices;
pub mod notify;
pub mod pidfile;
pub mod placeholder;
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
pub mod supervisor;
pub mod unreached;
pub mod update;
mod verify;

use std::io;

use crate::container::SetupError;
use crate::container::hooks::HookError;
use crate::control::ControlError;
use crate::engine::EngineError;
use crate::sys::interrupt;

/// One thing on the host that we tried and that failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{what}")]
    Io { what: String, source: io::Error },
    /// In the init's own words; `exit_code` is what a foreground run reports.
    #[error("{text}")]
    Container { text: String, exit_code: u8 },
    /// Without a word. `silent`: why it may not have had any.
    #[error(
        "{who} was killed while it set itself up{silent}: a memory limit that is too low, of its own cgroup or of one above, is \
         the usual reason"
    )]
    Died { who: &'static str, silent: &'static str },
    /// In the supervisor's own words.
    #[error("the supervisor did not start: {text}")]
    Supervisor { text: String },
    #[error("{what}: no answer within {seconds} s")]
    Timeout { what: String, seconds: u64 },
    #[error("{what}: interrupted by {}", interrupt::name_of(*.signal))]
    Interrupted { what: String, signal: i32 },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Seccomp(#[from] crate::container::seccomp::CompileError),
    #[error(transparent)]
    Spec(#[from] crate::spec::SpecError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Preserved(#[from] preserved::PreservedError),
    #[error(transparent)]
    Look(#[from] look::LookError),
    #[error(
        "cannot enter container {id:?}: its supervisor is dead, by whose user namespace an ordinary user gets there"
    )]
    NoWayIn { id: String },
}

/// What fails where the engine is asked, and in what a command does around it.
pub type Failed = EngineError<HostError>;

impl From<HostError> for Failed {
    fn from(error: HostError) -> Failed {
        EngineError::Effect(error)
    }
}

impl From<look::LookError> for Failed {
    fn from(error: look::LookError) -> Failed {
        HostError::from(error).into()
    }
}

impl From<SetupError> for HostError {
    fn from(error: SetupError) -> HostError {
        HostError::Container { exit_code: error.exit_code(), text: crate::container::one_line(&error) }
    }
}

impl HostError {
    /// What a foreground run or exec exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            HostError::Container { exit_code, .. } => *exit_code,
            other => other.signal().map_or(1, |signal| 128 + signal as u8),
        }
    }

    /// By which somebody has ended what failed.
    pub fn signal(&self) -> Option<i32> {
        match self {
            HostError::Interrupted { signal, .. }
            | HostError::Control(ControlError::Interrupted { signal, .. })
            | HostError::Hook(HookError::Interrupted { signal, .. }) => Some(*signal),
            _ => None,
        }
    }
}

/// `result.trying("what we tried")`: the one way input/output errors get their context in here.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, HostError>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, HostError> {
        self.map_err(|source| HostError::Io { what: what(), source: source.into() })
    }
}
