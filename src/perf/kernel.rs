//! How many ticks a step takes in the kernel.
//!
//! What is timed is one call of [`crate::kernel::run`] with a whole wave: tokens chosen, refusals, the changed
//! enabled set, the record. Choosing the steps and pushing them is not. Steps for many waves are chosen before
//! the first of them runs, so that choosing a step does not bring its marking into the cache just before.

use super::load::{Held, Load, Nets};
use crate::engine::advise;
use crate::kernel::{Kernel, Step, WAVE_STEPS_MAX, Wave, Way, run};

/// Waves whose steps are chosen together.
const WAVES_AHEAD_MAX: usize = 64;
/// Pairs of readings that calibrate the cost of a pair.
const CALIBRATION_PAIRS: usize = 1_000;

/// One of this many waves has its outcomes looked at.
const OUTCOMES_EVERY: usize = 16;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Live cases.
    pub cases: usize,
    /// Steps in a wave; at most [`WAVE_STEPS_MAX`] and the cases.
    pub wave_steps: usize,
    /// Waves that count; a fifth of that number runs before them.
    pub waves: usize,
    /// Bits or counters.
    pub held: Held,
    /// How the kernel runs; `None` for the best way of this processor.
    pub way: Option<Way>,
    /// Chooses cases and steps.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Ticks a step, half of the waves below.
    pub ticks_p50: f64,
    /// Ticks a step, 99 of 100 waves below.
    pub ticks_p99: f64,
    /// Ticks a step over all waves.
    pub ticks_mean: f64,
    /// Cost of the pair of clock readings, taken off each wave.
    pub clock_pair_ticks: u64,
    /// Steps that counted.
    pub steps: u64,
    /// Steps whose outcomes were looked at.
    pub looked_at: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Tasks whose enabling these changed.
    pub changed_tasks: u64,
    /// How the kernel ran.
    pub way: Way,
}

/// Measures the typical nets; `read_ticks` is [`crate::engine::ticks`], or a clock of a test's own.
///
/// # Panics
/// No cases, no steps in a wave or no waves.
pub fn measure(options: &Options, read_ticks: impl FnMut() -> u64) -> Figures {
    measure_on(Nets::Typical, options, read_ticks)
}

/// Measures some nets.
///
/// # Panics
/// No cases, no steps in a wave or no waves.
pub fn measure_on(nets: Nets, options: &Options, mut read_ticks: impl FnMut() -> u64) -> Figures {
    assert!(
        options.cases > 0 && options.wave_steps > 0 && options.waves > 0,
        "invariant: something to measure"
    );
    let mut kernel = Kernel::with_way(options.way.unwrap_or_else(Way::best));
    // As a shard does before it has a case.
    kernel.reserve(options.cases);
    kernel.regions().into_iter().for_each(advise);
    let mut load = Load::of(nets, kernel, options.cases, options.held, options.seed);
    let wave_steps = options.wave_steps.min(WAVE_STEPS_MAX).min(options.cases);
    let ahead = (options.cases / 2 / wave_steps).clamp(1, WAVES_AHEAD_MAX);
    let pair = clock_pair(&mut read_ticks);
    let mut wave = Wave::new();
    let mut ticks: Vec<u64> = Vec::with_capacity(options.waves);
    let mut figures = Figures {
        ticks_p50: 0.0,
        ticks_p99: 0.0,
        ticks_mean: 0.0,
        clock_pair_ticks: pair,
        steps: 0,
        looked_at: 0,
        refused: 0,
        changed_tasks: 0,
        way: load.kernel.way(),
    };
    let mut warming = options.waves.div_ceil(5);
    while ticks.len() < options.waves {
        let steps = load.steps(ahead * wave_steps);
        for part in steps.chunks_exact(wave_steps) {
            wave.clear();
            for step in part {
                let put = &step.put[..step.put_count];
                let step = Step { net: step.net, slot: step.slot, task: step.task, phase: step.phase, put };
                wave.push(step).expect("invariant: a wave has room for its steps");
            }
            let before = read_ticks();
            run(&mut load.kernel, &mut wave);
            let taken = read_ticks().saturating_sub(before).saturating_sub(pair);
            if warming > 0 {
                warming -= 1;
                continue;
            }
            if ticks.len() < options.waves {
                ticks.push(taken);
                figures.steps += u64::try_from(wave_steps).expect("invariant: a wave is small");
                // Reading outcomes would leave the caches other than a service does; a few waves tell enough.
                if ticks.len() % OUTCOMES_EVERY == 1 {
                    count(&load.kernel, &wave, &mut figures);
                }
            }
        }
    }
    sum_up(&mut ticks, wave_steps, &mut figures);
    figures
}

fn clock_pair(read_ticks: &mut impl FnMut() -> u64) -> u64 {
    let pairs = (0..CALIBRATION_PAIRS).map(|_| {
        let before = read_ticks();
        read_ticks().saturating_sub(before)
    });
    pairs.min().unwrap_or(0)
}

fn count(kernel: &Kernel, wave: &Wave, figures: &mut Figures) {
    for index in 0..wave.len() {
        let outcome = wave.outcome(kernel, index);
        figures.looked_at += 1;
        figures.refused += u64::from(outcome.refused());
        let changed = outcome.enabled().count() + outcome.withdrawn().count() + outcome.changed().count();
        figures.changed_tasks += u64::try_from(changed).expect("invariant: few tasks");
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of one wave are far below 2^52")]
fn sum_up(ticks: &mut [u64], wave_steps: usize, figures: &mut Figures) {
    ticks.sort_unstable();
    let steps = wave_steps as f64;
    let at = |share: usize| ticks[(ticks.len() * share / 100).min(ticks.len() - 1)] as f64 / steps;
    figures.ticks_p50 = at(50);
    figures.ticks_p99 = at(99);
    figures.ticks_mean = ticks.iter().sum::<u64>() as f64 / (steps * ticks.len() as f64);
}
