//! Numbers that nobody else has: names of what is on its way, and the incarnations of sandboxes.

use std::fs::File;
use std::io::{self, Read};

/// `BYTES` random bytes of the kernel's (random(4)) as twice as many hex digits.
pub fn hex<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0u8; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_them_differ_and_have_the_length_that_was_asked_for() {
        let (first, second) = (hex::<16>().unwrap(), hex::<16>().unwrap());
        assert_eq!(first.len(), 32);
        assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(first, second);
    }
}
