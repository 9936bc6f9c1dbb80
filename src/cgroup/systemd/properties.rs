//! Limits as properties of a unit (systemd.resource-control(5), and systemd's D-Bus interface for the exact names).

use oci_spec::runtime::LinuxResources;

use super::wire::Value;
use crate::cgroup::limits::weight_of_shares;
use crate::cgroup::{Error, Result};

/// Which properties are meant: those of the controllers of v1 have other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Those of v1's controllers (`MemoryLimit`, `CPUShares`).
    V1,
    /// Those of v2's (`MemoryMax`, `CPUWeight`).
    V2,
}

/// "infinity"
const UNLIMITED: u64 = u64::MAX;
const PREFIX: &str = "org.systemd.property.";
/// The kernel's, where none is given: microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Those that systemd has. A zero is none, as everywhere.
pub(super) fn of(resources: &LinuxResources, names: Names) -> Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    let mut put = |name: &str, value: u64| all.push((name.to_owned(), Value::U64(value)));
    let bytes =
        |given: Option<i64>| given.filter(|value| *value != 0).map(|value| u64::try_from(value).unwrap_or(UNLIMITED));
    if let Some(memory) = resources.memory() {
        let (limit, low) = (bytes(memory.limit()), bytes(memory.reservation()));
        match names {
            Names::V1 => limit.into_iter().for_each(|limit| put("MemoryLimit", limit)),
            Names::V2 => {
                limit.into_iter().for_each(|limit| put("MemoryMax", limit));
                low.into_iter().for_each(|low| put("MemoryLow", low));
                match (bytes(memory.swap()), limit) {
                    (Some(UNLIMITED), _) | (None, Some(UNLIMITED)) => put("MemorySwapMax", UNLIMITED),
                    (Some(both), Some(limit)) if limit != UNLIMITED => put("MemorySwapMax", both.saturating_sub(limit)),
                    _ => {}
                }
            }
        }
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares @ 1..) = cpu.shares() {
            match names {
                Names::V1 => put("CPUShares", shares),
                Names::V2 => put("CPUWeight", weight_of_shares(shares)),
            }
        }
        let period = cpu.period().filter(|period| *period != 0);
        if let Some(period) = period {
            put("CPUQuotaPeriodUSec", period);
        }
        match cpu.quota() {
            None | Some(0) => {}
            Some(..0) => put("CPUQuotaPerSecUSec", UNLIMITED),
            Some(quota) => put("CPUQuotaPerSecUSec", per_second(quota as u64, period.unwrap_or(DEFAULT_PERIOD))),
        }
    }
    if let Some(limit) = resources.pids().as_ref().map(|pids| pids.limit()).filter(|limit| *limit != 0) {
        put("TasksMax", u64::try_from(limit).unwrap_or(UNLIMITED));
    }
    if let Some(weight @ 1..) = resources.block_io().as_ref().and_then(|io| io.weight()) {
        match names {
            Names::V1 => put("BlockIOWeight", weight.into()),
            Names::V2 => put("IOWeight", 1 + u64::from(weight.saturating_sub(10)) * 9999 / 990),
        }
    }
    if names == Names::V2 {
        let lists =
            resources.cpu().as_ref().map(|cpu| [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())]);
        for (name, list) in lists.into_iter().flatten() {
            let mask = list.as_deref().map(mask).unwrap_or_default();
            if !mask.is_empty() {
                all.push((name.to_owned(), Value::Bytes(mask)));
            }
        }
        for (file, value) in resources.unified().iter().flatten() {
            all.extend(of_unified(file, value));
        }
    }
    Ok(all)
}

/// Of time in a second; systemd counts in steps of 10 ms in a second, and rounds down to nothing.
fn per_second(quota: u64, period: u64) -> u64 {
    const STEP: u64 = 10_000;
    let exact = quota.saturating_mul(1_000_000) / period.max(1);
    exact.div_ceil(STEP) * STEP
}

/// Files that are a property, too; the others are only written.
fn of_unified(file: &str, value: &str) -> Vec<(String, Value)> {
    let number = |text: &str| if text == "max" { Some(UNLIMITED) } else { text.trim().parse::<u64>().ok() };
    let one = |name: &str| number(value).map(|value| (name.to_owned(), Value::U64(value))).into_iter().collect();
    match file {
        "memory.max" => one("MemoryMax"),
        "memory.high" => one("MemoryHigh"),
        "memory.low" => one("MemoryLow"),
        "memory.min" => one("MemoryMin"),
        "memory.swap.max" => one("MemorySwapMax"),
        "pids.max" => one("TasksMax"),
        "cpu.weight" => one("CPUWeight"),
        "cpuset.cpus" => vec![("AllowedCPUs".to_owned(), Value::Bytes(mask(value)))],
        "cpuset.mems" => vec![("AllowedMemoryNodes".to_owned(), Value::Bytes(mask(value)))],
        "cpu.max" => {
            let mut words = value.split_whitespace();
            let Some(quota) = words.next().and_then(number) else { return Vec::new() };
            let period = words.next().and_then(|period| period.parse().ok());
            let mut all: Vec<_> =
                period.map(|period| ("CPUQuotaPeriodUSec".to_owned(), Value::U64(period))).into_iter().collect();
            let share = if quota == UNLIMITED { quota } else { per_second(quota, period.unwrap_or(DEFAULT_PERIOD)) };
            all.push(("CPUQuotaPerSecUSec".to_owned(), Value::U64(share)));
            all
        }
        _ => Vec::new(),
    }
}

/// A list such as `0-3,7` as bits, the lowest byte first. Nonsense is left to the kernel to refuse.
fn mask(list: &str) -> Vec<u8> {
    const MOST: usize = 8192;
    let mut bits: Vec<u8> = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) else { continue };
        for number in first..=last.min(MOST) {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    bits
}

