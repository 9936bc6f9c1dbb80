//! The environment: each entry `NAME=value`, each name once.

use std::collections::HashSet;

use super::{SpecError, check};

/// Of several entries with one name the last one stays: a process would see the first, but whoever wrote the list
/// appended in order to override.
pub(super) fn plan(field: &str, entries: &[String]) -> Result<Vec<String>, SpecError> {
    check(field, entries)?;
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(entries.len());
    for entry in entries.iter().rev() {
        if seen.insert(entry.split_once('=').map_or(entry.as_str(), |(name, _)| name)) {
            kept.push(entry.clone());
        }
    }
    kept.reverse();
    Ok(kept)
}

pub(super) fn check(field: &str, entries: &[String]) -> Result<(), SpecError> {
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("{field}[{index}]");
        check::text(&at, entry)?;
        match entry.find('=') {
            None => return Err(SpecError::invalid(at, format!("{} has no \"=\"", check::quote(entry)))),
            Some(0) => return Err(SpecError::invalid(at, format!("{} has no name", check::quote(entry)))),
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_stays_and_the_order_too() {
        let entries = ["A=1", "B=2", "A=3", "C=a=b"].map(str::to_owned);
        assert_eq!(plan("env", &entries).unwrap(), ["B=2", "A=3", "C=a=b"]);
    }
}
