//! Why a configuration was refused. Every message is one line and names the file or the field.

use std::io;
use std::path::PathBuf;

/// Why a configuration is refused. Nothing was made; the text names the file, or the field as the specification writes
/// it.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("the bundle {path:?} does not exist")]
    BundleMissing { path: PathBuf },
    #[error("the bundle {path:?} is not a folder: give the folder that holds config.json")]
    BundleNotFolder { path: PathBuf },
    #[error("cannot open the bundle {path:?}")]
    Bundle { path: PathBuf, source: io::Error },
    #[error("no config.json in the bundle {bundle:?}: run `sandkeep spec` there to make one")]
    ConfigMissing { bundle: PathBuf },
    #[error("{path:?} is not a file")]
    NotFile { path: PathBuf },
    #[error("cannot read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: String, limit: u64 },
    #[error("{what} is not valid JSON (line {line}, column {column})")]
    Syntax { what: String, line: usize, column: usize, source: serde_json::Error },
    /// JSON, but of another shape than the specification's: a wrong type, an unknown word of a fixed list, a missing
    /// required property.
    #[error("{what}: {field}: {problem}")]
    Shape { what: String, field: String, problem: String },
    /// The right shape, but a value that means nothing or contradicts another.
    #[error("invalid {field}: {problem}")]
    Invalid { field: String, problem: String },
    /// Meaningful, but not something that this runtime can do.
    #[error("{field} is not supported: {problem}")]
    Unsupported { field: String, problem: String },
}

impl SpecError {
    pub(super) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> SpecError {
        SpecError::Invalid { field: field.into(), problem: problem.into() }
    }

    pub(super) fn unsupported(field: impl Into<String>, problem: impl Into<String>) -> SpecError {
        SpecError::Unsupported { field: field.into(), problem: problem.into() }
    }

    /// The field that is at fault, as a path into the JSON, where one is.
    pub fn field(&self) -> Option<&str> {
        match self {
            SpecError::Shape { field, .. }
            | SpecError::Invalid { field, .. }
            | SpecError::Unsupported { field, .. } => Some(field),
            _ => None,
        }
    }
}
