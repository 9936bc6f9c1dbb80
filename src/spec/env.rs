//! The environment: each entry `NAME=value`, each name once.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::{SpecError, check};

/// Of several entries with one name the last one stays: a process would see the first, but whoever wrote the list
/// appended in order to override.
pub(super) fn plan(field: &str, entries: &[OsString]) -> Result<Vec<OsString>, SpecError> {
    check(field, entries)?;
    let mut seen = HashSet::new();
    let mut kept: Vec<OsString> = Vec::with_capacity(entries.len());
    for entry in entries.iter().rev() {
        if seen.insert(entry.as_bytes().split(|byte| *byte == b'=').next()) {
            kept.push(entry.clone());
        }
    }
    kept.reverse();
    Ok(kept)
}

pub(super) fn check(field: &str, entries: &[OsString]) -> Result<(), SpecError> {
    for (index, entry) in entries.iter().enumerate() {
        let (at, shown) = (format!("{field}[{index}]"), entry.to_string_lossy());
        check::text(&at, &shown)?;
        match shown.find('=') {
            None => return Err(SpecError::invalid(at, format!("{} has no \"=\"", check::quote(&shown)))),
            Some(0) => return Err(SpecError::invalid(at, format!("{} has no name", check::quote(&shown)))),
            Some(_) => {}
        }
    }
    Ok(())
}

/// A list of the configuration's.
pub(super) fn from_text(entries: &Option<Vec<String>>) -> Vec<OsString> {
    entries.iter().flatten().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn the_last_value_of_a_name_stays_and_the_order_too() {
        let entries = ["A=1", "B=2", "A=3", "C=a=b"].map(OsString::from);
        assert_eq!(plan("env", &entries).unwrap(), ["B=2", "A=3", "C=a=b"]);
    }

    #[test]
    fn what_is_no_text_stays_as_it_is_and_is_one_name_among_others() {
        let entries = [&b"\xff=1"[..], b"\xfe=2", b"A=\xff", b"\xff=3"].map(|entry| OsString::from_vec(entry.to_vec()));
        assert_eq!(plan("env", &entries).unwrap(), entries[1..]);
        for refused in [&b"\xff"[..], b"=\xff", b"A=\0"] {
            assert!(plan("env", &[OsString::from_vec(refused.to_vec())]).is_err());
        }
    }
}
