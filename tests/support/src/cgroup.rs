//! The cgroup of a container as the kernel shows it, on v1 and on v2.

use std::fs;
use std::path::{Path, PathBuf};

/// Whether controllers are on v2 alone.
pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The folder that a process is in: that of the controller on v1, the one on v2.
pub fn folder(pid: i32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process's cgroup");
    let mut lines = text.lines().map(|line| line.splitn(3, ':').skip(1));
    let path = if is_v2() {
        lines.next_back().and_then(|mut fields| fields.nth(1))
    } else {
        lines.find_map(|mut fields| fields.next()?.split(',').any(|name| name == controller).then(|| fields.next())?)
    };
    let path = path.unwrap_or_else(|| panic!("no {controller} in {text}")).trim_start_matches('/');
    let mount = if is_v2() { PathBuf::from("/sys/fs/cgroup") } else { Path::new("/sys/fs/cgroup").join(controller) };
    mount.join(path)
}

/// One limit, in v1's words: "max" for none, and on v2 turned back from what it was converted to.
#[track_caller]
pub fn limit(pid: i32, what: &str) -> String {
    let read = |controller: &str, file: &str| {
        let path = folder(pid, controller).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")).trim().to_owned()
    };
    let v1 = |controller, file| match read(controller, file).as_str() {
        "-1" | "9223372036854771712" => "max".to_owned(),
        value => value.to_owned(),
    };
    let of_cpu_max = |at: usize| read("cpu", "cpu.max").split(' ').nth(at).unwrap_or_default().to_owned();
    match (what, is_v2()) {
        ("pids", _) => read("pids", "pids.max"),
        ("cpus", _) => read("cpuset", "cpuset.cpus"),
        ("memory", false) => v1("memory", "memory.limit_in_bytes"),
        ("memory", true) => read("memory", "memory.max"),
        ("memory and swap", false) => v1("memory", "memory.memsw.limit_in_bytes"),
        ("memory and swap", true) => match read("memory", "memory.swap.max").parse::<u64>() {
            Ok(swap) => (swap + read("memory", "memory.max").parse::<u64>().expect("a limit")).to_string(),
            Err(_) => "max".to_owned(),
        },
        ("reservation", false) => v1("memory", "memory.soft_limit_in_bytes"),
        ("reservation", true) => read("memory", "memory.low"),
        ("quota", false) => v1("cpu", "cpu.cfs_quota_us"),
        ("quota", true) => of_cpu_max(0),
        ("period", false) => v1("cpu", "cpu.cfs_period_us"),
        ("period", true) => of_cpu_max(1),
        ("burst", false) => v1("cpu", "cpu.cfs_burst_us"),
        ("burst", true) => read("cpu", "cpu.max.burst"),
        ("idle", _) => read("cpu", "cpu.idle"),
        ("shares", false) => v1("cpu", "cpu.shares"),
        ("shares", true) => {
            let weight: u64 = read("cpu", "cpu.weight").parse().expect("a weight");
            ((weight - 1) * 262_142 / 9999 + 2).to_string()
        }
        (other, _) => panic!("no limit is called {other:?}"),
    }
}
