//! Any bytes are read or refused, and every position lies in the source.
#![no_main]

use knhk::spec;

libfuzzer_sys::fuzz_target!(|source: &[u8]| {
    let reading = spec::read(source);
    assert!(reading.specification.is_some() || !reading.mistakes.is_empty());
    assert!(reading.mistakes.len() <= spec::MISTAKES_MAX + 1);
    for mistake in &reading.mistakes {
        assert!(mistake.at.offset as usize <= source.len());
    }
});
