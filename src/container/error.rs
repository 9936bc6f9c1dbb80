//! What can fail inside, told to whoever launched the process.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::channel::{Failure, Of};
use super::hooks::HookError;
use crate::sys::told;

/// One step of a container's setup that failed.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{what}")]
    Step { what: String, source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("exec {program:?}: executable file not found in $PATH")]
    NotInPath { program: OsString },
    #[error("exec {program:?}")]
    Exec { program: OsString, source: io::Error },
    #[error("cannot resolve {path:?} inside the rootfs")]
    Resolve { path: PathBuf, source: io::Error },
    #[error("the creator is gone")]
    CreatorGone,
}

impl SetupError {
    /// What a shell would report for a program that cannot be run: 127 not found, 126 not executable; else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            SetupError::NotInPath { .. } => 127,
            SetupError::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            SetupError::Exec { .. } => 126,
            _ => 1,
        }
    }

    /// As it goes to whoever launched it.
    pub(super) fn told(&self) -> Failure {
        let of = if matches!(self, SetupError::Hook(_)) { Of::Hook } else { Of::Setup };
        Failure { of, exit_code: self.exit_code(), text: told::on_one_line(self) }
    }
}

/// `result.step("what we tried")`: the one way errors get their context in here.
pub(super) trait Step<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, SetupError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, SetupError> {
        self.map_err(|source| SetupError::Step { what: what(), source: source.into() })
    }
}
