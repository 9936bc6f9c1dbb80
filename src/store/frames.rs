//! Records in a file that is only ever appended to: four marker bytes, the length and the CRC-32 of the payload (both
//! u32, little-endian), and the payload. A torn record is stepped over to the next marker, so that a writer which died
//! or found no room hides nothing that others write after it.

const MARKER: &[u8; 4] = b"\x00SKP";
const HEADER: usize = 12;

pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [MARKER, &length, &crc32fast::hash(payload).to_le_bytes(), payload].concat()
}

/// Total: any bytes give the payloads of the whole records among them. A length above `cap` is no record's.
pub(super) fn payloads(bytes: &[u8], cap: usize) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        match payload(&bytes[at..], cap) {
            Some(payload) => {
                found.push(payload);
                at += HEADER + payload.len();
            }
            None => at += 1,
        }
    }
    found
}

fn payload(bytes: &[u8], cap: usize) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MARKER)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let payload = rest.get(..length).filter(|_| length <= cap)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_does_not_hide_those_after_it() {
        let (first, second) = (frame(b"{\"a\":1}"), frame(b"{}"));
        for kept in 0..first.len() {
            let file = [&first[..kept], &second[..]].concat();
            assert_eq!(payloads(&file, 100), [b"{}"], "{kept} bytes of the first");
        }
        assert_eq!(payloads(&[first, second].concat(), 100).len(), 2);
    }

    #[test]
    fn a_length_above_the_cap_is_not_believed() {
        assert_eq!(payloads(&frame(b"12345"), 4), [b""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            payloads(&bytes, 100);
        }
    }
}
