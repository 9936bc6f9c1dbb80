//! Whatever a peer sends: decoding never panics, and a frame that is accepted means the same when it is sent again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandkeep::control::wire;

fuzz_target!(|data: &[u8]| {
    if let Ok((id, request)) = wire::decode_request(data) {
        let again = wire::decode_request(&wire::encode_request(id, &request)).expect("our own frame");
        assert_eq!(again, (id, request));
    }
    if let Ok((id, outcome)) = wire::decode_reply(data) {
        let again = wire::decode_reply(&wire::encode_reply(id, &outcome)).expect("our own frame");
        assert_eq!(again, (id, outcome));
    }
});
