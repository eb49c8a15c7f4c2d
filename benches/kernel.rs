//! Steps a second of the kernel, by form of marking, way and size of wave.
//!
//! Criterion times whole waves with the ordinary clock; ticks a step come from `knhk performance benchmark` and
//! `tests/hot_path_performance.rs`, which share [`knhk::perf::kernel::measure`].

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use knhk::kernel::{Kernel, Step, Wave, Way, run};
use knhk::perf::load::{Held, Load};

/// Live cases of the load.
const CASES: usize = 100_000;

fn waves(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel");
    for (name, held, way) in [
        ("bits", Held::Bits, Way::best()),
        ("bits, scalar", Held::Bits, Way::Scalar),
        ("counters", Held::Counters, Way::best()),
    ] {
        let mut load = Load::new(Kernel::with_way(way), CASES, held, 1);
        for wave_steps in [64, 1_024] {
            group.throughput(Throughput::Elements(wave_steps as u64));
            group.bench_with_input(BenchmarkId::new(name, wave_steps), &wave_steps, |bench, &wave_steps| {
                // The load and the wave change hands with each sample: choosing steps is not timed.
                let shared = std::cell::RefCell::new(&mut load);
                bench.iter_batched_ref(
                    || fill(&mut shared.borrow_mut(), wave_steps),
                    |wave| run(&mut shared.borrow_mut().kernel, black_box(wave)),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

fn fill(load: &mut Load, wave_steps: usize) -> Wave {
    let mut wave = Wave::new();
    for step in load.steps(wave_steps) {
        let put = &step.put[..step.put_count];
        let step = Step { net: step.net, slot: step.slot, task: step.task, phase: step.phase, put };
        wave.push(step).expect("room for a step");
    }
    wave
}

criterion_group!(benches, waves);
criterion_main!(benches);
