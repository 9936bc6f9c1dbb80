//! The exit records of a sandbox: what the supervisor appends, and what anyone reads after its end.
//!
//! An entry is the length of its payload (u32, little endian), the CRC-32 of the payload (u32, little endian), and the
//! payload, JSON. The file is preallocated: a zero length is its end, and so is the first entry that is torn.

use serde::{Deserialize, Serialize};

use super::record::Exit;

/// No entry is longer: an id of 1024 bytes and a few numbers.
const MAX_PAYLOAD: usize = 4096;
const HEADER: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    pub container: String,
    pub exit: Exit,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    container: String,
    code: u8,
    signal: Option<u8>,
    at: i64,
    inferred: bool,
}

pub fn encode(record: &ExitRecord) -> Vec<u8> {
    let Exit { code, signal, at, inferred } = record.exit;
    let payload = Payload { container: record.container.clone(), code, signal, at, inferred };
    let payload = serde_json::to_vec(&payload).expect("plain fields always serialise");
    let mut entry = Vec::with_capacity(HEADER + payload.len());
    entry.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    entry.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    entry.extend_from_slice(&payload);
    entry
}

/// Every whole entry from the start up to the first that is not. Never fails: what is torn was never promised.
pub fn decode_all(mut bytes: &[u8]) -> Vec<ExitRecord> {
    let mut records = Vec::new();
    while let Some((record, rest)) = decode_one(bytes) {
        records.push(record);
        bytes = rest;
    }
    records
}

fn decode_one(bytes: &[u8]) -> Option<(ExitRecord, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > MAX_PAYLOAD {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*crc) {
        return None;
    }
    let Payload { container, code, signal, at, inferred } = serde_json::from_slice(payload).ok()?;
    Some((ExitRecord { container, exit: Exit { code, signal, at, inferred } }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(container: &str, code: u8) -> ExitRecord {
        ExitRecord { container: container.to_owned(), exit: Exit { code, signal: None, at: 1, inferred: false } }
    }

    #[test]
    fn records_come_back_in_order_and_zeros_are_the_end() {
        let records = vec![record("a", 0), record(&"x".repeat(1024), 255)];
        let mut bytes: Vec<u8> = records.iter().flat_map(encode).collect();
        bytes.resize(4096, 0);
        assert_eq!(decode_all(&bytes), records);
    }

    #[test]
    fn a_torn_or_changed_entry_ends_the_reading() {
        let (one, two) = (encode(&record("a", 1)), encode(&record("b", 2)));
        let bytes = [one.clone(), two].concat();
        for end in one.len()..bytes.len() {
            assert_eq!(decode_all(&bytes[..end]), vec![record("a", 1)]);
        }
        for at in one.len()..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            assert_eq!(decode_all(&changed), vec![record("a", 1)], "byte {at}");
        }
    }
}
