//! Capability sets as bits, brought to what the kernel can hold (capabilities(7)).

use std::str::FromStr;

use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use super::plan::{CapabilitySets, ProcessPlan};
use super::{Host, SpecError, check};

/// No `capabilities` property means none at all.
pub(super) fn plan(
    given: Option<&LinuxCapabilities>,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<CapabilitySets, SpecError> {
    let Some(given) = given else { return Ok(CapabilitySets::default()) };
    let mut bits = |name: &str, set: &Option<Capabilities>| bits(name, set.as_ref(), host, warnings);
    let mut sets = CapabilitySets {
        bounding: bits("bounding", given.bounding())?,
        effective: bits("effective", given.effective())?,
        inheritable: bits("inheritable", given.inheritable())?,
        permitted: bits("permitted", given.permitted())?,
        ambient: bits("ambient", given.ambient())?,
    };
    let beyond = sets.effective & !sets.permitted;
    if beyond != 0 {
        let problem = format!("{} not in process.capabilities.permitted", names(beyond));
        return Err(SpecError::invalid("process.capabilities.effective", problem));
    }
    let beyond = sets.ambient & !(sets.permitted & sets.inheritable);
    if beyond != 0 {
        let cause = "not both permitted and inheritable; ignored";
        warnings.push(format!("process.capabilities.ambient: {} {cause}", names(beyond)));
        sets.ambient &= !beyond;
    }
    Ok(sets)
}

/// `exec --cap`: what was typed must exist.
pub(super) fn bit_of(field: &str, name: &str, host: &Host) -> Result<u64, SpecError> {
    match caps::Capability::from_str(name) {
        Ok(capability) if u32::from(capability.index()) <= host.last_capability => Ok(1 << capability.index()),
        Ok(_) => Err(SpecError::invalid(field, format!("{name} is not a capability of this kernel"))),
        Err(_) => Err(SpecError::invalid(field, format!("{} is not a capability", check::quote(name)))),
    }
}

/// For a container whose root covers the host's (`--no-pivot`): with CAP_SYS_ADMIN a cover is taken off, and the host's
/// root is found below it by whoever enters the mount namespace anew. A program may gain what is in any of the sets, also
/// in a user namespace of its own.
pub fn check_covered(process: &ProcessPlan) -> Result<(), SpecError> {
    const SYS_ADMIN: u64 = 1 << 21;
    let CapabilitySets { bounding, effective, inheritable, permitted, ambient } = process.capabilities;
    if (bounding | effective | inheritable | permitted | ambient) & SYS_ADMIN == 0 {
        return Ok(());
    }
    let problem =
        "CAP_SYS_ADMIN in a container with --no-pivot could take its root off the host's, which is only covered";
    Err(SpecError::unsupported("process.capabilities", problem))
}

/// The names of the capabilities that the kernel has, by number.
pub(super) fn known(host: &Host) -> Vec<String> {
    let mut known: Vec<_> = caps::all().into_iter().filter(|c| u32::from(c.index()) <= host.last_capability).collect();
    known.sort_by_key(caps::Capability::index);
    known.iter().map(ToString::to_string).collect()
}

fn bits(name: &str, set: Option<&Capabilities>, host: &Host, warnings: &mut Vec<String>) -> Result<u64, SpecError> {
    let field = format!("process.capabilities.{name}");
    let mut bits = 0;
    for capability in set.into_iter().flatten() {
        let value = serde_json::to_value(capability).unwrap_or_default();
        let name = value.as_str().unwrap_or_default();
        let number = match caps::Capability::from_str(name) {
            Ok(capability) => u32::from(capability.index()),
            Err(_) => return Err(SpecError::invalid(field, format!("{} is not a capability", check::quote(name)))),
        };
        match number <= host.last_capability {
            true => bits |= 1 << number,
            false => warnings.push(format!("{field}: {name} is not a capability of this kernel; ignored")),
        }
    }
    Ok(bits)
}

fn names(bits: u64) -> String {
    let mut all: Vec<_> = caps::all().into_iter().filter(|c| bits & (1 << c.index()) != 0).collect();
    all.sort_by_key(caps::Capability::index);
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOST: Host = Host { rootless: false, last_capability: 37 };

    fn plan_of(value: serde_json::Value) -> (Result<CapabilitySets, SpecError>, Vec<String>) {
        let mut warnings = Vec::new();
        let given: LinuxCapabilities = serde_json::from_value(value).unwrap();
        (plan(Some(&given), &HOST, &mut warnings), warnings)
    }

    #[test]
    fn a_bit_stands_at_the_number_of_its_capability() {
        let (sets, warnings) = plan_of(json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_SYS_ADMIN"]}));
        let sets = sets.unwrap();
        assert_eq!((sets.bounding, sets.permitted, sets.effective), (0b100001, 1 << 21, 0));
        assert!(warnings.is_empty());
    }

    #[test]
    fn what_the_kernel_lacks_is_dropped_and_told() {
        let (sets, warnings) = plan_of(json!({"bounding": ["CAP_BPF"]}));
        assert_eq!(sets.unwrap().bounding, 0);
        assert!(warnings[0].contains("CAP_BPF"), "{warnings:?}");
    }

    #[test]
    fn effective_must_be_permitted_and_ambient_must_be_inheritable() {
        let (sets, _) = plan_of(json!({"effective": ["CAP_KILL"]}));
        assert!(sets.unwrap_err().to_string().contains("CAP_KILL"));
        let (sets, warnings) = plan_of(json!({"permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}));
        assert_eq!(sets.unwrap().ambient, 0);
        assert!(warnings[0].contains("ambient"), "{warnings:?}");
    }
}
