//! What can fail between us and a systemd.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::wire::Malformed;

/// Why systemd did not do what it was asked.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("no systemd can be reached: there is none of {}", .tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Absent { tried: Vec<PathBuf> },
    #[error("cannot connect to {path:?}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("{path:?} does not let us in")]
    Refused { path: PathBuf },
    #[error("cannot speak to systemd")]
    Transport(#[from] io::Error),
    #[error("what systemd said cannot be read")]
    Malformed(#[from] Malformed),
    /// In systemd's own words.
    #[error("systemd refuses: {text} ({name})")]
    Failed { name: String, text: String },
    #[error("systemd's job for {unit} ended as {result:?}")]
    Job { unit: String, result: String },
    #[error("systemd did not answer within {} s", .waited.as_secs())]
    Timeout { waited: Duration },
}

impl BusError {
    /// Whether systemd says that it knows no such unit.
    pub fn is_unknown_unit(&self) -> bool {
        matches!(self, BusError::Failed { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit")
    }

    /// A unit of that name is there already: somebody else's, or left over.
    pub fn is_unit_exists(&self) -> bool {
        matches!(self, BusError::Failed { name, .. } if name == "org.freedesktop.systemd1.UnitExists")
    }
}
