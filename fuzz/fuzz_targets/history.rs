//! Any bytes as the history of a case, as another machine sends it to be restored: a chain that holds, or a refusal.
#![no_main]

use knhk::store::CaseHistory;

/// Packs rows as `CaseHistory::pack` does, so that more than the checksum is looked at.
fn packed(rows: &[u8]) -> Vec<u8> {
    let mut out = b"KNHKCASE".to_vec();
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    out.extend_from_slice(&zstd::bulk::compress(rows, 1).expect("memory is enough"));
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for text in [bytes.to_vec(), packed(bytes)] {
        if let Ok(history) = CaseHistory::unpack(&text) {
            assert!(history.check().is_ok());
            let again = history.pack().expect("what was unpacked can be packed");
            assert_eq!(CaseHistory::unpack(&again).as_ref(), Ok(&history));
        }
    }
});
