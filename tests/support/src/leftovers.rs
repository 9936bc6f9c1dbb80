//! What is left on the machine: `tests/scripts/leftovers` looks, so that a person can ask the same question.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// One line for each process, cgroup, mount, file or socket left that belongs to this root or bears this tag.
pub fn of(root: &Path, tag: &str) -> Vec<String> {
    let script = crate::project().join("tests/scripts/leftovers");
    let output = Command::new("bash").args([script.as_os_str(), root.as_os_str(), OsStr::new(tag)]).output();
    let output = output.expect("run tests/scripts/leftovers");
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(!lines.is_empty())), "leftovers: {told}{lines:?}");
    lines
}
