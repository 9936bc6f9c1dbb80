//! Network interfaces of the host that the container gets (runtime-spec, config-linux.md, "Network Devices").

use std::collections::HashSet;

use oci_spec::runtime::Linux;

use super::plan::{NamespaceKind, NamespacePlan, NetDevicePlan};
use super::{SpecError, check, namespaces};

pub(super) fn plan(linux: &Linux, planned: &[NamespacePlan]) -> Result<Vec<NetDevicePlan>, SpecError> {
    let Some(given) = linux.net_devices().as_ref().filter(|given| !given.is_empty()) else { return Ok(Vec::new()) };
    if namespaces::find(planned, NamespaceKind::Network).is_none() {
        return Err(SpecError::invalid("linux.netDevices", "needs a network namespace of the container's own"));
    }
    let mut devices = Vec::with_capacity(given.len());
    for (name, device) in given {
        let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
        interface_name("linux.netDevices", name)?;
        interface_name(&format!("linux.netDevices.{name}.name"), inside)?;
        devices.push(NetDevicePlan { host_name: name.clone(), name: inside.to_owned() });
    }
    devices.sort_by(|one, other| one.host_name.cmp(&other.host_name));
    let mut names = HashSet::new();
    for device in &devices {
        if !names.insert(&device.name) {
            let problem = format!("{} is the name of another one already", check::quote(&device.name));
            return Err(SpecError::invalid(format!("linux.netDevices.{}.name", device.host_name), problem));
        }
    }
    Ok(devices)
}

/// As the kernel takes it (dev_valid_name).
fn interface_name(field: &str, name: &str) -> Result<(), SpecError> {
    /// IFNAMSIZ, with its final NUL.
    const SIZE: usize = 16;
    let forbidden = |c: char| c == '/' || c == ':' || c == '%' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.len() >= SIZE || name == "." || name == ".." || name.contains(forbidden) {
        let problem = format!("{} is not the name of a network interface", check::quote(name));
        return Err(SpecError::invalid(field, problem));
    }
    Ok(())
}
