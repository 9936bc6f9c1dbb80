//! From the one folder of v2, in v1's words.

use super::parse::{self, Files};
use super::shape::{self, Hugetlb, MemoryEntry, Stats};
use crate::cgroup::layout::CgroupFolder;

pub(super) fn read(stats: &mut Stats, folder: &CgroupFolder) {
    let files = Files(&folder.path);
    let cpu = files.map("cpu.stat");
    let micros = |key: &str| cpu.get(key).copied().unwrap_or_default();
    stats.cpu.usage.total = micros("usage_usec").saturating_mul(1000);
    stats.cpu.usage.user = micros("user_usec").saturating_mul(1000);
    stats.cpu.usage.kernel = micros("system_usec").saturating_mul(1000);
    stats.cpu.throttling.periods = micros("nr_periods");
    stats.cpu.throttling.throttled_periods = micros("nr_throttled");
    stats.cpu.throttling.throttled_time = micros("throttled_usec").saturating_mul(1000);
    // Empty where the parent decides.
    stats.cpuset.cpus = parse::list(&files.text("cpuset.cpus").unwrap_or_default());
    stats.cpuset.mems = parse::list(&files.text("cpuset.mems").unwrap_or_default());
    memory(stats, &files);
    super::v1::pids(stats, &files);
    let (bytes, operations) = parse::io_stat(&files.text("io.stat").unwrap_or_default());
    stats.blkio.io_service_bytes_recursive = bytes;
    stats.blkio.io_serviced_recursive = operations;
    for size in files.page_sizes(".current") {
        let failcnt = files.map(&format!("hugetlb.{size}.events")).get("max").copied().unwrap_or_default();
        let usage = files.number(&format!("hugetlb.{size}.current")).unwrap_or_default();
        stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
}

fn memory(stats: &mut Stats, files: &Files<'_>) {
    let raw = files.map("memory.stat");
    let entry = |prefix: &str| MemoryEntry {
        limit: files.number(&format!("{prefix}.max")).unwrap_or_default(),
        usage: files.number(&format!("{prefix}.current")).unwrap_or_default(),
        max: files.number(&format!("{prefix}.peak")).unwrap_or_default(),
        failcnt: files.map(&format!("{prefix}.events")).get("max").copied().unwrap_or_default(),
    };
    let usage = entry("memory");
    let mut swap = entry("memory.swap");
    // v1 counts memory and swap together, and so do those who read this.
    swap.usage = swap.usage.saturating_add(usage.usage);
    swap.limit = swap.limit.saturating_add(if swap.limit == u64::MAX { 0 } else { usage.limit });
    swap.max = 0;
    let cache = raw.get("file").copied().unwrap_or_default();
    stats.memory = shape::Memory { cache, usage, swap, raw, ..shape::Memory::default() };
}
