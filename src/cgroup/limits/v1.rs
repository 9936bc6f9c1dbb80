//! The settings of v1. A zero means "not set", as with every other runtime; -1 means "no limit".

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::both::{hugepage_settings, number_of_weighted, pids_setting, rdma_settings, throttles};
use super::setting::{Need, Setting, bad};
use crate::cgroup::{Error, Result};

pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut all)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut all);
    }
    if let Some(pids) = resources.pids() {
        all.extend(pids_setting(pids));
    }
    if let Some(io) = resources.block_io() {
        block_io_settings(io, &mut all);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        all.extend(hugepage_settings(limit, ["limit_in_bytes", "rsvd.limit_in_bytes"])?);
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id() {
            all.push(Setting::new("net_cls", "network.classID", "net_cls.classid", class));
        }
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            all.push(Setting::new("net_prio", "network.priorities", "net_prio.ifpriomap", value));
        }
    }
    rdma_settings(resources, &mut all)?;
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return Err(Error::OnlyV2 { field: "unified" });
    }
    Ok(all)
}

/// `kernel` is ignored, and `kernelTCP` where it is not there any more: kernels dropped them.
fn memory_settings(memory: &LinuxMemory, all: &mut Vec<Setting>) -> Result<()> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    // No limit on memory, but an old one on memory and swap together, would be refused.
    let swap = memory.swap().filter(|swap| *swap != 0).or(limit.filter(|limit| *limit == -1));
    let swap_need = if memory.swap().is_some() { Need::Must } else { Need::IfThere };
    for (field, file, value, need) in [
        ("memory.limit", "memory.limit_in_bytes", limit, Need::Must),
        ("memory.swap", "memory.memsw.limit_in_bytes", swap, swap_need),
        ("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation(), Need::Must),
        ("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp(), Need::IfThere),
    ] {
        match value {
            None | Some(0) => {}
            Some(value @ -1..) => all.push(Setting { need, ..Setting::new("memory", field, file, value) }),
            Some(value) => return bad(field, value, "give a number of bytes, or -1 for no limit"),
        }
    }
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (limit, swap)
        && swap < limit
    {
        return bad("memory.swap", swap, "it is memory and swap together, so it cannot be below memory.limit");
    }
    match memory.swappiness() {
        Some(value @ 0..=100) => {
            all.push(Setting::new("memory", "memory.swappiness", "memory.swappiness", value));
        }
        Some(value) => return bad("memory.swappiness", value, "give 0 to 100"),
        None => {}
    }
    if memory.disable_oom_killer() == Some(true) {
        all.push(Setting::new("memory", "memory.disableOOMKiller", "memory.oom_control", 1));
    }
    Ok(())
}

fn cpu_settings(cpu: &LinuxCpu, all: &mut Vec<Setting>) {
    let number = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let signed = |value: Option<i64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    for (controller, field, file, value) in [
        ("cpu", "cpu.shares", "cpu.shares", number(cpu.shares())),
        ("cpu", "cpu.period", "cpu.cfs_period_us", number(cpu.period())),
        ("cpu", "cpu.quota", "cpu.cfs_quota_us", signed(cpu.quota())),
        ("cpu", "cpu.burst", "cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string())),
        ("cpu", "cpu.realtimePeriod", "cpu.rt_period_us", number(cpu.realtime_period())),
        ("cpu", "cpu.realtimeRuntime", "cpu.rt_runtime_us", signed(cpu.realtime_runtime())),
        ("cpu", "cpu.idle", "cpu.idle", cpu.idle().map(|idle| idle.to_string())),
        ("cpuset", "cpu.cpus", "cpuset.cpus", cpu.cpus().clone().filter(|cpus| !cpus.is_empty())),
        ("cpuset", "cpu.mems", "cpuset.mems", cpu.mems().clone().filter(|mems| !mems.is_empty())),
    ] {
        all.extend(value.map(|value| Setting::new(controller, field, file, value)));
    }
}

fn block_io_settings(io: &LinuxBlockIo, all: &mut Vec<Setting>) {
    let either = |field: &str, files: [&str; 2], value: String| Setting {
        files: files.map(str::to_owned).into(),
        ..Setting::new("blkio", field, "", value)
    };
    if let Some(weight @ 1..) = io.weight() {
        all.push(either("blockIO.weight", ["blkio.weight", "blkio.bfq.weight"], weight.to_string()));
    }
    if let Some(weight @ 1..) = io.leaf_weight() {
        all.push(Setting::new("blkio", "blockIO.leafWeight", "blkio.leaf_weight", weight));
    }
    for device in io.weight_device().iter().flatten() {
        let of = |weight: u16| format!("{} {weight}", number_of_weighted(device));
        if let Some(weight @ 1..) = device.weight() {
            let files = ["blkio.weight_device", "blkio.bfq.weight_device"];
            all.push(either("blockIO.weightDevice", files, of(weight)));
        }
        if let Some(weight @ 1..) = device.leaf_weight() {
            all.push(Setting::new("blkio", "blockIO.weightDevice", "blkio.leaf_weight_device", of(weight)));
        }
    }
    for (field, kind, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            all.push(Setting::new("blkio", field, &format!("blkio.throttle.{}_device", kind.v1()), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Vec<(String, String)>> {
        let resources = serde_json::from_str(json).unwrap();
        Ok(settings(&resources)?.into_iter().map(|s| (s.files.join("|"), s.value)).collect())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_resource_becomes_a_value_for_its_file() {
        let found = of(r#"{
            "memory": {"limit": 1000, "swap": 2000, "reservation": 500, "swappiness": 0, "disableOOMKiller": true},
            "cpu": {"shares": 512, "quota": -1, "period": 50000, "burst": 0, "idle": 1, "cpus": "0-1", "mems": "0"},
            "pids": {"limit": 7},
            "blockIO": {"weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 20}],
                        "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 9}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
            "network": {"classID": 3, "priorities": [{"name": "eth0", "priority": 2}]},
            "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}}}"#);
        let expected = pairs(&[
            ("memory.limit_in_bytes", "1000"),
            ("memory.memsw.limit_in_bytes", "2000"),
            ("memory.soft_limit_in_bytes", "500"),
            ("memory.swappiness", "0"),
            ("memory.oom_control", "1"),
            ("cpu.shares", "512"),
            ("cpu.cfs_period_us", "50000"),
            ("cpu.cfs_quota_us", "-1"),
            ("cpu.cfs_burst_us", "0"),
            ("cpu.idle", "1"),
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("pids.max", "7"),
            ("blkio.weight|blkio.bfq.weight", "100"),
            ("blkio.weight_device|blkio.bfq.weight_device", "8:0 20"),
            ("blkio.throttle.read_bps_device", "8:1 9"),
            ("hugetlb.2MB.limit_in_bytes", "4"),
            ("hugetlb.2MB.rsvd.limit_in_bytes", "4"),
            ("net_cls.classid", "3"),
            ("net_prio.ifpriomap", "eth0 2"),
            ("rdma.max", "mlx hca_handle=1 hca_object=2"),
        ]);
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn nothing_asked_is_nothing_written_and_zero_is_not_asked() {
        assert_eq!(of("{}").unwrap(), []);
        let zeros = r#"{"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""},
                        "pids": {"limit": 0}, "blockIO": {"weight": 0}}"#;
        assert_eq!(of(zeros).unwrap(), []);
    }

    #[test]
    fn no_limit_on_memory_also_lifts_the_one_on_swap() {
        let expected = pairs(&[("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")]);
        assert_eq!(of(r#"{"memory": {"limit": -1}}"#).unwrap(), expected);
        assert_eq!(of(r#"{"pids": {"limit": -1}}"#).unwrap(), pairs(&[("pids.max", "max")]));
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused_by_field() {
        for (json, field) in [
            (r#"{"memory": {"limit": -2}}"#, "memory.limit"),
            (r#"{"memory": {"limit": 2000, "swap": 1000}}"#, "memory.swap"),
            (r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness"),
            (r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#, "hugepageLimits.pageSize"),
            (r#"{"hugepageLimits": [{"pageSize": "MB", "limit": 1}]}"#, "hugepageLimits.pageSize"),
            (r#"{"rdma": {"a b": {}}}"#, "rdma"),
        ] {
            let message = of(json).unwrap_err().to_string();
            assert!(message.starts_with(&format!("cannot set {field}:")), "{json}: {message}");
        }
        let message = of(r#"{"unified": {"memory.max": "1"}}"#).unwrap_err().to_string();
        assert!(message.starts_with("invalid configuration: cannot set unified:"), "{message}");
    }
}
