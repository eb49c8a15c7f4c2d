//! Any bytes as the only segment of a journal: the store opens or says what is damaged, and verifying never panics.
#![no_main]

use std::sync::Arc;

use knhk::engine::fold::EngineFold;
use knhk::id::Time;
use knhk::store::{Fold, Level, MemTables, Options, Part, RealDisk, Start, StoreId, look, open, verify};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for this run");
    let state_dir = folder.path().join("state");
    std::fs::create_dir_all(state_dir.join("journal")).expect("the folder is ours");
    let name = "00000000000000000001-0000000001.jnl";
    std::fs::write(state_dir.join("journal").join(name), bytes).expect("the folder is ours");
    let options = Options {
        state_dir,
        cache_dir: folder.path().join("cache"),
        segment_bytes: 1 << 16,
        hurried_bytes: 1 << 16,
        frame_bytes_max: 1 << 14,
        grace_us: 0,
        keep_us: 0,
        format_max: knhk::store::FORMAT,
        planted: None,
    };
    let tables = Arc::new(MemTables::default());
    let _ = verify(
        &RealDisk,
        Some(&*tables),
        Arc::new(EngineFold),
        &options,
        Level::Full,
        Part::WHOLE,
        &mut |_| {},
    );
    let fold: Arc<dyn Fold> = Arc::new(EngineFold);
    let _ = look(&Arc::new(RealDisk), || Ok(None::<MemTables>), &fold, &options, &[]);
    let start = Start { now: Time(1), fresh_id: StoreId([1; 16]) };
    let _ = open(Arc::new(RealDisk), tables, Arc::new(EngineFold), &options, start, &mut |_| {});
});
