//! `update`: other limits for a container that exists.

use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use crate::host::{change, hold};
use crate::model::Id;
use crate::spec;

/// Numbers are checked where they are used: 0 and what is not given keep their value, -1 is no limit.
#[derive(Args)]
pub struct Arguments {
    /// A file with limits as in linux.resources of a config.json, or - for standard input; the other flags are then
    /// ignored
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[arg(long, value_name = "10-1000")]
    blkio_weight: Option<String>,
    /// Microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<String>,
    /// Microseconds in a period
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// Microseconds that may be saved up
    #[arg(long, value_name = "US")]
    cpu_burst: Option<String>,
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<String>,
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<String>,
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// 1: run only when nobody else wants to
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<String>,
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Bytes, or with one of k, m, g, t, p
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory below which the container is spared
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Ignored: kernels have no such limit any more
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Ignored, likewise
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// Refused: shares of the processor's caches are not supported
    #[arg(long, value_name = "SCHEMA", hide = true)]
    l3_cache_schema: Option<String>,
    /// Refused, likewise
    #[arg(long, value_name = "SCHEMA", hide = true)]
    mem_bw_schema: Option<String>,
    /// The id of the sandbox
    id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let id = Id::parse(&arguments.id)?;
    let given = asked_for(context, arguments)?;
    let root = context.root_of(&id)?;
    change::update(hold::hold(&root, &id)?, &given, &context.log)?;
    Ok(Done::Well)
}

fn asked_for(context: &Context, arguments: &Arguments) -> Result<LinuxResources, Failure> {
    if arguments.l3_cache_schema.is_some() || arguments.mem_bw_schema.is_some() {
        return Err(Failure::new(
            "--l3-cache-schema and --mem-bw-schema are not supported: this runtime puts no container into a resctrl group",
        ));
    }
    if arguments.kernel_memory.is_some() || arguments.kernel_memory_tcp.is_some() {
        context.log.warn("--kernel-memory and --kernel-memory-tcp are ignored: kernels have no such limits any more");
    }
    match &arguments.resources {
        Some(file) => Ok(spec::load_limits(file)?),
        None => Ok(spec::limits_of(from_flags(arguments)?)?),
    }
}

/// As `linux.resources`.
fn from_flags(arguments: &Arguments) -> Result<Value, Failure> {
    let mut groups: Map<String, Value> = Map::new();
    let mut put = |group: &str, name: &str, value: Value| {
        let group = groups.entry(group).or_insert_with(|| Value::Object(Map::new()));
        group[name] = value;
    };
    for (flag, given, group, name, parse) in [
        ("blkio-weight", &arguments.blkio_weight, "blockIO", "weight", Parse::Count),
        ("cpu-period", &arguments.cpu_period, "cpu", "period", Parse::Count),
        ("cpu-quota", &arguments.cpu_quota, "cpu", "quota", Parse::Number),
        ("cpu-burst", &arguments.cpu_burst, "cpu", "burst", Parse::Count),
        ("cpu-share", &arguments.cpu_share, "cpu", "shares", Parse::Count),
        ("cpu-rt-period", &arguments.cpu_rt_period, "cpu", "realtimePeriod", Parse::Count),
        ("cpu-rt-runtime", &arguments.cpu_rt_runtime, "cpu", "realtimeRuntime", Parse::Number),
        ("cpu-idle", &arguments.cpu_idle, "cpu", "idle", Parse::Count),
        ("cpuset-cpus", &arguments.cpuset_cpus, "cpu", "cpus", Parse::Text),
        ("cpuset-mems", &arguments.cpuset_mems, "cpu", "mems", Parse::Text),
        ("memory", &arguments.memory, "memory", "limit", Parse::Bytes),
        ("memory-reservation", &arguments.memory_reservation, "memory", "reservation", Parse::Bytes),
        ("memory-swap", &arguments.memory_swap, "memory", "swap", Parse::Bytes),
        ("pids-limit", &arguments.pids_limit, "pids", "limit", Parse::Number),
    ] {
        // An empty value is none: callers pass flags they have nothing for.
        let Some(text) = given.as_deref().filter(|text| !text.is_empty()) else { continue };
        let value = parse
            .value(text)
            .ok_or_else(|| Failure::new(format!("invalid value for {flag}: {text:?} is not {}", parse.wanted())))?;
        put(group, name, value);
    }
    Ok(Value::Object(groups))
}

#[derive(Clone, Copy)]
enum Parse {
    Count,
    Number,
    Bytes,
    Text,
}

impl Parse {
    fn value(self, text: &str) -> Option<Value> {
        match self {
            Parse::Count => text.parse::<u64>().ok().map(Value::from),
            Parse::Number => text.parse::<i64>().ok().map(Value::from),
            Parse::Bytes => bytes(text).map(Value::from),
            Parse::Text => Some(Value::from(text)),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Parse::Count => "a number",
            Parse::Number => "a number, or -1 for no limit",
            Parse::Bytes => "a number of bytes such as 512m, or -1 for no limit",
            Parse::Text => "a list",
        }
    }
}

/// A number with a unit of 1024, in the spellings that runc takes: `64m`, `1.5 GiB`, `100kb`.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1024_i64.checked_pow(power)?);
    }
    let fraction: f64 = number.parse().ok()?;
    let bytes = fraction * 1024_f64.powi(power as i32);
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_in_the_spellings_that_runc_takes() {
        for (text, expected) in [
            ("-1", -1),
            ("0", 0),
            ("67108864", 67_108_864),
            ("50M", 52_428_800),
            ("64k", 65_536),
            ("1g", 1 << 30),
            ("1GiB", 1 << 30),
            ("2 mb", 2 << 20),
            ("1.5K", 1536),
            ("32b", 32),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "-2", "m", "5x", "1..5", "9999999999999g", "0x10", "5 m m"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }
}
