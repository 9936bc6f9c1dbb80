//! The settings of v2. What the specification says in v1's words is converted as every other runtime does it: shares to a
//! weight, memory and swap together to swap alone, quota and period to one value.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::both::{hugepage_settings, number_of_weighted, pids_setting, rdma_settings, throttles};
use super::setting::{Need, Setting, bad};
use crate::cgroup::{Error, Result};

/// What a value may depend on: the cgroup that it is for.
pub(super) struct Now<'a> {
    /// The text of a file of the cgroup; None when there is no such file.
    pub read: &'a dyn Fn(&str) -> Option<String>,
}

impl Now<'_> {
    fn has(&self, file: &str) -> bool {
        (self.read)(file).is_some()
    }

    fn first_word(&self, file: &str) -> Option<String> {
        (self.read)(file)?.split_whitespace().next().map(str::to_owned)
    }
}

pub(super) fn settings(resources: &LinuxResources, now: &Now<'_>) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, now, &mut all)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, now, &mut all)?;
    }
    if let Some(pids) = resources.pids() {
        all.extend(pids_setting(pids));
    }
    if let Some(io) = resources.block_io() {
        io_settings(io, now, &mut all)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        all.extend(hugepage_settings(limit, ["max", "rsvd.max"])?);
    }
    if let Some(network) = resources.network() {
        let class = network.class_id().map(|_| ("net_cls", "network.classID"));
        let priorities = network.priorities().as_ref().filter(|list| !list.is_empty());
        let asked = class.or(priorities.map(|_| ("net_prio", "network.priorities")));
        if let Some((controller, field)) = asked {
            return Err(Error::NoController { controller: controller.to_owned(), field: field.to_owned() });
        }
    }
    rdma_settings(resources, &mut all)?;
    // Last: what is said in v2's own words overrides what was converted.
    for (file, value) in resources.unified().iter().flatten() {
        all.push(unified_setting(file, value)?);
    }
    Ok(all)
}

/// swappiness, disableOOMKiller, kernel and kernelTCP are about v1 only, and are ignored on v2 by everyone.
fn memory_settings(memory: &LinuxMemory, now: &Now<'_>, all: &mut Vec<Setting>) -> Result<()> {
    for (field, value) in
        [("memory.limit", memory.limit()), ("memory.swap", memory.swap()), ("memory.reservation", memory.reservation())]
    {
        if let Some(value @ ..=-2) = value {
            return bad(field, value, "give a number of bytes, or -1 for no limit");
        }
    }
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    let (limit, swap) = (given(memory.limit()), given(memory.swap()));
    let mut swap_setting = |value: String| {
        // A kernel without swap has no such file, and nothing to limit.
        let need = if value == "max" || value == "0" { Need::IfThere } else { Need::Must };
        all.push(Setting { need, ..Setting::new("memory", "memory.swap", "memory.swap.max", value) });
    };
    match swap {
        Some(-1) => swap_setting("max".to_owned()),
        Some(both) => {
            let limit = limit.filter(|limit| *limit > 0);
            let limit = limit.or_else(|| now.first_word("memory.max")?.parse().ok());
            match limit.map(|limit| both - limit) {
                Some(swap @ 0..) => swap_setting(swap.to_string()),
                Some(_) => {
                    return bad(
                        "memory.swap",
                        both,
                        "it is memory and swap together, so it cannot be below memory.limit",
                    );
                }
                None => {
                    return bad("memory.swap", both, "it is memory and swap together, so it needs memory.limit, too");
                }
            }
        }
        // No limit on memory means none on swap either, as on v1.
        None if limit == Some(-1) => swap_setting("max".to_owned()),
        None => {}
    }
    let bytes = |value: i64| if value == -1 { "max".to_owned() } else { value.to_string() };
    all.extend(limit.map(|limit| Setting::new("memory", "memory.limit", "memory.max", bytes(limit))));
    let reservation = given(memory.reservation());
    all.extend(reservation.map(|low| Setting::new("memory", "memory.reservation", "memory.low", bytes(low))));
    Ok(())
}

