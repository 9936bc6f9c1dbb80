//! User and group id mappings, of a user namespace or of one mount, checked as the kernel will (user_namespaces(7)).

use oci_spec::runtime::{Linux, LinuxIdMapping, Spec};

use super::plan::{IdMapping, NamespaceKind, NamespacePlan};
use super::{SpecError, namespaces};

/// The kernel takes no more lines in a uid_map.
const MOST: usize = 340;

#[derive(Debug, Default)]
pub(super) struct Mappings {
    pub(super) uid: Vec<IdMapping>,
    pub(super) gid: Vec<IdMapping>,
}

/// Whether there is a new user namespace whose mappings are left to whoever makes it, those of uids or of gids.
pub fn lacks_mappings(spec: &Spec) -> bool {
    let Some(linux) = spec.linux() else { return false };
    let makes_users = namespaces::plan(linux).is_ok_and(|planned| namespaces::is_new(&planned, NamespaceKind::User));
    let none = |given: &Option<Vec<LinuxIdMapping>>| given.as_ref().is_none_or(Vec::is_empty);
    makes_users && (none(linux.uid_mappings()) || none(linux.gid_mappings()))
}

/// The mappings of the container's own new user namespace; empty if it has none, or does not say.
pub(super) fn of_container(
    linux: &Linux,
    planned: &[NamespacePlan],
    warnings: &mut Vec<String>,
) -> Result<Mappings, SpecError> {
    let uid = list("linux.uidMappings", linux.uid_mappings().as_deref())?;
    let gid = list("linux.gidMappings", linux.gid_mappings().as_deref())?;
    let given = if uid.is_empty() { "linux.gidMappings" } else { "linux.uidMappings" };
    let any = !uid.is_empty() || !gid.is_empty();
    match namespaces::find(planned, NamespaceKind::User) {
        None if any => Err(SpecError::invalid(given, "given without a user namespace in linux.namespaces")),
        None => Ok(Mappings::default()),
        Some(NamespacePlan { path: Some(path), .. }) => {
            if any {
                warnings.push(format!("{given}: ignored, the user namespace {path:?} is joined and has its own"));
            }
            Ok(Mappings::default())
        }
        Some(_) => {
            for (field, mappings) in [("linux.uidMappings", &uid), ("linux.gidMappings", &gid)] {
                // Without any, the creator gives it all the ids that it can (`host::launch::idmap::all`), as crun does.
                if mappings.is_empty() {
                    continue;
                }
                // A single id can only be the creator's own, as whom the init begins.
                let single = matches!(mappings[..], [IdMapping { size: 1, .. }]);
                if !contains(mappings, 0) && !single {
                    return Err(SpecError::invalid(field, "containerID 0 must be mapped: it sets the container up"));
                }
            }
            Ok(Mappings { uid, gid })
        }
    }
}

/// A list as the kernel takes it: no empty range, none past the last id, no overlap on either side.
pub(super) fn list(field: &str, given: Option<&[LinuxIdMapping]>) -> Result<Vec<IdMapping>, SpecError> {
    let given = given.unwrap_or_default().iter();
    let given: Vec<IdMapping> = given
        .map(|given| IdMapping { container: given.container_id(), host: given.host_id(), size: given.size() })
        .collect();
    check(field, &given).map(|()| given)
}

/// The same of what comes from elsewhere.
pub(super) fn check(field: &str, given: &[IdMapping]) -> Result<(), SpecError> {
    if given.len() > MOST {
        return Err(SpecError::invalid(field, format!("{} mappings; the kernel takes at most {MOST}", given.len())));
    }
    for (index, next) in given.iter().enumerate() {
        let at = |name: &str| format!("{field}[{index}].{name}");
        if next.size == 0 {
            return Err(SpecError::invalid(at("size"), "is 0"));
        }
        for (name, first) in [("containerID", next.container), ("hostID", next.host)] {
            if u64::from(first) + u64::from(next.size) > u64::from(u32::MAX) {
                return Err(SpecError::invalid(at(name), format!("{first} + {} is past the last id", next.size)));
            }
        }
        for (earlier_index, earlier) in given[..index].iter().enumerate() {
            let clash = [
                ("containerID", overlap(earlier.container, earlier.size, next.container, next.size)),
                ("hostID", overlap(earlier.host, earlier.size, next.host, next.size)),
            ];
            if let Some((name, _)) = clash.iter().find(|(_, overlaps)| *overlaps) {
                return Err(SpecError::invalid(at(name), format!("overlaps with {field}[{earlier_index}]")));
            }
        }
    }
    Ok(())
}

pub(super) fn contains(mappings: &[IdMapping], id: u32) -> bool {
    mappings.iter().any(|m| id >= m.container && u64::from(id) < u64::from(m.container) + u64::from(m.size))
}

/// Sums fit: `list` refuses ranges past the last id before it compares.
fn overlap(a: u32, a_size: u32, b: u32, b_size: u32) -> bool {
    a < b.saturating_add(b_size) && b < a.saturating_add(a_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        serde_json::from_value(serde_json::json!({"containerID": container, "hostID": host, "size": size})).unwrap()
    }

    #[test]
    fn neighbours_are_fine_and_overlaps_are_not() {
        assert!(list("f", Some(&[mapping(0, 1000, 10), mapping(10, 5000, 10)])).is_ok());
        assert!(list("f", Some(&[mapping(0, 1000, 10), mapping(9, 5000, 10)])).is_err());
        assert!(list("f", Some(&[mapping(0, 1000, 10), mapping(10, 1009, 10)])).is_err());
        assert!(list("f", Some(&[mapping(0, u32::MAX, 1)])).is_err());
    }

    #[test]
    fn an_id_is_mapped_from_the_first_to_the_last_of_a_range() {
        let mappings = list("f", Some(&[mapping(5, 1000, 2)])).unwrap();
        let mapped: Vec<bool> = (4..8).map(|id| contains(&mappings, id)).collect();
        assert_eq!(mapped, [false, true, true, false]);
    }
}
