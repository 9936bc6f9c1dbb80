//! Points in time and durations, as people and callers read them.

use crate::model::record::Nanos;

/// `2026-11-23T16:01:02.123456789Z`
pub fn rfc3339(at: Nanos) -> String {
    jiff::Timestamp::from_nanosecond(at.into()).map(|timestamp| timestamp.to_string()).unwrap_or_default()
}

/// `1.234 ms`, `12.3 s`
pub fn duration(nanos: i64) -> String {
    let seconds = nanos as f64 / 1e9;
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}
