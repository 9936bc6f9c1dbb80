//! The descriptors of the caller that an application gets (--preserve-fds, and those of socket activation).

use std::path::Path;

use super::HostError;

/// They must be open, or the application would get ours instead.
pub fn check(count: u32) -> Result<(), HostError> {
    let closed = (3..3 + count as i32).find(|number| !Path::new(&format!("/proc/self/fd/{number}")).exists());
    closed.map_or(Ok(()), |number| Err(HostError::NotPreserved { count, number }))
}