fn cpu_settings(cpu: &LinuxCpu, now: &Now<'_>, all: &mut Vec<Setting>) -> Result<()> {
    for (field, given) in [
        ("cpu.realtimePeriod", cpu.realtime_period().is_some_and(|period| period != 0)),
        ("cpu.realtimeRuntime", cpu.realtime_runtime().is_some_and(|runtime| runtime != 0)),
    ] {
        if given {
            return Err(Error::OnlyV1 { field });
        }
    }
    if let Some(shares @ 1..) = cpu.shares() {
        all.push(Setting::new("cpu", "cpu.shares", "cpu.weight", weight_of_shares(shares)));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let quota = quota.map(|quota| if quota < 0 { "max".to_owned() } else { quota.to_string() });
    match (quota, cpu.period().filter(|period| *period != 0)) {
        (Some(quota), Some(period)) => {
            all.push(Setting::new("cpu", "cpu.quota", "cpu.max", format!("{quota} {period}")));
        }
        // The kernel keeps the period that there is.
        (Some(quota), None) => all.push(Setting::new("cpu", "cpu.quota", "cpu.max", quota)),
        (None, Some(period)) => {
            let quota = now.first_word("cpu.max").unwrap_or_else(|| "max".to_owned());
            all.push(Setting::new("cpu", "cpu.period", "cpu.max", format!("{quota} {period}")));
        }
        (None, None) => {}
    }
    for (controller, field, file, value) in [
        ("cpu", "cpu.burst", "cpu.max.burst", cpu.burst().map(|burst| burst.to_string())),
        ("cpu", "cpu.idle", "cpu.idle", cpu.idle().map(|idle| idle.to_string())),
        ("cpuset", "cpu.cpus", "cpuset.cpus", cpu.cpus().clone().filter(|cpus| !cpus.is_empty())),
        ("cpuset", "cpu.mems", "cpuset.mems", cpu.mems().clone().filter(|mems| !mems.is_empty())),
    ] {
        all.extend(value.map(|value| Setting::new(controller, field, file, value)));
    }
    Ok(())
}

/// 2-262144 is stretched to 1-10000, as runc, crun and systemd's documentation for v1 do.
pub(in crate::cgroup) fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn unified_setting(file: &str, value: &str) -> Result<Setting> {
    if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
        return bad("unified", file, "it is no file of a controller, such as memory.high");
    }
    if value.contains('\0') {
        return bad("unified", value, "it holds a NUL");
    }
    let controller = file.split('.').next().unwrap_or_default().to_owned();
    Ok(Setting { controller: controller.into(), ..Setting::new("", &format!("unified {file}"), file, value) })
}

