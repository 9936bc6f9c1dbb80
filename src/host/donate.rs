//! What a container needs of the host, opened here with the caller's privileges and donated as descriptors.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::{HostError, Trying};
use crate::container::seccomp;
use crate::spec::plan::{MountKind, MountPlan, Plan, RootfsPlan};
use crate::store::Root;
use crate::sys::mount::{self, Attributes, Extent};

/// The seccomp profile as a program: compiled once for all containers of this root that have the same.
pub fn seccomp(plan: &Plan, root: &Root) -> Result<Option<seccomp::Program>, HostError> {
    let Some(profile) = &plan.seccomp else { return Ok(None) };
    let name = seccomp::fingerprint(profile);
    let kept = name.as_ref().and_then(|name| root.cached(name)).and_then(|bytes| seccomp::Program::from_bytes(&bytes));
    if kept.is_some() {
        return Ok(kept);
    }
    let program = seccomp::compile(profile)?;
    if let Some(name) = name {
        // Without it the next one compiles again, that is all.
        let _ = root.cache(&name, &program.to_bytes());
    }
    Ok(Some(program))
}

/// The rootfs and everything below it, as a detached tree whose mounts never reach the host.
pub fn rootfs(plan: &RootfsPlan) -> Result<OwnedFd, HostError> {
    let what = || format!("open the rootfs {:?}", plan.path);
    let tree = clone_path(&plan.path, Extent::Tree, 0).trying(what)?;
    let attributes = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
    mount::set_attributes(tree.as_fd(), Extent::Tree, attributes, None).trying(what)?;
    Ok(tree)
}

/// One detached tree per bind mount, in the order of the spec; None for other mounts.
pub fn binds(plan: &Plan) -> Result<Vec<Option<OwnedFd>>, HostError> {
    plan.mounts.iter().map(bind).collect()
}

fn bind(plan: &MountPlan) -> Result<Option<OwnedFd>, HostError> {
    let MountKind::Bind { source, recursive } = &plan.kind else { return Ok(None) };
    if plan.idmap.is_some() {
        let text = format!("mount {:?}: idmapped mounts are not supported by this version", plan.destination);
        return Err(HostError::Container { text, exit_code: 1 });
    }
    let what = || format!("open the source {source:?} of the bind mount at {:?}", plan.destination);
    let extent = if *recursive { Extent::Tree } else { Extent::One };
    let follow = if plan.source_nofollow { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let tree = clone_path(source, extent, follow).trying(what)?;
    // Left shared, what the container mounts below it would appear on the host (measured).
    let shared = plan.propagation.iter().any(|flags| flags & libc::MS_SHARED != 0);
    if !shared {
        let attributes = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
        mount::set_attributes(tree.as_fd(), Extent::Tree, attributes, None).trying(what)?;
    }
    if plan.attrs_set != 0 || plan.attrs_clear != 0 {
        let attributes = Attributes { set: plan.attrs_set, clear: plan.attrs_clear, propagation: 0 };
        mount::set_attributes(tree.as_fd(), Extent::One, attributes, None)
            .trying(|| format!("set the attributes of the bind mount at {:?}", plan.destination))?;
    }
    Ok(Some(tree))
}

fn clone_path(path: &Path, extent: Extent, flags: i32) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(io::Error::other)?;
    let top = std::fs::File::open("/")?;
    mount::clone_tree(top.as_fd(), &name, extent, flags)
}
