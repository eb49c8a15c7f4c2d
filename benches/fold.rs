//! Journal entries to rows: what the follower, a start and verification do with each.

use std::cell::RefCell;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "each bench uses a part of it")]
mod facts;

/// Cases that take steps in turn.
const CASES: usize = 10_000;

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    for entries in [1, 64, 1_024] {
        let folder = tempfile::tempdir().expect("a folder");
        let follower = RefCell::new(facts::open(folder.path()).follower);
        let cases = RefCell::new(facts::Cases::new(CASES));
        let frame = |count| {
            let follower = follower.borrow();
            facts::frame(follower.seq(), follower.hash(), cases.borrow_mut().entries(count))
        };
        let created = frame(CASES);
        follower.borrow_mut().apply(&created).expect("our own facts");
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::new("frame", entries), |bench| {
            bench.iter_batched_ref(
                || frame(entries),
                |frame| follower.borrow_mut().apply(frame).expect("our own facts"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
