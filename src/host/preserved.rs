//! Descriptors of the caller's that the application gets beside its stdio: those of `--preserve-fds`, from 3 on, and those
//! of socket activation after them (sd_listen_fds(3)).

use std::path::Path;

use crate::container::init::Listen;

/// Far more than anybody hands on, and few enough to be looked at one by one.
const MOST: u32 = 1024;

/// Descriptors that cannot be handed on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Their texts say it.
pub enum PreservedError {
    #[error("--preserve-fds {asked} and LISTEN_FDS {listen_fds}: together more than {MOST}")]
    TooMany { asked: u32, listen_fds: u32 },
    #[error("--preserve-fds {count}: file descriptor {number} is not open")]
    NotOpen { count: u32, number: u32 },
}

/// How many there are of both. All of them are open: the application would get ours instead.
pub fn check(asked: u32, listen: Option<&Listen>) -> Result<u32, PreservedError> {
    let count = count(asked, listen.map_or(0, |listen| listen.count))?;
    match (3..3 + count).find(|number| !Path::new(&format!("/proc/self/fd/{number}")).exists()) {
        None => Ok(count),
        Some(number) => Err(PreservedError::NotOpen { count, number }),
    }
}

fn count(asked: u32, listen_fds: u32) -> Result<u32, PreservedError> {
    let count = asked.checked_add(listen_fds).filter(|count| *count <= MOST);
    count.ok_or(PreservedError::TooMany { asked, listen_fds })
}

/// Descriptors that somebody hands to this very process are the application's.
pub fn listen() -> Option<Listen> {
    let number = |name: &str| std::env::var_os(name)?.to_str()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|count| ours && *count > 0)?;
    Some(Listen { count, names: std::env::var_os("LISTEN_FDNAMES") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_cannot_all_be_there_are_refused_before_they_are_counted() {
        assert_eq!(count(3, 2).ok(), Some(5));
        assert_eq!(count(1024, 0).ok(), Some(1024));
        for (asked, listen_fds) in [(1025, 0), (0, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            assert!(count(asked, listen_fds).is_err(), "{asked} and {listen_fds}");
        }
    }
}
