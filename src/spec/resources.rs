//! The limits of the container's cgroup: what no cgroup version could take is refused here; what only this host's
//! cannot, when it is applied.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources};

use super::{SpecError, check};

/// `prefix` is `linux.resources`, or nothing for the file of `update`.
pub(super) fn check(prefix: &str, resources: &LinuxResources) -> Result<(), SpecError> {
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        device_rule(&format!("{prefix}.devices[{index}]"), rule)?;
    }
    if let Some(memory) = resources.memory() {
        check_memory(&format!("{prefix}.memory"), memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(&format!("{prefix}.cpu"), cpu)?;
    }
    if let Some(pids) = resources.pids() {
        at_least(&format!("{prefix}.pids.limit"), Some(pids.limit()), -1)?;
    }
    if let Some(block_io) = resources.block_io() {
        check_block_io(&format!("{prefix}.blockIO"), block_io)?;
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let field = format!("{prefix}.hugepageLimits[{index}]");
        at_least(&format!("{field}.limit"), Some(limit.limit()), 0)?;
        if !is_page_size(limit.page_size()) {
            let problem = format!("{} is not a page size such as 2MB or 1GB", check::quote(limit.page_size()));
            return Err(SpecError::invalid(format!("{field}.pageSize"), problem));
        }
    }
    for (key, value) in resources.unified().iter().flatten() {
        let field = format!("{prefix}.unified[{}]", check::quote(key));
        check::text(&field, value)?;
        if key.contains(['/', '\0']) || !key.contains('.') || key.starts_with('.') {
            return Err(SpecError::invalid(field, "is not the name of a cgroup file, such as memory.high"));
        }
    }
    Ok(())
}

/// `linux.cgroupsPath`: a path, or `slice:prefix:name`; never out of the tree that it is below.
pub(super) fn cgroups_path(given: &str) -> Result<Option<String>, SpecError> {
    const FIELD: &str = "linux.cgroupsPath";
    check::text(FIELD, given)?;
    if given.split('/').any(|part| part == "..") {
        return Err(SpecError::invalid(FIELD, format!("{} contains \"..\"", check::quote(given))));
    }
    Ok((!given.is_empty()).then(|| given.to_owned()))
}

fn device_rule(field: &str, rule: &LinuxDeviceCgroup) -> Result<(), SpecError> {
    if let Some(LinuxDeviceType::U | LinuxDeviceType::P) = rule.typ() {
        return Err(SpecError::invalid(format!("{field}.type"), "a rule is for a, b or c"));
    }
    at_least(&format!("{field}.major"), rule.major(), -1)?;
    at_least(&format!("{field}.minor"), rule.minor(), -1)?;
    let access = rule.access().as_deref().unwrap_or_default();
    // runc takes an `a` in it, and makes nothing of it.
    match !access.contains(['r', 'w', 'm']) || access.chars().any(|c| !"rwma".contains(c)) {
        true => {
            let problem = format!("{} is not made of r, w and m", check::quote(access));
            Err(SpecError::invalid(format!("{field}.access"), problem))
        }
        false => Ok(()),
    }
}

fn check_memory(field: &str, memory: &LinuxMemory) -> Result<(), SpecError> {
    at_least(&format!("{field}.limit"), memory.limit(), -1)?;
    at_least(&format!("{field}.reservation"), memory.reservation(), -1)?;
    at_least(&format!("{field}.swap"), memory.swap(), -1)?;
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (memory.limit(), memory.swap())
        && swap < limit
    {
        let problem = format!("{swap} is memory and swap together: it cannot be below the limit {limit}");
        return Err(SpecError::invalid(format!("{field}.swap"), problem));
    }
    match memory.swappiness() {
        Some(swappiness) if swappiness > 100 => {
            Err(SpecError::invalid(format!("{field}.swappiness"), format!("{swappiness} is not in 0..=100")))
        }
        _ => Ok(()),
    }
}

fn check_cpu(field: &str, cpu: &LinuxCpu) -> Result<(), SpecError> {
    at_least(&format!("{field}.quota"), cpu.quota(), -1)?;
    at_least(&format!("{field}.realtimeRuntime"), cpu.realtime_runtime(), -1)?;
    if let Some(idle) = cpu.idle().filter(|idle| ![0, 1].contains(idle)) {
        return Err(SpecError::invalid(format!("{field}.idle"), format!("{idle} is neither 0 nor 1")));
    }
    for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        let list = list.as_deref().unwrap_or_default();
        if !list.chars().all(|c| c.is_ascii_digit() || "-,:/ \n".contains(c)) {
            let problem = format!("{} is not a list such as 0-3,7", check::quote(list));
            return Err(SpecError::invalid(format!("{field}.{name}"), problem));
        }
    }
    Ok(())
}

fn check_block_io(field: &str, block_io: &LinuxBlockIo) -> Result<(), SpecError> {
    weight(&format!("{field}.weight"), block_io.weight())?;
    weight(&format!("{field}.leafWeight"), block_io.leaf_weight())?;
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let field = format!("{field}.weightDevice[{index}]");
        at_least(&format!("{field}.major"), Some(device.major()), 0)?;
        at_least(&format!("{field}.minor"), Some(device.minor()), 0)?;
        weight(&format!("{field}.weight"), device.weight())?;
        weight(&format!("{field}.leafWeight"), device.leaf_weight())?;
    }
    for (name, devices) in [
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
    ] {
        for (index, device) in devices.iter().flatten().enumerate() {
            at_least(&format!("{field}.{name}[{index}].major"), Some(device.major()), 0)?;
            at_least(&format!("{field}.{name}[{index}].minor"), Some(device.minor()), 0)?;
        }
    }
    Ok(())
}

/// 0 leaves it as it is.
fn weight(field: &str, given: Option<u16>) -> Result<(), SpecError> {
    match given {
        None | Some(0 | 10..=1000) => Ok(()),
        Some(weight) => Err(SpecError::invalid(field, format!("{weight} is not in 10..=1000"))),
    }
}

fn at_least(field: &str, given: Option<i64>, least: i64) -> Result<(), SpecError> {
    match given {
        Some(value) if value < least => Err(SpecError::invalid(field, format!("{value} is below {least}"))),
        _ => Ok(()),
    }
}

fn is_page_size(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let numbers = digits.bytes().all(|byte| byte.is_ascii_digit());
    !digits.is_empty() && numbers && !digits.starts_with('0') && ["KB", "MB", "GB"].contains(&&text[digits.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_a_number_and_a_unit() {
        assert!(["64KB", "2MB", "1GB"].into_iter().all(is_page_size));
        assert!(!["", "MB", "0MB", "2M", "2 MB", "2MB/x", "../2MB", "2TB", "é1MB"].into_iter().any(is_page_size));
    }
}
