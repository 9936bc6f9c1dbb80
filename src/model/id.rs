//! The id of a sandbox or a container: checked once, at the edge; afterwards the type is the proof.

use std::fmt;

/// The longest id, in bytes.
pub const MAX_LEN: usize = 1024;

/// `^[A-Za-z0-9_+.-]+$`, 1 to 1024 bytes, neither `.` nor `..`. Ids match exactly, never by prefix or pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum IdError {
    #[error("the id is empty: give one of 1 to {MAX_LEN} characters out of A-Z a-z 0-9 _ + . -")]
    Empty,
    #[error("the id {0:?}… is {1} bytes long: at most {MAX_LEN} are allowed")]
    TooLong(String, usize),
    #[error("invalid id {0:?}: {1:?} is not one of A-Z a-z 0-9 _ + . -")]
    BadCharacter(String, char),
    #[error("invalid id {0:?}: it names a folder")]
    Dots(String),
}

impl Id {
    /// The only way to an id: no check is needed after it.
    pub fn parse(text: &str) -> Result<Id, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(IdError::TooLong(text.chars().take(32).collect(), text.len()));
        }
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_+.-".contains(*c))) {
            return Err(IdError::BadCharacter(text.chars().take(64).collect(), bad));
        }
        if text == "." || text == ".." {
            return Err(IdError::Dots(text.to_owned()));
        }
        Ok(Id(text.to_owned()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_runc_accepts_are_accepted() {
        for id in ["a", "busybox-1", "A_b+c.d-9", "...", &"x".repeat(MAX_LEN)] {
            assert_eq!(Id::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn an_id_can_never_be_a_path_a_pattern_or_nothing() {
        for id in ["", ".", "..", "../x", "a/b", "*", "a b", "ü", "a\n", &"x".repeat(MAX_LEN + 1)] {
            assert!(Id::parse(id).is_err(), "{id:?} was accepted");
        }
    }
}
