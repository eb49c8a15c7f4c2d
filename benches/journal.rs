//! Appends to the journal on a real disk, each with its fdatasync, by entries in a frame.
//!
//! What of this is the disk's own is in `knhk performance benchmark` and `scripts/bench`, which take turns with it.

use std::cell::RefCell;
use std::path::Path;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use knhk::id::Time;
use knhk::store::Log;

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "each bench uses a part of it")]
mod facts;

/// Cases that take steps in turn.
const CASES: usize = 10_000;

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    // Below target and not in /tmp, which may be in memory.
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entries in [1, 64, 1_024] {
        let folder = tempfile::tempdir_in(base).expect("a folder");
        let mut store = facts::open(folder.path());
        for partition in facts::partitions() {
            store.journal.claim(partition).expect("a partition of a new store");
        }
        let (journal, cases) = (RefCell::new(store.journal), RefCell::new(facts::Cases::new(CASES)));
        group.throughput(Throughput::Elements(entries as u64));
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("append", entries), |bench| {
            bench.iter_batched(
                || cases.borrow_mut().entries(entries),
                |entries| journal.borrow_mut().append(Time(2), entries).expect("a disk with space"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
