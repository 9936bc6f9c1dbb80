//! What can go wrong on the host: one variant a kind, so that nobody has to look for words in a text.

use std::io;
use std::path::{Path, PathBuf};

use super::launch::Doing;
use super::preserved::PreservedError;
use crate::cgroup;
use crate::container::SetupError;
use crate::container::hooks::HookError;
use crate::container::seccomp::CompileError;
use crate::control::ControlError;
use crate::engine::EngineError;
use crate::model::Id;
use crate::spec::SpecError;
use crate::store::StoreError;
use crate::sys::interrupt;

/// Why a sandbox cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the snapshot of the sandbox in {folder:?} is lost: `sandkeep recover` writes it again")]
    Lost { folder: PathBuf },
    #[error("look at the folder {folder:?}")]
    Folder { folder: PathBuf, source: io::Error },
}

/// An `intelRdt` that cannot be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum ResctrlError {
    #[error(
        "linux.intelRdt: no resctrl file system is mounted: this machine cannot divide up its caches, or `mount -t resctrl resctrl \
         /sys/fs/resctrl` has not been done"
    )]
    NotMounted,
    #[error("linux.intelRdt: the group {0:?} does not exist, and no schemata say what it would be")]
    NoSuchGroup(PathBuf),
    #[error("linux.intelRdt: the group {0:?} exists already, and is not this container's")]
    SomebodyElses(PathBuf),
}

/// One thing on the host that we tried and that failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum HostError {
    #[error("{what}")]
    Io { what: String, source: io::Error },
    #[error("{what}: no answer within {seconds} s")]
    Timeout { what: String, seconds: u64 },
    #[error("{what}: interrupted by {}", interrupt::name_of(*.signal))]
    Interrupted { what: String, signal: i32 },

    /// In the words of a process that was to do it, the container's as a rule; `exit_code` is what a foreground run reports.
    #[error("{text}")]
    Said { text: String, exit_code: u8 },
    /// Without a word. `silent`: why it may not have had any.
    #[error(
        "{who} was killed while it set itself up ({doing}){silent}: a memory limit that is too low, of its own cgroup or of one \
         above, is the usual reason"
    )]
    Died { who: &'static str, doing: Doing, silent: &'static str },
    #[error("the container's init said {said} out of turn ({doing})")]
    OutOfTurn { said: String, doing: Doing },
    /// While somebody else decided about its system calls.
    #[error("{error} (the seccomp agent at {agent:?} decides about its system calls)")]
    UnderAgent { agent: PathBuf, error: Box<HostError> },
    #[error("container {:?} does not exist", .id.as_str())]
    Absent { id: Id },
    #[error("the process would not be confined as planned, so it was not started: {why}")]
    Unconfined { why: String },
    #[error("cannot exec in a stopped container: {:?}", .id.as_str())]
    Stopped { id: Id },

    /// In the supervisor's own words.
    #[error("the supervisor did not start: {text}")]
    Supervisor { text: String },
    #[error(
        "the supervisor did not start: it ended without a word: a memory limit that is too low, of its cgroup or of one above, \
         is the usual reason"
    )]
    SupervisorSilent,
    #[error("the supervisor died as soon as it was ready")]
    SupervisorDied,
    #[error("there is no container that a supervisor could keep")]
    NothingToKeep,
    #[error("{:?} runs on without a supervisor: only root can give it another", .id.as_str())]
    OnlyRootRenews { id: Id },

    #[error("cannot enter container {:?}: its supervisor is dead, by whose user namespace an ordinary user gets there", .id.as_str())]
    NoWayIn { id: Id },
    #[error(
        "too many open files ({hard} may be open, and a container takes {needed}: raise that, with ulimit -n or LimitNOFILE= of \
         a service)"
    )]
    TooFewDescriptors { needed: u64, hard: u64 },
    #[error(
        "its mounts take up to {needed} open files, and this process may have {hard}: raise the hard limit of whoever starts it \
         (ulimit -Hn, LimitNOFILE= of a service)"
    )]
    TooManyMounts { needed: u64, hard: u64 },
    #[error("{path:?} is not what it was a moment ago: somebody has put another in its place")]
    Replaced { path: PathBuf },
    /// `kind` is "uid" or "gid".
    #[error(
        "linux.{kind}Mappings (or those of a mount) name ids of the host that are not this user's: /etc/sub{kind} gives them"
    )]
    ForeignIds { kind: &'static str },
    /// One of the programs that give an ordinary user further ids.
    #[error("{program}: {said}")]
    Mapper { program: &'static str, said: String },
    #[error("the seccomp filter has a listener, and the configuration no linux.seccomp.listenerPath")]
    NoAgent,
    #[error("{trying}: it is not a socket")]
    AgentIsNoSocket { trying: String },
    #[error("the {kind} hook {path:?} had failed")]
    HookHadFailed { kind: &'static str, path: PathBuf },
    #[error("{folder:?} {}", .problem.words())]
    Config { folder: PathBuf, problem: Unusable },

    #[error(transparent)]
    Preserved(#[from] PreservedError),
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Resctrl(#[from] ResctrlError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Seccomp(#[from] CompileError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What fails where the engine is asked, and in what a command does around it.
pub type Failed = EngineError<HostError>;

impl From<HostError> for Failed {
    fn from(error: HostError) -> Failed {
        EngineError::Effect(error)
    }
}

impl From<LookError> for Failed {
    fn from(error: LookError) -> Failed {
        HostError::from(error).into()
    }
}

/// What is wrong with the configuration that was kept of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Their words say it.
pub enum Unusable {
    Lost,
    Another,
    Nobodys,
}

impl Unusable {
    fn words(self) -> &'static str {
        match self {
            Unusable::Lost => "has lost its config.json",
            Unusable::Another => "has a config.json that is not the one it was created with: nothing of it is used",
            Unusable::Nobodys => "has no record of a container that its config.json could be of",
        }
    }
}

impl From<SetupError> for HostError {
    fn from(error: SetupError) -> HostError {
        HostError::Said { exit_code: error.exit_code(), text: crate::sys::told::on_one_line(&error) }
    }
}

impl HostError {
    /// What a foreground run or exec exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            HostError::Said { exit_code, .. } => *exit_code,
            HostError::UnderAgent { error, .. } => error.exit_code(),
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

    /// Without a word.
    pub(super) fn died(who: &'static str, doing: &Doing) -> HostError {
        HostError::Died { who, doing: doing.clone(), silent: "" }
    }

    /// Of a process whose calls the agent at this path is asked about: one that ends there most likely got no answer, or not
    /// the one it needs.
    pub(super) fn under_agent(self, agent: &Path) -> HostError {
        match self {
            HostError::Said { .. } | HostError::Died { .. } | HostError::OutOfTurn { .. } => {
                HostError::UnderAgent { agent: agent.to_owned(), error: Box::new(self) }
            }
            other => other,
        }
    }

    /// An init that is under its filter, and may not write, cannot say what stopped it.
    pub(super) fn under_filter(self) -> HostError {
        match self {
            HostError::Died { who, doing, .. } => {
                HostError::Died { who, doing, silent: ", or may say nothing (does the seccomp profile deny write?)" }
            }
            other => other,
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
