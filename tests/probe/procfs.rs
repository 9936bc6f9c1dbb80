//! The kernel's own files: sysctls, what /proc and /sys have beside processes, and what is masked of them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::kernel::*;
use crate::report::{line, tried};
use crate::{Baits, touch, tree};

/// What engines mask, and this runtime's default.
const MASKED: [&str; 15] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/proc/kmsg",
    "/proc/config.gz",
];

pub fn walk(baits: &Baits) {
    for path in MASKED.iter().map(Path::new).chain(baits.masked.iter().map(PathBuf::as_path)) {
        masked(path);
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_processes =
            name.parse::<i32>().is_ok() || ["self", "thread-self", "sys", "mounts", "net"].contains(&&*name);
        if of_processes {
            continue;
        }
        for path in [entry.path()].into_iter().chain(tree::below(&entry.path(), 400)) {
            kernels("proc", &path);
        }
    }
    for path in tree::below(Path::new("/proc/sys"), 4000) {
        sysctl(&path);
    }
    for path in tree::below_without(Path::new("/sys"), Path::new("/sys/fs/cgroup"), 3000) {
        kernels("sys", &path);
    }
}

/// Whether anything is to be read where nothing should.
fn masked(path: &Path) {
    let name = path.to_string_lossy();
    let Ok(stat) = stat(path) else { return };
    if stat.kind() == S_IFDIR {
        let count = fs::read_dir(path).map_or(0, Iterator::count);
        line("masked", &name, "list", if count == 0 { "empty" } else { "ok" }, Some(stat.identity));
    } else {
        let file = fs::File::options().read(true).custom_flags(O_NONBLOCK as i32).open(path);
        let mut byte = [0];
        let result = match file.and_then(|mut file| file.read(&mut byte)) {
            Ok(0) => "empty".to_owned(),
            Ok(_) => "ok".to_owned(),
            Err(error) => Errno(error.raw_os_error().unwrap_or(5)).name(),
        };
        line("masked", &name, "read", &result, Some(stat.identity));
    }
    touch::everything("masked", path);
}

fn kernels(kind: &str, path: &Path) {
    let Ok(stat) = lstat(path) else { return };
    if stat.kind() == S_IFLNK {
        return;
    }
    touch::attributes(kind, path, &stat);
    if stat.kind() == S_IFREG {
        touch::write(kind, path, &stat);
    }
}

/// The value that is there is written again, if it can be read.
fn sysctl(path: &Path) {
    let name = path.to_string_lossy();
    let Ok(stat) = lstat(path) else { return };
    touch::attributes("sysctl", path, &stat);
    if stat.kind() != S_IFREG {
        return;
    }
    let opened = open(path, O_WRONLY | O_NONBLOCK);
    tried("sysctl", &name, "open-write", &opened, Some(stat.identity));
    let (Ok(file), Ok(value)) = (opened, fs::read(path)) else { return };
    if !value.is_empty() {
        let result = call(nr::PWRITE, &[file.0, value.as_ptr() as usize, value.len(), 0]);
        tried("sysctl", &name, "write", &result, Some(stat.identity));
    }
}
