//! The one check of a version, and what is wrong with bytes that do not pass it.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::objects;

/// The version that is written of snapshots, records and pending commits.
pub const VERSION: u32 = 2;
/// The version of the others: as it always was.
pub(super) const UNCHANGED: u32 = 1;

/// Why bytes are not read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum SchemaError {
    #[error("{0} bytes are more than the {1} that such a record may have")]
    TooLarge(usize, usize),
    #[error("it was written by a newer sandkeep (format version {0})")]
    Newer(u32),
    #[error("it is damaged: its checksum does not fit")]
    Checksum,
    #[error("it is damaged: nothing was ever written as version {0} in this form")]
    NoSuchVersion(u32),
    #[error("it is not a record that sandkeep wrote")]
    Malformed(#[source] serde_json::Error),
}

/// A shape of which there is but one version.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], cap: usize) -> Result<T, SchemaError> {
    match version(bytes, cap)? {
        UNCHANGED => parse(bytes),
        found if found > UNCHANGED => Err(SchemaError::Newer(found)),
        found => Err(SchemaError::NoSuchVersion(found)),
    }
}

/// A shape of which there are two.
pub(super) fn decode_either<Old: DeserializeOwned, New: DeserializeOwned + From<Old>>(
    bytes: &[u8],
    cap: usize,
) -> Result<New, SchemaError> {
    match version(bytes, cap)? {
        1 => parse::<Old>(bytes).map(New::from),
        2 => parse(bytes),
        found if found > VERSION => Err(SchemaError::Newer(found)),
        found => Err(SchemaError::NoSuchVersion(found)),
    }
}

/// The version is asked first of what does not fit, and of what fits by chance.
pub(super) fn version(bytes: &[u8], cap: usize) -> Result<u32, SchemaError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if bytes.len() > cap {
        return Err(SchemaError::TooLarge(bytes.len(), cap));
    }
    parse(bytes).map(|Versioned { version }| version)
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SchemaError> {
    objects::from_slice(bytes).map_err(SchemaError::Malformed)
}
