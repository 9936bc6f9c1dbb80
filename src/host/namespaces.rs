//! Namespaces: those that a plan joins, and those in which a container differs from us.

use std::path::Path;

use nix::sched::CloneFlags;

use super::{HostError, Trying};
use crate::container::forgiven;
use crate::container::helper::flag;
use crate::container::letter::Joined;
use crate::spec::plan::{NamespaceKind, Plan};

/// Namespaces joined by path, the user namespace first: it decides what we may do to the others.
pub fn open_joined(plan: &Plan) -> Result<Vec<Joined>, HostError> {
    let mut opened = Vec::new();
    for namespace in &plan.namespaces {
        if let Some(path) = &namespace.path {
            let file = std::fs::File::open(path)
                .trying(|| format!("open the {} namespace {path:?} to join it", namespace.kind))?;
            opened.push(Joined { kind: namespace.kind, namespace: file.into() });
        }
    }
    opened.sort_by_key(|joined| joined.kind != NamespaceKind::User);
    Ok(opened)
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
