//! Id mappings: of a container's new user namespace, written from outside it (user_namespaces(7)), and of mounts.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use super::{HostError, Trying};
use crate::container::channel;
use crate::spec::plan::{IdMapping, Plan};
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::{descriptors, pidfd};

/// Maps the user namespace of the process `pid`. As an ordinary user through newuidmap and newgidmap.
pub fn write(pid: i32, plan: &Plan) -> Result<(), HostError> {
    if nix::unistd::geteuid().is_root() {
        write_map(pid, "uid_map", &plan.uid_mappings)?;
        return write_map(pid, "gid_map", &plan.gid_mappings);
    }
    run_helper("newuidmap", pid, &plan.uid_mappings)?;
    run_helper("newgidmap", pid, &plan.gid_mappings)
}

/// A user namespace that nobody lives in: it only carries mappings, for mount_setattr(2).
pub fn namespace_for(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, HostError> {
    let what = || "make a user namespace for an idmapped mount".to_owned();
    let (ours, theirs) = channel::pair().trying(what)?;
    let Cloned::Parent { pid, pidfd } = clone::clone(libc::CLONE_NEWUSER, Parent::Me, None).trying(what)? else {
        // It lives until we have what we need, or are gone, and holds none of our locks meanwhile.
        let _ = descriptors::close_others(&[theirs.as_raw_fd()]);
        let _ = channel::next_order(theirs.as_fd());
        clone::exit_now(0)
    };
    drop(theirs);
    let namespace = write_map(pid, "uid_map", uids)
        .and_then(|()| write_map(pid, "gid_map", gids))
        .and_then(|()| std::fs::File::open(format!("/proc/{pid}/ns/user")).trying(what));
    drop(ours);
    pidfd::wait_exit(pidfd.as_fd(), None).and_then(|_| pidfd::wait_child(pidfd.as_fd())).trying(what)?;
    Ok(namespace?.into())
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
