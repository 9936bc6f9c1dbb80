//! Sockets that a service manager hands to us are the application's (sd_listen_fds(3)).

use super::failure::Failure;
use crate::spec::plan::ListenPlan;

/// None when there are none, or when they are meant for another process.
pub fn sockets() -> Option<ListenPlan> {
    let value = |name: &str| std::env::var(name).ok();
    sockets_of(value("LISTEN_FDS").as_deref(), value("LISTEN_PID").as_deref(), value("LISTEN_FDNAMES"))
}

fn sockets_of(count: Option<&str>, pid: Option<&str>, names: Option<String>) -> Option<ListenPlan> {
    let count = count?.parse().ok().filter(|count| *count > 0)?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    ours.then_some(ListenPlan { count, names })
}

/// How many descriptors the application gets beside its stdio. Far more than anybody hands on, and few enough to be
/// looked at one by one.
pub fn preserved(asked: u32, sockets: u32) -> Result<u32, Failure> {
    const MOST: u32 = 1024;
    asked.checked_add(sockets).filter(|count| *count <= MOST).ok_or_else(|| {
        Failure::new(format!("--preserve-fds {asked} and LISTEN_FDS {sockets}: together more than {MOST}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_cannot_all_be_there_are_refused_before_they_are_counted() {
        assert_eq!(preserved(3, 2).ok(), Some(5));
        assert_eq!(preserved(1024, 0).ok(), Some(1024));
        for (asked, sockets) in [(1025, 0), (0, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            assert!(preserved(asked, sockets).is_err(), "{asked} and {sockets}");
        }
    }

    #[test]
    fn sockets_for_another_process_are_not_handed_on() {
        let own = std::process::id().to_string();
        let of = |count, pid| sockets_of(count, pid, None).map(|sockets| sockets.count);
        assert_eq!(of(Some("2"), Some(&own)), Some(2));
        assert_eq!(of(Some("2"), None), Some(2));
        for (count, pid) in
            [(Some("2"), Some("1")), (Some("2"), Some("")), (Some("0"), None), (Some("x"), None), (None, None)]
        {
            assert_eq!(of(count, pid), None, "{count:?} for {pid:?}");
        }
    }
}
