//! Limits, as the kernel then reports and enforces them.

use std::path::PathBuf;

use crate::cgroup_support::{Container, Kind, soon, wait_until};
use oci_spec::runtime::LinuxResources;
use sandkeep::cgroup::{self, Setup};

const DEFAULT_SPEC: &str = r#"{"devices": [{"allow": false, "access": "rwm"}]}"#;

/// A container on v1 controllers, and the folder of a controller; none (said aloud) where there are none.
fn on_v1(name: &str, resources: &str) -> Option<Container> {
    let container = Container::new(Kind::with_controllers()?, name, None, resources);
    if container.hierarchies.setup() == Setup::V2 {
        eprintln!("skipped: needs v1 controllers");
        return None;
    }
    Some(container)
}

fn file(container: &Container, controller: &str, file: &str) -> String {
    let of = |folder: &PathBuf| folder.components().any(|part| part.as_os_str() == controller);
    let folder = container.layout.record().folders.into_iter().find(of).unwrap();
    std::fs::read_to_string(folder.join(file)).unwrap().trim().to_owned()
}

fn error(container: &Container) -> String {
    let error = container.layout.make(Some(&container.resources)).unwrap_err().to_string();
    assert!(!cgroup::exists(&container.layout.record()).unwrap(), "a failure left folders behind");
    error
}

#[test]
fn devices_but_the_usual_ones_are_closed_by_the_default_spec() {
    for kind in Kind::here() {
        let container = Container::new(kind, "devices", None, DEFAULT_SPEC);
        let joiner = container.make();
        let output = |script| {
            let output = container.spawn(&joiner, script).wait_with_output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(output("echo hello > /dev/null && echo open"), "open");
        assert_eq!(output("exec 2>&1; echo x < /dev/kmsg || echo closed").lines().last(), Some("closed"), "{kind:?}");
        assert_eq!(output("head -c 3 /dev/zero | wc -c"), "3");
    }
}

#[test]
fn a_device_that_the_spec_allows_is_open_also_without_any_deny_before_it() {
    for kind in Kind::here() {
        let rule = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
        let container = Container::new(kind, "allowed", None, rule);
        let joiner = container.make();
        let run = |script| container.spawn(&joiner, script).wait().unwrap();
        assert!(run("true < /dev/kmsg").success());
        assert!(!run("true >> /dev/kmsg").success(), "only reading was allowed");
    }
}

#[test]
fn limits_of_v1_arrive_in_their_files() {
    let Some(container) = on_v1(
        "files",
        r#"{"memory": {"limit": 67108864, "reservation": 33554432, "swappiness": 10},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 10000},
            "pids": {"limit": 42}}"#,
    ) else {
        return;
    };
    container.make();
    for (controller, name, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "20000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", "cpu.cfs_burst_us", "10000"),
        ("pids", "pids.max", "42"),
    ] {
        assert_eq!(file(&container, controller, name), value, "{name}");
    }
}

#[test]
fn limits_can_be_raised_lowered_and_lifted_in_whatever_order_the_kernel_needs() {
    let Some(container) = on_v1("update", r#"{"memory": {"limit": 50331648, "swap": 67108864}}"#) else { return };
    container.make();
    for (json, memory, both) in [
        (r#"{"memory": {"limit": 134217728, "swap": 268435456}}"#, "134217728", "268435456"),
        (r#"{"memory": {"limit": 33554432, "swap": 33554432}}"#, "33554432", "33554432"),
        (r#"{"memory": {"limit": -1}}"#, "9223372036854771712", "9223372036854771712"),
    ] {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        container.limit(&resources).unwrap();
        assert_eq!(file(&container, "memory", "memory.limit_in_bytes"), memory);
        assert_eq!(file(&container, "memory", "memory.memsw.limit_in_bytes"), both);
    }
    for json in [
        r#"{"cpu": {"quota": 10000, "burst": 10000}}"#,
        r#"{"cpu": {"quota": 40000, "burst": 40000}}"#,
        r#"{"cpu": {"quota": 5000, "period": 10000, "burst": 1000}}"#,
    ] {
        container.limit(&serde_json::from_str(json).unwrap()).unwrap();
    }
    assert_eq!(file(&container, "cpu", "cpu.cfs_burst_us"), "1000");
}

#[test]
fn a_cpuset_is_inherited_or_as_asked_and_holds() {
    let Some(whole) = on_v1("cpus", "{}") else { return };
    whole.make();
    let top = std::fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap_or_default();
    if !top.trim().is_empty() {
        assert_eq!(file(&whole, "cpuset", "cpuset.cpus"), top.trim());
    }
    let asked = on_v1("cpu0", r#"{"cpu": {"cpus": "0", "mems": "0"}}"#).unwrap();
    let joiner = asked.make();
    let output = asked.spawn(&joiner, "grep Cpus_allowed_list /proc/self/status").wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().split_whitespace().last(), Some("0"));
}

#[test]
fn a_limit_below_what_is_used_is_refused_if_the_spec_says_check_first() {
    let Some(container) = on_v1("check", "{}") else { return };
    let joiner = container.make();
    let mut child = container.spawn(&joiner, "exec sleep 100");
    wait_until("it uses memory", || file(&container, "memory", "memory.usage_in_bytes") != "0");
    let tight = serde_json::from_str(r#"{"memory": {"limit": 1, "checkBeforeUpdate": true}}"#).unwrap();
    let refused = container.limit(&tight).unwrap_err().to_string();
    assert!(refused.contains("checkBeforeUpdate"), "{refused}");
    cgroup::kill_and_wait(&container.layout.record(), soon()).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_limit_that_cannot_be_set_names_its_field_and_leaves_nothing() {
    let there = |name: &str| {
        let hierarchies = cgroup::Hierarchies::read().unwrap();
        hierarchies.all().iter().any(|h| h.controllers.iter().any(|c| c == name))
    };
    for (controller, json, field) in [
        ("net_cls", r#"{"network": {"classID": 1}}"#, "network.classID"),
        ("net_prio", r#"{"network": {"priorities": [{"name": "lo", "priority": 1}]}}"#, "network.priorities"),
        ("rdma", r#"{"rdma": {"mlx5_0": {"hcaHandles": 1}}}"#, "rdma"),
        ("hugetlb", r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#, "hugepageLimits"),
    ] {
        let Some(container) = on_v1(controller, json) else { return };
        if !there(controller) {
            assert_eq!(
                error(&container),
                format!("cannot set {field}: the cgroup controller {controller} is not available")
            );
        }
    }
    let Some(container) = on_v1("nonsense", r#"{"cpu": {"cpus": "9999"}}"#) else { return };
    assert!(error(&container).starts_with("cannot set cpu.cpus: writing \"9999\" to "));
}

#[test]
fn on_v2_a_missing_controller_is_named_and_an_available_one_is_limited() {
    for kind in Kind::here().into_iter().filter(|kind| *kind == Kind::V2) {
        let container = Container::new(kind, "missing", None, r#"{"memory": {"limit": 67108864}}"#);
        let available =
            std::fs::read_to_string(container.hierarchies.all()[0].mount.join("cgroup.controllers")).unwrap();
        if !available.contains("memory") {
            assert_eq!(error(&container), "cannot set memory.limit: the cgroup controller memory is not available");
        }
        if available.contains("hugetlb") {
            let huge = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;
            let container = Container::new(kind, "huge", None, huge);
            container.make();
            let limit = container.layout.record().folders[0].join("hugetlb.2MB.max");
            assert_eq!(std::fs::read_to_string(limit).unwrap().trim(), "4194304");
        }
    }
}
