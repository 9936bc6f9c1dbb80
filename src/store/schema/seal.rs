//! The checksum that a published snapshot begins with: `{"crc32":"…` and then all that it is a checksum of.
//!
//! It stands before everything else, the version included, so that no damage of the file can take it for one of the time
//! before there were checksums. It finds damage; whoever may write the file can write a checksum that fits.

/// The digits before they are known.
pub(super) const OPEN: &str = "00000000";

const BEFORE: &[u8] = b"{\"crc32\":\"";
const COVERED: usize = BEFORE.len() + OPEN.len();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    Whole,
    Broken,
    /// Not a file that begins with one.
    Absent,
}

pub(super) fn of(bytes: &[u8]) -> Seal {
    match bytes.strip_prefix(BEFORE) {
        None => Seal::Absent,
        Some(rest) if bytes.len() >= COVERED && rest.starts_with(digits(bytes).as_bytes()) => Seal::Whole,
        Some(_) => Seal::Broken,
    }
}

/// Puts the digits in their place; `bytes` was written with [`OPEN`] there.
pub(super) fn set(bytes: &mut [u8]) {
    debug_assert!(bytes.starts_with(BEFORE), "the checksum is the first field");
    let digits = digits(bytes);
    bytes[BEFORE.len()..COVERED].copy_from_slice(digits.as_bytes());
}

fn digits(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(&bytes[COVERED..]))
}
