//! `events`: what a container uses, and when it runs out of memory: a line of JSON each, in runc's words. Ends with the
//! container.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use nix::poll::{PollFd, PollFlags, poll};
use serde::Serialize;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use crate::cgroup::{self, Hierarchies, OomWatch, Stats};
use crate::host::kept::root_container;
use crate::host::probe;
use crate::model::Id;
use crate::model::record::CgroupRecord;
use crate::sys::ready::timeout_until;

#[derive(Args)]
pub struct Arguments {
    /// How often to print what it uses, e.g. 500ms, 1m30s, or in seconds: 5
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_hyphen_values = true)]
    interval: String,
    /// Print what it uses now, once
    #[arg(long)]
    stats: bool,
    /// The id of the sandbox
    id: String,
}

/// The order of the fields is part of the shape: there are callers that look for the beginning of the line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let interval = duration(&arguments.interval).ok_or_else(|| {
        Failure::new(format!("--interval {:?}: give a duration such as 500ms or 5s", arguments.interval))
    })?;
    if interval.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    let (_, id, seen) = context.see(&arguments.id)?;
    let snapshot = seen.snapshot.as_ref().filter(|_| seen.phase().is_alive());
    let not_running = || {
        Failure::new(format!("container with id {} is not running (it is {})", id.as_str(), seen.phase().oci_status()))
    };
    let snapshot = snapshot.ok_or_else(not_running)?;
    let container = root_container(snapshot).ok_or_else(not_running)?;
    if !cgroup::exists(&container.cgroup)? {
        // One that has just ended may have taken it along.
        probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?.ok_or_else(not_running)?;
        return Err(Failure::new(format!(
            "container {:?} has no cgroup of its own, and nothing else counts what it uses: that takes root, or a cgroup \
             that is delegated to this user, and another manager than --cgroup-manager disabled",
            id.as_str()
        )));
    }
    let source = Source { id: &id, cgroup: &container.cgroup, hierarchies: Hierarchies::read()? };
    if arguments.stats {
        source.print_stats()?;
        return Ok(Done::Well);
    }
    let init = probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?.ok_or_else(not_running)?;
    source.follow(init.as_fd(), interval)?;
    Ok(Done::Well)
}

struct Source<'a> {
    id: &'a Id,
    cgroup: &'a CgroupRecord,
    hierarchies: Hierarchies,
}

/// Whoever reads our output has gone: that is no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Listens,
    Gone,
}

impl Source<'_> {
    /// Until the container's init has ended. What happened just before is still told.
    fn follow(&self, init: std::os::fd::BorrowedFd<'_>, interval: Duration) -> Result<(), Failure> {
        let mut oom = OomWatch::open(&self.hierarchies, self.cgroup)?;
        let mut next = Instant::now() + interval;
        loop {
            let mut fds = vec![PollFd::new(init, PollFlags::POLLIN)];
            fds.extend(oom.as_ref().map(|oom| PollFd::new(oom.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, timeout_until(Some(next))) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
            let ended = fds[0].any().unwrap_or(false);
            for _ in 0..oom.as_mut().map_or(Ok(0), OomWatch::count)? {
                if self.print(&Event { kind: "oom", id: self.id.as_str(), data: None })? == Reader::Gone {
                    return Ok(());
                }
            }
            if ended {
                return Ok(());
            }
            if Instant::now() >= next {
                if self.print_stats()? == Reader::Gone {
                    return Ok(());
                }
                next = Instant::now() + interval;
            }
        }
    }

    fn print_stats(&self) -> Result<Reader, Failure> {
        let stats = cgroup::stats(&self.hierarchies, self.cgroup);
        self.print(&Event { kind: "stats", id: self.id.as_str(), data: Some(stats) })
    }

    fn print(&self, event: &Event<'_>) -> Result<Reader, Failure> {
        let mut line = serde_json::to_vec(event).map_err(std::io::Error::from)?;
        line.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(&line).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(Reader::Listens),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

/// As Go's time.ParseDuration reads it: numbers with units, one after the other. A number alone is seconds.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if !text.is_empty() && text.chars().all(plain) {
        return Duration::try_from_secs_f64(text.parse().ok()?).ok();
    }
    if let Some(rest) = text.strip_prefix('-') {
        // Nothing waits for less than nothing: refused like zero.
        return duration(rest).map(|_| Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c| !plain(c))?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = &rest[end..];
        let length = unit.find(plain).unwrap_or(unit.len());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == &unit[..length])?;
        seconds += number * factor;
        rest = &unit[length..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("0", 0),
            ("0s", 0),
            ("-1s", 0),
            ("1h", 3_600_000),
            ("5", 5000),
            ("0.25", 250),
            ("-5", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", ".", "1.2.3", "-", "s", "5x", "1.2.3s", "5 s", "99999999999999999999h"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_event_begins_as_runcs_does_and_says_what_runc_says_of_nothing() {
        let line = serde_json::to_string(&Event { kind: "stats", id: "web", data: Some(Stats::default()) }).unwrap();
        assert!(
            line.starts_with(
                r#"{"type":"stats","id":"web","data":{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"#
            ),
            "{line}"
        );
        assert!(
            line.ends_with(r#""pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}}"#),
            "{line}"
        );
        let line = serde_json::to_string(&Event { kind: "oom", id: "web", data: None }).unwrap();
        assert_eq!(line, r#"{"type":"oom","id":"web"}"#);
    }
}