/// `org.systemd.property.NAME` with a value as GVariant writes it: a text in quotes, a truth value, or a number with or
/// without its type. A name that ends in `Sec` is one in `USec`, in microseconds.
pub(super) fn from_annotations(annotations: &[(String, String)]) -> Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let bad = |why| Error::BadAnnotation { key: key.clone(), value: text.clone(), why };
        if !name.chars().all(|c| c.is_ascii_alphabetic()) || name.len() < 3 {
            return Err(bad("what follows the last dot is no name of a property"));
        }
        let value = parse(text).ok_or_else(|| bad("give 'a text', true, false, or a number such as uint64 5"))?;
        all.push(match (name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')), value) {
            (Some(stem), value) => {
                let seconds = match value {
                    Value::I32(number) => u64::try_from(number).ok(),
                    Value::U32(number) => Some(number.into()),
                    Value::U64(number) => Some(number),
                    _ => None,
                };
                let micros = seconds.and_then(|seconds| seconds.checked_mul(1_000_000));
                (format!("{stem}USec"), Value::U64(micros.ok_or_else(|| bad("it is no number of seconds"))?))
            }
            (None, value) => (name.to_owned(), value),
        });
    }
    Ok(all)
}

fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return (!inner.contains([quote, '\\'])).then(|| Value::Text(inner.to_owned()));
        }
    }
    match text.split_once(' ') {
        Some(("uint64", number)) => number.trim().parse().ok().map(Value::U64),
        Some(("uint32", number)) => number.trim().parse().ok().map(Value::U32),
        Some(("int32", number)) => number.trim().parse().ok().map(Value::I32),
        Some(_) => None,
        None if text == "true" || text == "false" => Some(Value::Bool(text == "true")),
        None => text.parse().ok().map(Value::I32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(json: &str, names: Names) -> Vec<(String, u64)> {
        let all = of(&serde_json::from_str(json).unwrap(), names).unwrap();
        let number = |value| match value {
            Value::U64(number) => number,
            Value::Bytes(bytes) => bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            other => panic!("{other:?}"),
        };
        all.into_iter().map(|(name, value)| (name, number(value))).collect()
    }

    fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn limits_have_their_names_on_v1_and_on_v2() {
        let json = r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 500},
                       "cpu": {"shares": 100, "quota": 500000, "period": 900000, "cpus": "0-1,9"},
                       "pids": {"limit": 20}, "blockIO": {"weight": 750}}"#;
        let v2 = [
            ("MemoryMax", 1000),
            ("MemoryLow", 500),
            ("MemorySwapMax", 500),
            ("CPUWeight", 4),
            ("CPUQuotaPeriodUSec", 900_000),
            ("CPUQuotaPerSecUSec", 560_000),
            ("TasksMax", 20),
            ("IOWeight", 7475),
            ("AllowedCPUs", 0b10_0000_0011),
        ];
        assert_eq!(numbers(json, Names::V2), pairs(&v2));
        let v1 = [
            ("MemoryLimit", 1000),
            ("CPUShares", 100),
            ("CPUQuotaPeriodUSec", 900_000),
            ("CPUQuotaPerSecUSec", 560_000),
            ("TasksMax", 20),
            ("BlockIOWeight", 750),
        ];
        assert_eq!(numbers(json, Names::V1), pairs(&v1));
    }

    #[test]
    fn no_limit_is_infinity_and_zero_is_nothing() {
        let none = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}"#;
        let names = ["MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax"];
        assert_eq!(numbers(none, Names::V2), pairs(&names.map(|name| (name, u64::MAX))));
        let zero = r#"{"memory": {"limit": 0}, "cpu": {"quota": 0, "shares": 0}, "pids": {"limit": 0}}"#;
        assert_eq!(numbers(zero, Names::V2), []);
    }

    #[test]
    fn unified_files_that_are_properties_are_both() {
        let json = r#"{"unified": {"cpu.max": "5000 50000", "memory.high": "max", "misc.max": "x 1"}}"#;
        let expected = [("CPUQuotaPeriodUSec", 50_000), ("CPUQuotaPerSecUSec", 100_000), ("MemoryHigh", u64::MAX)];
        let mut found = numbers(json, Names::V2);
        found.sort();
        let mut expected = pairs(&expected);
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn annotations_are_properties_in_the_types_that_they_name() {
        let of = |name: &str, text: &str| {
            from_annotations(&[(format!("{PREFIX}{name}"), text.to_owned())]).map(|mut all| all.remove(0))
        };
        assert_eq!(of("KillSignal", "15").unwrap(), ("KillSignal".to_owned(), Value::I32(15)));
        assert_eq!(of("TimeoutStopUSec", "uint64 5").unwrap(), ("TimeoutStopUSec".to_owned(), Value::U64(5)));
        assert_eq!(of("TimeoutStopSec", "3").unwrap(), ("TimeoutStopUSec".to_owned(), Value::U64(3_000_000)));
        assert_eq!(of("CollectMode", "'inactive'").unwrap().1, Value::Text("inactive".to_owned()));
        assert_eq!(of("SendSIGHUP", "true").unwrap().1, Value::Bool(true));
        for (name, text) in
            [("X", "1"), ("A.B", "1"), ("KillSignal", "many"), ("KillSignal", ""), ("TimeoutStopSec", "'a'")]
        {
            assert!(of(name, text).is_err(), "{name} {text:?} was accepted");
        }
        assert_eq!(from_annotations(&[("org.other".to_owned(), "x".to_owned())]).unwrap(), []);
    }
}
