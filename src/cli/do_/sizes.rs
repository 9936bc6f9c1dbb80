//! Sizes and times, as they are typed.

use std::time::Duration;

/// `512m`: bytes, or with k, m, g or t behind it powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 4 << 20;
    let wrong = || format!("{text:?} is no size such as 512m or 2g");
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match lower.char_indices().next_back() {
        Some((at, unit)) if !unit.is_ascii_digit() => {
            (&lower[..at], 10 * (1 + "kmgt".find(unit).ok_or_else(wrong)?) as u32)
        }
        _ => (lower, 0),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(wrong)?;
    if bytes < LEAST { Err(format!("{text:?} is too little for any command: at least 4m")) } else { Ok(bytes) }
}

pub(super) fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..=10_000.0).contains(&cpus) => Ok(cpus),
        _ => Err(format!("{text:?} is no number of CPUs such as 2 or 0.5 (at least 0.01)")),
    }
}

/// `1.5m`: seconds, or with s, m, h or d behind it.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 30, 1.5m or 2h");
    let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let (number, unit) =
        units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds))).unwrap_or((text, 1.0));
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_at_most_one_unit() {
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        assert_eq!(bytes("2gb"), Ok(2 << 30));
        assert_eq!(bytes("8388608"), Ok(8 << 20));
        for wrong in ["", "m", "-1m", "1.5g", "5x", "1k", "0", "99999999999999t", "16777216t", "5 m", "5é"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_above_nothing() {
        assert_eq!(time("30"), Ok(Duration::from_secs(30)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(time("0.25s"), Ok(Duration::from_millis(250)));
        for wrong in ["", "0", "-1", "s", "1x", "nan", "inf", "1e300"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpus_are_counted_in_parts() {
        assert_eq!(cpus("0.5"), Ok(0.5));
        assert!(["0", "-1", "nan", "inf", "x", ""].into_iter().all(|wrong| cpus(wrong).is_err()));
    }
}
