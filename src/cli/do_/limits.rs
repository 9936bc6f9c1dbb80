//! What the command may use. Where there is a cgroup to be had, it holds all of it together; where there is none, as for
//! an ordinary user, the kernel's limits of single processes do what they can, and what they cannot is told.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};

use super::Failure;
use super::arguments::Arguments;
use crate::cgroup::{self, Driver};

pub(super) struct Ceilings {
    /// `linux.resources`
    pub(super) resources: Value,
    /// `process.rlimits`
    pub(super) rlimits: Value,
    /// What its file systems in memory are measured by, in bytes.
    pub(super) memory: u64,
    pub(super) warnings: Vec<String>,
}

/// Period of a quota, in microseconds.
const PERIOD: u64 = 100_000;

impl Ceilings {
    pub(super) fn of(arguments: &Arguments, driver: Driver) -> Result<Ceilings, Failure> {
        let can_limit = |controller| cgroup::can_limit(driver, controller);
        let memory = arguments.memory.unwrap_or_else(half_of_the_machines);
        let mut resources = Map::new();
        let mut rlimits = vec![
            // In a user namespace of one's own only its own processes count.
            rlimit("RLIMIT_NPROC", Resource::RLIMIT_NPROC, u64::from(arguments.pids)),
            // 1 byte, unlike 0, also keeps a crash from a handler of the host's that runs as root (core(5)).
            rlimit("RLIMIT_CORE", Resource::RLIMIT_CORE, 1),
        ];
        let mut warnings = Vec::new();
        if can_limit("memory") {
            resources.insert("memory".into(), json!({ "limit": memory }));
        } else if arguments.memory.is_some() {
            rlimits.push(rlimit("RLIMIT_DATA", Resource::RLIMIT_DATA, memory));
            warnings.push("--memory: there is no cgroup to be had here, so it holds for each process alone".into());
        }
        if can_limit("pids") {
            resources.insert("pids".into(), json!({ "limit": arguments.pids }));
        }
        if let Some(cpus) = arguments.cpus {
            if !can_limit("cpu") {
                return Err(Failure::new("--cpus needs a cgroup, and there is none to be had here"));
            }
            let quota = (cpus * PERIOD as f64).round() as u64;
            resources.insert("cpu".into(), json!({ "quota": quota, "period": PERIOD }));
        }
        Ok(Ceilings { resources: Value::Object(resources), rlimits: json!(rlimits), memory, warnings })
    }
}

/// Never above what the caller has: it could not be raised.
fn rlimit(name: &str, resource: Resource, wanted: u64) -> Value {
    let most = getrlimit(resource).map_or(wanted, |(_, hard)| hard);
    let limit = wanted.min(most);
    json!({ "type": name, "soft": limit, "hard": limit })
}

fn half_of_the_machines() -> u64 {
    const UNKNOWN: u64 = 1 << 30;
    let text = crate::sys::text::read("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    total.map_or(UNKNOWN, |kibibytes: u64| kibibytes * 1024 / 2)
}
