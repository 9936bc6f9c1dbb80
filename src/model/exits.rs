//! The `exits` file as bytes: how containers ended, appended by the supervisor, read by everyone after it is gone.
//!
//! A record is its length and the CRC-32 of its payload (both u32, little-endian), then the payload: one JSON object.
//! The file is preallocated, so that a full disk cannot lose a status: zeros where a length should be mean "end".
//! A torn tail is what a writer left that died in the middle, or that will try again at the same place: it is no
//! record. Pure: who writes and reads is the business of others.

#![allow(clippy::disallowed_macros)] // What schemars derives uses it on texts.

use serde::{Deserialize, Serialize};

use super::record::Exit;

/// How one container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    /// The id of the container.
    pub container: String,
    /// How, and when.
    pub exit: Exit,
}

/// The longest payload, in bytes: an id of 1,024 bytes fits several times.
pub const MAX_PAYLOAD: usize = 8192;
/// The most of an exits file that is worth reading, in bytes.
pub const MAX_FILE: usize = 16 << 20;
/// What is preallocated of it, in bytes.
pub const PREALLOCATED: usize = 64 << 10;

const HEADER: usize = 8;

/// The payload of version 1, which stays as it is.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(title = "sandkeep exit record, version 1")]
#[allow(missing_docs)] // Comments would become part of the published schema.
pub struct ExitRecordV1 {
    pub version: u32,
    pub container: String,
    /// The exit code, or 128 + the signal's number.
    pub code: u8,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// Nanoseconds since the Unix epoch, UTC.
    pub at: i64,
    /// Nobody could record the status; it was assumed.
    pub inferred: bool,
}

/// The bytes to append. The container's id must be one that `Id` accepts; a longer one makes a record that readers
/// leave out.
pub fn encode(record: &ExitRecord) -> Vec<u8> {
    let payload = encode_payload(record);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// Every whole record, in the order written. Total: any bytes give an answer.
pub fn decode_all(bytes: &[u8]) -> Vec<ExitRecord> {
    decode(bytes).0
}

/// Where the next record belongs: behind the last whole one.
pub fn end_of(bytes: &[u8]) -> usize {
    bytes.len() - decode(bytes).1.len()
}

/// The whole records, and what comes behind them.
fn decode(bytes: &[u8]) -> (Vec<ExitRecord>, &[u8]) {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((payload, after)) = split_frame(rest) {
        // A whole record of another version is stepped over: what follows may be ours.
        records.extend(decode_payload(payload));
        rest = after;
    }
    (records, rest)
}

/// The payload alone, as the golden bytes hold it.
pub fn encode_payload(record: &ExitRecord) -> Vec<u8> {
    let ExitRecord { container, exit } = record;
    let shape = ExitRecordV1 {
        version: 1,
        container: container.clone(),
        code: exit.code,
        signal: exit.signal,
        at: exit.at,
        inferred: exit.inferred,
    };
    serde_json::to_vec(&shape).expect("numbers and a string are always JSON")
}

/// None: not a record of a version that we know.
pub fn decode_payload(payload: &[u8]) -> Option<ExitRecord> {
    let shape: ExitRecordV1 = super::objects::from_slice(payload).ok()?;
    let ExitRecordV1 { version, container, code, signal, at, inferred } = shape;
    (version == 1).then_some(ExitRecord { container, exit: Exit { code, signal, at, inferred } })
}

fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > MAX_PAYLOAD {
        return None;
    }
    let (payload, after) = rest.split_at_checked(length)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*crc)).then_some((payload, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(container: &str, code: u8) -> ExitRecord {
        ExitRecord { container: container.to_owned(), exit: Exit { code, signal: None, at: 7, inferred: false } }
    }

    #[test]
    fn what_was_written_is_read_back_and_preallocated_zeros_are_the_end() {
        let mut file = encode(&record("web", 0));
        file.extend(encode(&record("side", 137)));
        let written = file.len();
        file.resize(PREALLOCATED, 0);
        assert_eq!(decode_all(&file), [record("web", 0), record("side", 137)]);
        assert_eq!(decode_all(&file[..written]).len(), 2);
        assert_eq!(end_of(&file), written);
        assert_eq!(end_of(&[]), 0);
    }

    #[test]
    fn a_record_torn_at_any_byte_is_left_out_and_those_before_it_stay() {
        let first = encode(&record("web", 1));
        let second = encode(&record("side", 2));
        for kept in 0..second.len() {
            for tail in [0, 64] {
                let mut file = [&first[..], &second[..kept]].concat();
                file.resize(file.len() + tail, 0);
                assert_eq!(decode_all(&file), [record("web", 1)], "{kept} bytes of the second");
            }
        }
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let whole = encode(&record("web", 1));
        for bit in 0..whole.len() * 8 {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_all(&file).is_empty(), "bit {bit}");
        }
    }

    #[test]
    fn the_longest_id_fits() {
        let long = record(&"x".repeat(1024), 1);
        assert_eq!(decode_all(&encode(&long)), [long]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            decode_all(&bytes);
        }
    }
}
