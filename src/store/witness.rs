//! What `store.lock` says of the database: byte 0 counts deaths, bytes 8 to 15 (little-endian) the journal entries that
//! were ever committed. It is written after the database is flushed, so it never says too much.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[derive(Debug, Default)]
pub(super) struct Witness {
    /// How many processes, one after the other, died while they were opening it.
    pub deaths: u8,
    pub committed: u64,
}

/// So many deaths in a row are not chance: it is the database that kills.
pub(super) const DEADLY: u8 = 3;

impl Witness {
    pub(super) fn read(lock: &File) -> Witness {
        let mut bytes = [0; 16];
        match lock.read_exact_at(&mut bytes, 0) {
            Ok(()) => {
                Witness { deaths: bytes[0], committed: u64::from_le_bytes(bytes[8..].try_into().unwrap_or([0; 8])) }
            }
            Err(_) => Witness::default(),
        }
    }

    /// So many have died of it.
    pub(super) fn count(lock: &File, deaths: u8) -> io::Result<()> {
        lock.write_all_at(&[deaths], 0)
    }

    /// The database is open, and has come so far.
    pub(super) fn write(lock: &File, committed: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&committed.to_le_bytes());
        lock.write_all_at(&bytes, 0)
    }

    /// As if it had killed enough.
    pub(super) fn condemn(lock: &File) -> io::Result<()> {
        Witness::count(lock, DEADLY)
    }
}
