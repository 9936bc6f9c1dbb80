//! The id mappings of a new user namespace, written from outside it (user_namespaces(7)).

use std::path::PathBuf;
use std::process::Command;

use super::{HostError, Trying};
use crate::spec::plan::{IdMapping, Plan};

/// Maps the user namespace of the process `pid`. As an ordinary user through newuidmap and newgidmap.
pub fn write(pid: i32, plan: &Plan) -> Result<(), HostError> {
    if nix::unistd::geteuid().is_root() {
        write_map(pid, "uid_map", &plan.uid_mappings)?;
        return write_map(pid, "gid_map", &plan.gid_mappings);
    }
    run_helper("newuidmap", pid, &plan.uid_mappings)?;
    run_helper("newgidmap", pid, &plan.gid_mappings)
}

fn write_map(pid: i32, name: &str, mappings: &[IdMapping]) -> Result<(), HostError> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    let lines: String = mappings.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect();
    std::fs::write(&path, &lines).trying(|| format!("write the mappings {:?} to {path:?}", lines.trim()))
}

fn run_helper(program: &str, pid: i32, mappings: &[IdMapping]) -> Result<(), HostError> {
    let numbers = mappings.iter().flat_map(|m| [m.container, m.host, m.size]).map(|number| number.to_string());
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .output()
        .trying(|| format!("run {program} (package uidmap) to map the user namespace"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Err(HostError::Container { text, exit_code: 1 })
}
