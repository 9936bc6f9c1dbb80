//! Namespaces: those that a plan joins, those that it makes, and those in which a container differs from us.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::CloneFlags;

use super::{HostError, Trying};
use crate::container::forgiven;
use crate::spec::plan::{NamespaceKind, Plan};

/// Namespaces joined by path, the user namespace first: it decides what we may do to the others.
pub fn open_joined(plan: &Plan) -> Result<Vec<(NamespaceKind, OwnedFd)>, HostError> {
    let mut opened = Vec::new();
    for namespace in &plan.namespaces {
        if let Some(path) = &namespace.path {
            let file = std::fs::File::open(path)
                .trying(|| format!("open the {} namespace {path:?} to join it", namespace.kind))?;
            opened.push((namespace.kind, file.into()));
        }
    }
    opened.sort_by_key(|(kind, _)| *kind != NamespaceKind::User);
    Ok(opened)
}

/// The offsets of a new time namespace, as /proc/self/timens_offsets takes them (time_namespaces(7)).
pub fn new_time_offsets(plan: &Plan) -> Option<String> {
    plan.namespaces.iter().find(|n| n.kind == NamespaceKind::Time && n.path.is_none())?;
    let lines = plan.time_offsets.iter().map(|(clock, seconds, nanos)| format!("{clock} {seconds} {nanos}\n"));
    Some(lines.collect())
}

/// The CLONE_NEW* bit of a kind.
pub fn flag(kind: NamespaceKind) -> CloneFlags {
    match kind {
        NamespaceKind::User => CloneFlags::CLONE_NEWUSER,
        NamespaceKind::Pid => CloneFlags::CLONE_NEWPID,
        NamespaceKind::Network => CloneFlags::CLONE_NEWNET,
        NamespaceKind::Ipc => CloneFlags::CLONE_NEWIPC,
        NamespaceKind::Uts => CloneFlags::CLONE_NEWUTS,
        NamespaceKind::Mount => CloneFlags::CLONE_NEWNS,
        NamespaceKind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        NamespaceKind::Time => CloneFlags::from_bits_retain(libc::CLONE_NEWTIME),
    }
}

/// The namespaces of a container that an exec enters: all that it does not share with us, but the PID namespace.
pub fn differing(pid: i32) -> Result<CloneFlags, HostError> {
    const NAMES: [(&str, NamespaceKind); 7] = [
        ("user", NamespaceKind::User),
        ("mnt", NamespaceKind::Mount),
        ("net", NamespaceKind::Network),
        ("ipc", NamespaceKind::Ipc),
        ("uts", NamespaceKind::Uts),
        ("cgroup", NamespaceKind::Cgroup),
        ("time", NamespaceKind::Time),
    ];
    let mut flags = CloneFlags::empty();
    for (name, kind) in NAMES {
        let of = |process: &str| std::fs::read_link(Path::new("/proc").join(process).join("ns").join(name));
        let ours = match of("self") {
            Err(error) if forgiven::NO_SUCH_NAMESPACE.covers(&error) => continue,
            other => other.trying(|| format!("read our own {name} namespace"))?,
        };
        let theirs = of(&pid.to_string()).trying(|| format!("read the {name} namespace of process {pid}"))?;
        if ours != theirs {
            flags |= flag(kind);
        }
    }
    Ok(flags)
}
