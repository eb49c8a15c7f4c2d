//! Any bytes as a journal entry's record, a case's events and rows: read or refused, and never a panic.
#![no_main]

use knhk::case::encode;
use knhk::case::row::{CaseRow, InstanceRow, ItemRow};
use knhk::engine::record::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        let again = record.encode();
        assert_eq!(Record::decode(&again).as_ref(), Ok(&record));
    }
    if let Ok(events) = encode::events_from_bytes(bytes) {
        assert_eq!(encode::events_from_bytes(&encode::events_to_bytes(&events)).as_ref(), Ok(&events));
    }
    let _ = encode::row_from_bytes::<CaseRow>(bytes);
    let _ = encode::row_from_bytes::<InstanceRow>(bytes);
    let _ = encode::row_from_bytes::<ItemRow>(bytes);
});
