//! Which namespaces a container gets, new or joined, and the clocks of a new time namespace.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::plan::{NamespaceKind, NamespacePlan};
use super::{SpecError, check};

pub(super) fn plan(linux: &Linux) -> Result<Vec<NamespacePlan>, SpecError> {
    let mut planned: Vec<NamespacePlan> = Vec::new();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let kind = kind(namespace.typ());
        if planned.iter().any(|earlier| earlier.kind == kind) {
            let problem = format!("a second {} namespace; each type may be given once", kind.name());
            return Err(SpecError::invalid(format!("linux.namespaces[{index}].type"), problem));
        }
        let path = match namespace.path().as_deref() {
            None => None,
            Some(path) if path == Path::new("") => None,
            Some(path) => Some(check::absolute(&format!("linux.namespaces[{index}].path"), path)?),
        };
        planned.push(NamespacePlan { kind, path });
    }
    Ok(planned)
}

pub(super) fn find(namespaces: &[NamespacePlan], kind: NamespaceKind) -> Option<&NamespacePlan> {
    namespaces.iter().find(|namespace| namespace.kind == kind)
}

/// Whether the container gets a new namespace of this kind.
pub(super) fn is_new(namespaces: &[NamespacePlan], kind: NamespaceKind) -> bool {
    find(namespaces, kind).is_some_and(|namespace| namespace.path.is_none())
}

/// Offsets can only be written before the first process enters a time namespace, so only into a new one.
pub(super) fn time_offsets(linux: &Linux, namespaces: &[NamespacePlan]) -> Result<Vec<(String, i64, u32)>, SpecError> {
    let mut planned = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        let field = format!("linux.timeOffsets.{clock}");
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            let problem = format!("{} is not a clock: use monotonic or boottime", check::quote(clock));
            return Err(SpecError::invalid("linux.timeOffsets", problem));
        }
        if !is_new(namespaces, NamespaceKind::Time) {
            return Err(SpecError::invalid(field, "needs a new time namespace in linux.namespaces"));
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            return Err(SpecError::invalid(field, format!("nanosecs {nanoseconds} is a second or more")));
        }
        planned.push((clock.clone(), offset.secs().unwrap_or(0), nanoseconds));
    }
    planned.sort();
    Ok(planned)
}

/// Of every type that a container can have, in alphabetical order.
pub(super) fn names() -> Vec<&'static str> {
    use NamespaceKind::*;
    let mut names = [User, Pid, Network, Ipc, Uts, Mount, Cgroup, Time].map(NamespaceKind::name).to_vec();
    names.sort_unstable();
    names
}

fn kind(typ: LinuxNamespaceType) -> NamespaceKind {
    match typ {
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}
