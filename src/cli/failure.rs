//! How a command fails: one line for the user, and an exit code.

use crate::cgroup;
use crate::container::one_line;
use crate::engine::EngineError;
use crate::host::{HostError, rootless};
use crate::sys::interrupt::{self, Interrupts};
use crate::sys::privilege::descriptor_limits;

pub struct Failure {
    pub text: String,
    pub exit_code: u8,
    /// Somebody has ended us by a signal: then the exit code is that, whatever was under way.
    interrupted: bool,
    pub of: Of,
}

/// What has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Command,
    /// The program that was to be run cannot be: told as a shell tells it, and engines make their own sentence of it.
    Program,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), exit_code: 1, interrupted: false, of: Of::Command }
    }

    pub fn does_not_exist(id: &str) -> Failure {
        Failure::new(format!("container {id:?} does not exist"))
    }

    /// Somebody has ended us, and what we waited for was not to be taken back.
    pub fn interrupted(text: impl Into<String>, signal: i32) -> Failure {
        Failure { text: text.into(), exit_code: 128 + signal as u8, interrupted: true, of: Of::Command }
    }

    /// A signal that goes to a whole process group, as a key does, may have ended what we were making before we looked: that
    /// is then the reason.
    pub fn or_interrupted(mut self) -> Failure {
        if !self.interrupted
            && let Some(signal) = interrupt::current().and_then(Interrupts::ending)
        {
            (self.exit_code, self.interrupted) = (128 + signal as u8, true);
        }
        self
    }

    pub fn with_exit_code(mut self, code: u8) -> Failure {
        if !self.interrupted {
            self.exit_code = code;
        }
        self
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Failure {
        let exit_code = error.exit_code();
        let of = if matches!(exit_code, 126 | 127) { Of::Program } else { Of::Command };
        let mut text = told(&error);
        if matches!(error, HostError::Cgroup(cgroup::Error::NoController { .. }))
            && (rootless::inside() || rootless::needed())
        {
            text.push_str(": that takes root, or a cgroup that is delegated to this user");
        }
        Failure { exit_code, interrupted: error.signal().is_some(), text, of }
    }
}

impl From<EngineError<HostError>> for Failure {
    fn from(error: EngineError<HostError>) -> Failure {
        match error {
            EngineError::Effect(error) => error.into(),
            other => Failure::new(told(&other)),
        }
    }
}

/// With what to do about a limit that is in the way, wherever it was met.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let text = one_line(error);
    match descriptor_limits() {
        Ok((soft, hard)) if text.ends_with("too many open files") => {
            format!(
                "{text} ({soft} may be open, at most {hard}: raise that, with ulimit -n or LimitNOFILE= of a service)"
            )
        }
        _ => text,
    }
}

macro_rules! plain {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::new(told(&error))
            }
        }
    )*};
}

plain!(
    crate::model::id::IdError,
    crate::model::Denial,
    crate::spec::SpecError,
    crate::store::StoreError,
    crate::store::LockError,
    crate::cgroup::Error,
    crate::host::LookError,
    crate::control::ControlError,
    crate::container::seccomp::CompileError,
    std::io::Error
);