/// Where the bfq scheduler runs, it takes v1's range of weights; else 10-1000 is stretched to 1-10000, as other runtimes do.
fn io_settings(io: &LinuxBlockIo, now: &Now<'_>, all: &mut Vec<Setting>) -> Result<()> {
    if let Some(weight @ 1..) = io.leaf_weight() {
        return bad("blockIO.leafWeight", weight, "cgroup v2 has no leaf weights");
    }
    if let Some(weight @ 1..) = io.weight() {
        let (file, value) = if now.has("io.bfq.weight") {
            ("io.bfq.weight", weight.to_string())
        } else {
            ("io.weight", (1 + u64::from(weight.saturating_sub(10)) * 9999 / 990).to_string())
        };
        all.push(Setting::new("io", "blockIO.weight", file, value));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight @ 1..) = device.weight() {
            let value = format!("{} {weight}", number_of_weighted(device));
            all.push(Setting::new("io", "blockIO.weightDevice", "io.bfq.weight", value));
        }
    }
    for (field, kind, devices) in throttles(io) {
        for device in devices {
            let value = format!("{}:{} {}={}", device.major(), device.minor(), kind.v2(), device.rate());
            all.push(Setting::new("io", field, "io.max", value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, files: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
        let resources = serde_json::from_str(json).unwrap();
        let read = |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        Ok(settings(&resources, &Now { read: &read })?.into_iter().map(|s| (s.files.join("|"), s.value)).collect())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_resource_becomes_a_value_for_its_file() {
        let found = of(
            r#"{"memory": {"limit": 1000, "swap": 2500, "reservation": -1, "swappiness": 60, "kernelTCP": 5},
                "cpu": {"shares": 100, "quota": 5000, "period": 50000, "burst": 0, "idle": 0, "cpus": "0-1", "mems": "0"},
                "pids": {"limit": 7},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
                "rdma": {"mlx": {"hcaHandles": 1}},
                "unified": {"memory.high": "5", "misc.max": "sev 1"}}"#,
            &[],
        );
        let mut found = found.unwrap();
        let unified = found.split_off(found.len() - 2);
        let expected = pairs(&[
            ("memory.swap.max", "1500"),
            ("memory.max", "1000"),
            ("memory.low", "max"),
            ("cpu.weight", "4"),
            ("cpu.max", "5000 50000"),
            ("cpu.max.burst", "0"),
            ("cpu.idle", "0"),
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("pids.max", "7"),
            ("hugetlb.2MB.max", "4"),
            ("hugetlb.2MB.rsvd.max", "4"),
            ("rdma.max", "mlx hca_handle=1"),
        ]);
        assert_eq!(found, expected);
        for pair in pairs(&[("memory.high", "5"), ("misc.max", "sev 1")]) {
            assert!(unified.contains(&pair), "unified comes last: {unified:?}");
        }
    }

    #[test]
    fn half_of_a_pair_is_completed_from_the_cgroup_or_left_to_the_kernel() {
        assert_eq!(of(r#"{"cpu": {"quota": 30000}}"#, &[]).unwrap(), pairs(&[("cpu.max", "30000")]));
        assert_eq!(of(r#"{"cpu": {"quota": -1}}"#, &[]).unwrap(), pairs(&[("cpu.max", "max")]));
        let period = r#"{"cpu": {"period": 50000}}"#;
        assert_eq!(of(period, &[("cpu.max", "700 1000\n")]).unwrap(), pairs(&[("cpu.max", "700 50000")]));
        assert_eq!(of(period, &[]).unwrap(), pairs(&[("cpu.max", "max 50000")]));
        let swap = r#"{"memory": {"swap": 900}}"#;
        assert_eq!(of(swap, &[("memory.max", "500\n")]).unwrap(), pairs(&[("memory.swap.max", "400")]));
        for limit in ["max\n", "1000\n"] {
            let message = of(swap, &[("memory.max", limit)]).unwrap_err().to_string();
            assert!(message.starts_with("cannot set memory.swap: \"900\" is invalid"), "{message}");
        }
    }

    #[test]
    fn no_limit_on_memory_also_lifts_the_one_on_swap() {
        let expected = pairs(&[("memory.swap.max", "max"), ("memory.max", "max")]);
        assert_eq!(of(r#"{"memory": {"limit": -1}}"#, &[]).unwrap(), expected);
    }

    #[test]
    fn shares_become_the_weights_that_other_runtimes_make_of_them() {
        for (shares, weight) in
            [(1, 1), (2, 1), (100, 4), (1024, 39), (3333, 128), (262_144, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn io_weights_are_stretched_without_overflow_and_throttles_share_a_file() {
        let json = r#"{"blockIO": {"weight": 750, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}],
                       "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}]}}"#;
        let plain = of(json, &[]).unwrap();
        assert_eq!(plain, pairs(&[("io.weight", "7475"), ("io.max", "8:0 rbps=9"), ("io.max", "8:0 wiops=7")]));
        assert_eq!(of(json, &[("io.bfq.weight", "default 100")]).unwrap()[0], pairs(&[("io.bfq.weight", "750")])[0]);
    }

    #[test]
    fn what_v2_does_not_have_is_refused_by_field_or_ignored_by_everyone() {
        for (json, field) in [
            (r#"{"cpu": {"realtimeRuntime": 5}}"#, "cpu.realtimeRuntime"),
            (r#"{"network": {"classID": 5}}"#, "network.classID"),
            (r#"{"network": {"priorities": [{"name": "lo", "priority": 1}]}}"#, "network.priorities"),
            (r#"{"blockIO": {"leafWeight": 20}}"#, "blockIO.leafWeight"),
            (r#"{"memory": {"limit": -2}}"#, "memory.limit"),
        ] {
            let message = of(json, &[]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("cannot set {field}:")), "{json}: {message}");
        }
        assert_eq!(of(r#"{"memory": {"kernel": 5, "disableOOMKiller": true}, "network": {}}"#, &[]).unwrap(), []);
    }

    #[test]
    fn unified_cannot_leave_the_folder_or_move_processes() {
        for file in ["../memory.max", "memory/max", "cgroup.procs", "cgroup.freeze", "memory", ""] {
            assert!(of(&format!(r#"{{"unified": {{"{file}": "1"}}}}"#), &[]).is_err(), "{file:?} was accepted");
        }
    }
}
