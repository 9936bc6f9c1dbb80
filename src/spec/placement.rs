//! Where a process runs and where its memory comes from: CPU affinity, NUMA policy, and the personality that it runs in.

use oci_spec::runtime::{ExecCPUAffinity, Linux, LinuxPersonalityDomain, MemoryPolicyFlagType, MemoryPolicyModeType};

use super::plan::{AffinityPlan, MemoryPolicyPlan};
use super::{SpecError, check};

/// More CPUs than any kernel is built for.
const MOST_CPUS: usize = 8192;
/// The same of NUMA nodes (MAX_NUMNODES).
const MOST_NODES: usize = 1024;

/// What `exec` does; a container's init has its cgroup's CPUs.
pub(super) fn affinity(given: Option<&ExecCPUAffinity>) -> Result<AffinityPlan, SpecError> {
    let Some(given) = given else { return Ok(AffinityPlan::default()) };
    let list = |name: &str, text: Option<&str>| match text {
        None | Some("") => Ok(Vec::new()),
        Some(text) => set(&format!("process.execCPUAffinity.{name}"), text, MOST_CPUS),
    };
    Ok(AffinityPlan {
        initial: list("initial", given.initial().as_deref())?,
        last: list("final", given.cpu_affinity_final().as_deref())?,
    })
}

/// As set_mempolicy(2) will judge it.
pub(super) fn memory_policy(linux: &Linux) -> Result<Option<MemoryPolicyPlan>, SpecError> {
    let Some(given) = linux.memory_policy() else { return Ok(None) };
    let field = |name: &str| format!("linux.memoryPolicy.{name}");
    let nodes = match given.nodes().as_deref() {
        None | Some("") => Vec::new(),
        Some(text) => set(&field("nodes"), text, MOST_NODES)?,
    };
    let (mode, wants_nodes) = match given.mode() {
        MemoryPolicyModeType::MpolDefault => (0, Some(false)),
        MemoryPolicyModeType::MpolPreferred => (1, None),
        MemoryPolicyModeType::MpolBind => (2, Some(true)),
        MemoryPolicyModeType::MpolInterleave => (3, Some(true)),
        MemoryPolicyModeType::MpolLocal => (4, Some(false)),
        MemoryPolicyModeType::MpolPreferredMany => (5, Some(true)),
        MemoryPolicyModeType::MpolWeightedInterleave => (6, Some(true)),
    };
    match (wants_nodes, nodes.is_empty()) {
        (Some(true), true) => {
            return Err(SpecError::invalid(field("nodes"), format!("is missing: {} needs them", given.mode())));
        }
        (Some(false), false) => {
            return Err(SpecError::invalid(field("nodes"), format!("{} takes none", given.mode())));
        }
        _ => {}
    }
    let flags = given.flags().iter().flatten().fold(0, |bits, flag| bits | flag_bit(*flag));
    if flags != 0 && wants_nodes == Some(false) {
        return Err(SpecError::invalid(field("flags"), format!("{} takes none", given.mode())));
    }
    let exclusive =
        flag_bit(MemoryPolicyFlagType::MpolFStaticNodes) | flag_bit(MemoryPolicyFlagType::MpolFRelativeNodes);
    if flags & exclusive == exclusive {
        let problem = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        return Err(SpecError::invalid(field("flags"), problem));
    }
    Ok(Some(MemoryPolicyPlan { mode: mode | flags, nodes }))
}

fn flag_bit(flag: MemoryPolicyFlagType) -> u32 {
    match flag {
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
    }
}

/// Every mode and flag that [`memory_policy`] takes, for `features`.
pub(super) fn memory_policy_words() -> (Vec<String>, Vec<String>) {
    use {MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};
    let modes = [
        Mode::MpolBind,
        Mode::MpolDefault,
        Mode::MpolInterleave,
        Mode::MpolLocal,
        Mode::MpolPreferred,
        Mode::MpolPreferredMany,
        Mode::MpolWeightedInterleave,
    ];
    let flags = [Flag::MpolFNumaBalancing, Flag::MpolFRelativeNodes, Flag::MpolFStaticNodes];
    (modes.iter().map(ToString::to_string).collect(), flags.iter().map(ToString::to_string).collect())
}

