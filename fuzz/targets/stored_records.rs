//! Whatever bytes are on disk: decoding never panics, and what it accepts is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandkeep::model::exits;
use sandkeep::store::schema;

/// Decodes; what was accepted must survive being encoded and decoded again.
macro_rules! survives {
    ($data:expr, $decode:path, $encode:path) => {
        if let Ok(record) = $decode($data) {
            let again = $decode(&$encode(&record)).expect("what was written can be read");
            assert_eq!(again, record);
        }
    };
}

fuzz_target!(|data: &[u8]| {
    survives!(data, schema::decode_snapshot, schema::encode_snapshot);
    survives!(data, schema::decode_records, schema::encode_records);
    survives!(data, schema::decode_state, schema::encode_state);
    survives!(data, schema::decode_intent, schema::encode_intent);
    survives!(data, schema::decode_journal_entry, schema::encode_journal_entry);
    survives!(data, schema::decode_pending, schema::encode_pending);
    survives!(data, schema::decode_hook_record, schema::encode_hook_record);
    survives!(data, schema::decode_limits, schema::encode_limits);
    survives!(data, schema::decode_scope, schema::encode_scope);

    let records = exits::decode_all(data);
    let again: Vec<u8> = records.iter().flat_map(exits::encode).collect();
    assert_eq!(exits::decode_all(&again), records);
});
