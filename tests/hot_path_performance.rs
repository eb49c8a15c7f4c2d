//! The rules of the hot call: it allocates nothing, makes no system call, and stays within its ticks.
//!
//! Ticks are printed always and judged only when `KNHK_TICKS_GATE=1`, because shared machines are noisy, and only
//! figures of a release build mean anything: `cargo test --test hot_path_performance --release`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use knhk::kernel::{Kernel, Phase, Step, Wave, run};
use knhk::net::{Gate, Shape, ShapeTask};
use knhk::perf::load::{Held, Load};

/// Ticks a step that P1 of the performance goals allows, half of the waves below.
const TICKS_P50_MAX: f64 = 16.0;

/// One test after the other: they measure.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator; the counter is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Cases of narrow nets in bits or counters.
fn narrow(held: Held) -> (Kernel, Vec<Wave>) {
    let mut load = Load::new(Kernel::new(), 2_000, held, 7);
    let waves = (0..8).map(|_| Wave::new());
    let steps = load.steps(8 * 200);
    let mut waves: Vec<Wave> = waves.collect();
    for (wave, steps) in waves.iter_mut().zip(steps.chunks(200)) {
        for step in steps {
            let put = &step.put[..step.put_count];
            let step = Step { net: step.net, slot: step.slot, task: step.task, phase: step.phase, put };
            wave.push(step).expect("room");
        }
    }
    (load.kernel, waves)
}

/// Cases of one net that is too wide for a word, in bits and in counters, mixed.
fn wide() -> (Kernel, Vec<Wave>) {
    let task = |at: u16| ShapeTask {
        id: format!("t{at}"),
        join: [Gate::And, Gate::Xor, Gate::Or][usize::from(at % 3)],
        split: Gate::And,
        preset: vec![at],
        flows: vec![(at + 1) % 80],
        removes: vec![at],
        stops: Vec::new(),
    };
    let mut shape = Shape { conditions: (0..80).map(|at| format!("c{at}")).collect(), tasks: Vec::new() };
    shape.tasks = (0..80).map(task).collect();
    let net = Arc::new(shape.net("wide"));
    assert!(net.is_safe);
    let mut kernel = Kernel::new();
    let handle = kernel.add_net(&net);
    let mut wave = Wave::new();
    for at in 0..200 {
        let mut slot = kernel.open(handle, at % 80);
        if at % 2 == 0 {
            slot = kernel.widen(handle, slot);
        }
        let put = [(at % 80 + 1) % 80];
        let step = Step { net: handle, slot, task: at % 80, phase: Phase::Pass, put: &put };
        wave.push(step).expect("room");
    }
    (kernel, vec![wave])
}

fn loads() -> Vec<(&'static str, Kernel, Vec<Wave>)> {
    let bits = narrow(Held::Bits);
    let counters = narrow(Held::Counters);
    let wide = wide();
    vec![("bits", bits.0, bits.1), ("counters", counters.0, counters.1), ("wide", wide.0, wide.1)]
}

#[test]
fn the_hot_call_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, mut kernel, mut waves) in loads() {
        let before = ALLOCATIONS.get();
        for wave in &mut waves {
            run(&mut kernel, wave);
        }
        let after = ALLOCATIONS.get();
        assert_eq!(after, before, "{name}");
        let done = waves
            .iter()
            .map(|wave| (0..wave.len()).filter(|index| wave.outcome(&kernel, *index).is_done()).count());
        assert!(done.sum::<usize>() > 100, "{name}: the waves do something");
    }
    drop(vec![1]);
    assert!(ALLOCATIONS.get() > 0, "the counter counts");
}

/// Waves run by the thread that may call nothing but read, write and exit.
static WAVES_RUN: AtomicU64 = AtomicU64::new(0);

#[test]
#[cfg(target_os = "linux")]
fn the_hot_call_makes_no_system_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut loads = loads();
    let wave_count: usize = loads.iter().map(|load| load.2.len()).sum();
    let thread = std::thread::Builder::new().spawn(move || {
        // SAFETY: strict seccomp binds this thread alone; any other call than read, write and exit kills us all,
        // which is how this test fails.
        let refused = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0) };
        if refused != 0 {
            WAVES_RUN.store(u64::MAX, Ordering::Release);
            return;
        }
        for (_, kernel, waves) in &mut loads {
            for wave in waves {
                run(kernel, wave);
                WAVES_RUN.fetch_add(1, Ordering::AcqRel);
            }
        }
        // The end of a thread makes calls that strict seccomp forbids, so it goes at once; its memory is left.
        // SAFETY: ends this thread alone; nobody joins it.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    drop(thread.expect("a thread"));
    loop {
        match WAVES_RUN.load(Ordering::Acquire) {
            u64::MAX => panic!("strict seccomp cannot be had here"),
            done if done == wave_count as u64 => break,
            _ => std::thread::yield_now(),
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn ticks_are_within_the_budget() {
    use knhk::engine::ticks;
    use knhk::perf::kernel::{Options, measure};

    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);

    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    let gate = std::env::var_os("KNHK_TICKS_GATE").is_some_and(|value| value == "1");
    let is_release = !cfg!(debug_assertions);
    let (cases, waves) = if is_release { (100_000, 4_000) } else { (2_000, 50) };
    let mut out = std::io::stdout();
    for held in [Held::Bits, Held::Counters] {
        for wave_steps in [64, 256, 1_024] {
            let waves = waves * 64 / wave_steps + 10;
            let options = Options { cases, wave_steps, waves, held, way: None, seed: 1 };
            let figures = measure(&options, ticks);
            writeln!(
                out,
                "hot path: {held:?} {:?}, {cases} cases, waves of {wave_steps}: p50 {:.1} p99 {:.1} mean {:.1} ticks a \
                 step ({} steps; of {} refused {}, tasks changed {}{})",
                figures.way,
                figures.ticks_p50,
                figures.ticks_p99,
                figures.ticks_mean,
                figures.steps,
                figures.looked_at,
                figures.refused,
                figures.changed_tasks,
                if is_release { "" } else { ", debug build" },
            )
            .expect("stdout");
            let within = held == Held::Counters || figures.ticks_p50 <= TICKS_P50_MAX;
            assert!(within || !gate, "p50 is {} ticks, the limit {TICKS_P50_MAX}", figures.ticks_p50);
        }
    }
}