/// personality(2)'s domain and flags; the specification leaves the names of flags to the kernel.
pub(super) fn personality(linux: &Linux) -> Result<Option<u64>, SpecError> {
    const FLAGS: [(&str, u64); 11] = [
        ("ADDR_COMPAT_LAYOUT", 0x0200000),
        ("ADDR_LIMIT_32BIT", 0x0800000),
        ("ADDR_LIMIT_3GB", 0x8000000),
        ("ADDR_NO_RANDOMIZE", 0x0040000),
        ("FDPIC_FUNCPTRS", 0x0080000),
        ("MMAP_PAGE_ZERO", 0x0100000),
        ("READ_IMPLIES_EXEC", 0x0400000),
        ("SHORT_INODE", 0x1000000),
        ("STICKY_TIMEOUTS", 0x4000000),
        ("UNAME26", 0x0020000),
        ("WHOLE_SECONDS", 0x2000000),
    ];
    let Some(personality) = linux.personality() else { return Ok(None) };
    let mut persona = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    for (index, word) in personality.flags().iter().flatten().enumerate() {
        let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == word) else {
            let problem = format!("{} is not a flag of personality(2)", check::quote(word));
            return Err(SpecError::invalid(format!("linux.personality.flags[{index}]"), problem));
        };
        persona |= bit;
    }
    Ok(Some(persona))
}

/// `0-3,7` as a bit mask, lowest word first.
fn set(field: &str, text: &str, most: usize) -> Result<Vec<u64>, SpecError> {
    let wrong = || SpecError::invalid(field, format!("{} is not a list such as 0-3,7", check::quote(text)));
    let number = |part: &str| match part.trim() {
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<usize>().ok()
        }
        _ => None,
    };
    let mut mask: Vec<u64> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = number(first).zip(number(last)).ok_or_else(wrong)?;
        if first > last {
            return Err(SpecError::invalid(field, format!("{} runs backwards", check::quote(part.trim()))));
        }
        if last >= most {
            return Err(SpecError::invalid(field, format!("{last} is above {}, the highest there can be", most - 1)));
        }
        mask.resize(mask.len().max(last / 64 + 1), 0);
        (first..=last).for_each(|bit| mask[bit / 64] |= 1 << (bit % 64));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_list_is_a_mask() {
        assert_eq!(set("f", "0-2, 5,64", 100).unwrap(), [0b100111, 1]);
        for wrong in ["", ",", "a", "1-", "-1", "1-2-3", "3-1", "100", "0x1", "+1", "18446744073709551616"] {
            assert!(set("f", wrong, 100).is_err(), "{wrong:?}");
        }
    }

    fn linux(value: Value) -> Linux {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_memory_policy_is_judged_as_the_kernel_will() {
        let plan = |value| memory_policy(&linux(json!({"memoryPolicy": value})));
        let bind =
            plan(json!({"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]})).unwrap().unwrap();
        assert_eq!((bind.mode, bind.nodes), (2 | 1 << 15, vec![3]));
        assert!(plan(json!({"mode": "MPOL_LOCAL"})).unwrap().unwrap().nodes.is_empty());
        assert!(plan(json!({"mode": "MPOL_PREFERRED"})).is_ok());
        for (wrong, field) in [
            (json!({"mode": "MPOL_BIND"}), "nodes"),
            (json!({"mode": "MPOL_DEFAULT", "nodes": "0"}), "nodes"),
            (json!({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]}), "flags"),
            (json!({"mode": "MPOL_BIND", "nodes": "1024"}), "nodes"),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                "flags",
            ),
        ] {
            let error = plan(wrong.clone()).unwrap_err();
            assert_eq!(error.field(), Some(format!("linux.memoryPolicy.{field}").as_str()), "{wrong}");
        }
    }

    #[test]
    fn a_personality_has_a_domain_and_the_kernels_flags() {
        let plan = |value| personality(&linux(json!({"personality": value})));
        let given = json!({"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE", "UNAME26"]});
        assert_eq!(plan(given).unwrap(), Some(0x0060008));
        let error = plan(json!({"domain": "LINUX", "flags": ["UNAME26", "X"]})).unwrap_err();
        assert_eq!(error.field(), Some("linux.personality.flags[1]"));
    }
}
