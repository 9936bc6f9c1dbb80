//! How a command fails: one line for the user, and an exit code.

use crate::container::one_line;
use crate::engine::EngineError;
use crate::host::HostError;
use crate::sys::privilege::descriptor_limits;

pub struct Failure {
    pub text: String,
    pub exit_code: u8,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), exit_code: 1 }
    }

    pub fn does_not_exist(id: &str) -> Failure {
        Failure::new(format!("container {id:?} does not exist"))
    }

    pub fn with_exit_code(mut self, code: u8) -> Failure {
        self.exit_code = code;
        self
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Failure {
        Failure { exit_code: error.exit_code(), text: told(&error) }
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
    crate::control::ControlError,
    crate::container::seccomp::CompileError,
    std::io::Error
);
