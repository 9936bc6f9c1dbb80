//! The intent of the transition in flight: a block at the start of the lock file.
//!
//! Length and CRC-32 of the payload (both u32, little-endian), then the payload. A zero length, or a checksum that
//! does not fit, reads as "none": whoever wrote it died before its first effect. The block was allocated with the
//! file, so that a full disk cannot keep a delete or a recovery from writing its intent down.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::schema::{MAX_INTENT, decode_intent, encode_intent};
use crate::model::record::Intent;

/// What is allocated at birth, in bytes. All that end a sandbox fit; one that is about to make many cgroups may be
/// longer, and then the file grows.
pub(super) const BLOCK: u64 = 4096;

const HEADER: usize = 8;

/// After this returns, recovery will find the intent; before, no effect has happened.
pub(super) fn write(file: &File, intent: &Intent) -> io::Result<()> {
    let block = encode(intent);
    if block.len() > HEADER + MAX_INTENT {
        return Err(ErrorKind::FileTooLarge.into());
    }
    file.write_all_at(&block, 0)
}

/// Whether it takes no more than the block.
pub(super) fn fits(intent: &Intent) -> bool {
    encode(intent).len() as u64 <= BLOCK
}

pub(super) fn clear(file: &File) -> io::Result<()> {
    file.write_all_at(&[0; HEADER], 0)
}

pub(super) fn read(file: &File) -> io::Result<Option<Intent>> {
    let mut block = vec![0; BLOCK as usize];
    let mut filled = read_at_most(file, &mut block)?;
    if let Some(length) = length(&block).filter(|length| HEADER + length > block.len()) {
        block.resize(HEADER + length, 0);
        filled = read_at_most(file, &mut block)?;
    }
    Ok(decode(&block[..filled]))
}

fn read_at_most(file: &File, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read_at(&mut block[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn encode(intent: &Intent) -> Vec<u8> {
    let payload = encode_intent(intent);
    [&(payload.len() as u32).to_le_bytes()[..], &crc32fast::hash(&payload).to_le_bytes(), &payload].concat()
}

fn length(block: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*block.first_chunk()?) as usize;
    (1..=MAX_INTENT).contains(&length).then_some(length)
}

/// Total: any bytes give an intent or none.
fn decode(block: &[u8]) -> Option<Intent> {
    let payload = block.get(HEADER..HEADER + length(block)?)?;
    let crc = u32::from_le_bytes(*block[4..].first_chunk()?);
    (crc32fast::hash(payload) == crc).then(|| decode_intent(payload).ok())?
}

#[cfg(test)]
mod tests {
    use super::super::schema::samples;
    use super::*;

    fn block_file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(BLOCK).unwrap();
        file
    }

    #[test]
    fn an_intent_is_read_back_until_it_is_cleared() {
        let file = block_file();
        assert_eq!(read(&file).unwrap(), None);
        write(&file, &samples::intent("web")).unwrap();
        assert_eq!(read(&file).unwrap(), Some(samples::intent("web")));
        clear(&file).unwrap();
        assert_eq!(read(&file).unwrap(), None);
    }

    #[test]
    fn an_intent_torn_at_any_byte_is_none_even_over_an_older_one() {
        let old = encode(&samples::intent("an-older-and-longer-one"));
        let new = encode(&samples::intent("web"));
        for kept in 0..new.len() {
            let mut block = vec![0; BLOCK as usize];
            block[..old.len()].copy_from_slice(&old);
            block[..HEADER].fill(0);
            block[..kept].copy_from_slice(&new[..kept]);
            assert_eq!(decode(&block), None, "{kept} bytes");
        }
    }

    #[test]
    fn an_intent_that_ends_a_sandbox_with_the_longest_ids_fits_the_block() {
        let mut intent = samples::intent(&"x".repeat(1024));
        intent.container = crate::model::Id::parse(&"y".repeat(1024)).unwrap();
        intent.cgroups.clear();
        assert!(fits(&intent));
    }

    #[test]
    fn an_intent_with_a_dozen_deep_cgroups_makes_the_file_grow() {
        let file = block_file();
        let mut intent = samples::intent(&"x".repeat(1024));
        intent.cgroups = (0..12).map(|n| format!("/sys/fs/cgroup/{n}/{}", "x".repeat(900)).into()).collect();
        write(&file, &intent).unwrap();
        assert_eq!(read(&file).unwrap(), Some(intent));
    }

    proptest::proptest! {
        #[test]
        fn any_block_gives_an_answer(block in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            decode(&block);
        }
    }
}
