//! From the controllers of v1.

use super::parse::{self, Files};
use super::shape::{self, Hugetlb, MemoryEntry, Stats};
use crate::cgroup::layout::CgroupFolder;

/// cpuacct.stat counts in these (USER_HZ is 100 on every architecture that we run on).
const NANOS_PER_TICK: u64 = 10_000_000;

pub(super) fn read(stats: &mut Stats, folder: &CgroupFolder) {
    let files = Files(&folder.path);
    for controller in &folder.controllers {
        match controller.as_str() {
            "cpu" => cpu(stats, &files),
            "cpuacct" => cpuacct(stats, &files),
            "cpuset" => cpuset(stats, &files),
            "memory" => memory(stats, &files),
            "pids" => pids(stats, &files),
            "blkio" => blkio(stats, &files),
            "hugetlb" => hugetlb(stats, &files),
            _ => {}
        }
    }
}

fn cpu(stats: &mut Stats, files: &Files<'_>) {
    let map = files.map("cpu.stat");
    let of = |key: &str| map.get(key).copied().unwrap_or_default();
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = of("nr_periods");
    throttling.throttled_periods = of("nr_throttled");
    throttling.throttled_time = of("throttled_time");
}

fn cpuacct(stats: &mut Stats, files: &Files<'_>) {
    let usage = &mut stats.cpu.usage;
    usage.total = files.number("cpuacct.usage").unwrap_or_default();
    usage.percpu = parse::numbers(&files.text("cpuacct.usage_percpu").unwrap_or_default());
    let ticks = files.map("cpuacct.stat");
    usage.user = ticks.get("user").copied().unwrap_or_default() * NANOS_PER_TICK;
    usage.kernel = ticks.get("system").copied().unwrap_or_default() * NANOS_PER_TICK;
    // A title, then lines of: the number of the cpu, user, system.
    for line in files.text("cpuacct.usage_all").unwrap_or_default().lines().skip(1) {
        if let [_, user, system] = parse::numbers(line)[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(system);
        }
    }
}

fn cpuset(stats: &mut Stats, files: &Files<'_>) {
    let number = |name: &str| files.number(&format!("cpuset.{name}")).unwrap_or_default();
    let list = |name: &str| parse::list(&files.text(&format!("cpuset.{name}")).unwrap_or_default());
    let level = files.text("cpuset.sched_relax_domain_level").and_then(|text| text.trim().parse().ok());
    stats.cpuset = shape::CpuSet {
        cpus: list("cpus"),
        cpu_exclusive: number("cpu_exclusive"),
        mems: list("mems"),
        mem_hardwall: number("mem_hardwall"),
        mem_exclusive: number("mem_exclusive"),
        memory_migrate: number("memory_migrate"),
        memory_spread_page: number("memory_spread_page"),
        memory_spread_slab: number("memory_spread_slab"),
        memory_pressure: number("memory_pressure"),
        sched_load_balance: number("sched_load_balance"),
        sched_relax_domain_level: level.unwrap_or_default(),
    };
}

fn memory(stats: &mut Stats, files: &Files<'_>) {
    let entry = |prefix: &str| {
        let number = |name: &str| files.number(&format!("{prefix}.{name}")).unwrap_or_default();
        MemoryEntry {
            limit: number("limit_in_bytes"),
            usage: number("usage_in_bytes"),
            max: number("max_usage_in_bytes"),
            failcnt: number("failcnt"),
        }
    };
    stats.memory = shape::Memory {
        raw: files.map("memory.stat"),
        cache: 0,
        usage: entry("memory"),
        swap: entry("memory.memsw"),
        kernel: entry("memory.kmem"),
        kernel_tcp: entry("memory.kmem.tcp"),
    };
    stats.memory.cache = stats.memory.raw.get("cache").copied().unwrap_or_default();
}

pub(super) fn pids(stats: &mut Stats, files: &Files<'_>) {
    stats.pids.current = files.number("pids.current").unwrap_or_default();
    stats.pids.limit = files.number("pids.max").filter(|limit| *limit != u64::MAX).unwrap_or_default();
}

/// The schedulers that count for themselves come first, then what is counted for throttling.
fn blkio(stats: &mut Stats, files: &Files<'_>) {
    const SOURCES: [&str; 4] =
        ["blkio.bfq.*_recursive", "blkio.*_recursive", "blkio.throttle.*_recursive", "blkio.throttle.*"];
    let read = |source: &str, what: &str| {
        let entries = files.text(&source.replace('*', what)).map(|text| parse::blkio(&text));
        entries.filter(|entries| !entries.is_empty())
    };
    let Some(source) = SOURCES.into_iter().find(|source| read(source, "io_service_bytes").is_some()) else { return };
    let of = |what: &str| read(source, what).unwrap_or_default();
    stats.blkio = shape::Blkio {
        io_service_bytes_recursive: of("io_service_bytes"),
        io_serviced_recursive: of("io_serviced"),
        io_queue_recursive: of("io_queued"),
        io_service_time_recursive: of("io_service_time"),
        io_wait_time_recursive: of("io_wait_time"),
        io_merged_recursive: of("io_merged"),
        io_time_recursive: of("time"),
        sectors_recursive: of("sectors"),
    };
}

fn hugetlb(stats: &mut Stats, files: &Files<'_>) {
    for size in files.page_sizes(".usage_in_bytes") {
        let number = |name: &str| files.number(&format!("hugetlb.{size}.{name}")).unwrap_or_default();
        let entry =
            Hugetlb { usage: number("usage_in_bytes"), max: number("max_usage_in_bytes"), failcnt: number("failcnt") };
        stats.hugetlb.insert(size, entry);
    }
}
