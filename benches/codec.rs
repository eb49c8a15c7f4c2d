//! Facts, records and rows to bytes and back.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use knhk::case::encode::{events_from_bytes, events_to_bytes};
use knhk::engine::record::{Body, Record};

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "each bench uses a part of it")]
mod facts;

fn facts_and_records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, events) in [("created", facts::created("n00000001")), ("stepped", facts::stepped(1))] {
        let (bytes, payload) = (events_to_bytes(&events), facts::payload(&events));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{name}, facts to bytes"), |bench| {
            bench.iter(|| events_to_bytes(black_box(&events)));
        });
        group.bench_function(format!("{name}, bytes to facts"), |bench| {
            bench.iter(|| events_from_bytes(black_box(&bytes)).expect("our own facts"));
        });
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(format!("{name}, facts to entry"), |bench| {
            bench.iter(|| facts::payload(black_box(&events)));
        });
        group.bench_function(format!("{name}, entry to facts"), |bench| {
            bench.iter(|| {
                let record = Record::decode(black_box(&payload)).expect("our own record");
                let Body::Case(bytes) = record.body else { unreachable!("a record of a case") };
                events_from_bytes(bytes).expect("our own facts")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, facts_and_records);
criterion_main!(benches);
