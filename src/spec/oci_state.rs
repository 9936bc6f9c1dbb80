//! The one state document (runtime-spec, "State"): what every hook reads, what a seccomp agent is sent, and the core of what
//! `state` and `list` print. All of them say the same of a container, but for the status and the pid, which change.
//!
//! `ociVersion` is the version that the document itself complies with, as the specification defines it, and so ours,
//! whatever the bundle says: readers of hooks and of `state` are told the same, and one that compares them sees no
//! difference. (runc does so for hooks and agents; crun and youki for `state`, too.)

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::OCI_VERSION;
use crate::model::{Id, Phase};

/// What never changes in it.
#[derive(Debug, Clone)]
pub struct OciState {
    id: String,
    bundle: String,
    annotations: BTreeMap<String, String>,
}

impl OciState {
    /// Of the container of this id; phase and pid come with each document.
    pub fn new<'a>(
        id: &Id,
        bundle: &Path,
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> OciState {
        OciState {
            id: id.to_string(),
            // `load` lets no bundle in that is no text; of one that has got here by another way JSON shows U+FFFD.
            bundle: bundle.to_string_lossy().into_owned(),
            annotations: annotations.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    /// While nothing is recorded of it but its id.
    pub fn of_unborn(id: &str) -> OciState {
        OciState { id: id.to_owned(), bundle: String::new(), annotations: BTreeMap::new() }
    }

    /// `pid`: of the container's init, as the reader sees it; 0 where there is none.
    pub fn document(&self, phase: Phase, pid: i32) -> Value {
        json!({
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "status": phase.oci_status(),
            "pid": pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        })
    }
}

/// The same document for a reader inside the container, to whom the pid has another number.
pub fn restated(document: &[u8], phase: Phase, pid: i32) -> serde_json::Result<Vec<u8>> {
    let mut state: Value = serde_json::from_slice(document)?;
    state["status"] = phase.oci_status().into();
    state["pid"] = pid.into();
    serde_json::to_vec(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> OciState {
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        OciState::new(&Id::parse("web").unwrap(), Path::new("/bundle"), &annotations)
    }

    #[test]
    fn it_says_what_the_specification_requires_and_its_own_version() {
        let expected = json!({
            "ociVersion": OCI_VERSION, "id": "web", "status": "created", "pid": 7, "bundle": "/bundle",
            "annotations": {"a": "b"},
        });
        assert_eq!(state().document(Phase::Booted, 7), expected);
    }

    #[test]
    fn inside_the_container_nothing_but_the_status_and_the_pid_is_another() {
        let outside = state().document(Phase::Creating, 400).to_string();
        let inside = restated(outside.as_bytes(), Phase::Booted, 1).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&inside).unwrap(), state().document(Phase::Booted, 1));
        assert!(restated(b"", Phase::Booted, 1).is_err());
    }
}
