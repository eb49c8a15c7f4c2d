//! How many ticks a step takes: measured around each wave, summed up, and recorded as a mean.

use std::sync::Arc;

use super::turn::Timer;
use crate::telemetry::metrics::Metrics;

/// A mean is recorded when so many steps have come together.
const STEPS_MIN: u64 = 256;
/// Or when so many microseconds have passed, so that a quiet service has figures too.
const WAIT_US_MAX: u64 = 10_000_000;
/// Waves of at least so many steps amortise the clock pair; only they count for the warning.
const AMORTISED_STEPS_MIN: u64 = 64;
/// The warning takes at least so many such steps.
const WARN_STEPS_MIN: u64 = 10_000;
/// And at most one warning in so many microseconds.
const WARN_EVERY_US: u64 = 60_000_000;

/// The tick counter's frequency is measured over so many microseconds: the clock's own grain is a millionth of it.
const RATE_US: u64 = 1_000_000;

/// Sums up what waves cost. One a shard.
#[derive(Debug)]
pub(super) struct TickMeter {
    metrics: Arc<Metrics>,
    budget: u64,
    /// Ticks that an empty pair of clock readings takes.
    pair_ticks: u64,
    ticks: u64,
    steps: u64,
    since_us: u64,
    amortised_ticks: u64,
    amortised_steps: u64,
    warned_us: Option<u64>,
}

impl TickMeter {
    /// Returns a meter at zero.
    pub(super) fn new(metrics: Arc<Metrics>, budget: u64) -> Self {
        let pair_ticks = (0..64)
            .map(|_| {
                let start = ticks();
                ticks().saturating_sub(start)
            })
            .min()
            .unwrap_or(0);
        Self {
            metrics,
            budget,
            pair_ticks,
            ticks: 0,
            steps: 0,
            since_us: 0,
            amortised_ticks: 0,
            amortised_steps: 0,
            warned_us: None,
        }
    }

    /// Hears that a wave of `steps` took so many ticks, the clock pair among them.
    pub(super) fn wave(&mut self, steps: usize, ticks: u64) {
        let ticks = ticks.saturating_sub(self.pair_ticks);
        let steps = steps as u64;
        self.metrics.hot_path_wave_steps.observe(steps);
        self.ticks += ticks;
        self.steps += steps;
        if steps >= AMORTISED_STEPS_MIN {
            self.amortised_ticks += ticks;
            self.amortised_steps += steps;
        }
        if self.steps >= STEPS_MIN {
            self.record();
        }
    }

    /// Records what came together if it is old enough; returns the mean of large waves when it is worth a warning.
    pub(super) fn look(&mut self, now_us: u64) -> Option<u64> {
        if self.steps > 0 && now_us.saturating_sub(self.since_us) >= WAIT_US_MAX {
            self.record();
        }
        if self.steps == 0 {
            self.since_us = now_us;
        }
        if self.amortised_steps < WARN_STEPS_MIN {
            return None;
        }
        let mean = self.amortised_ticks / self.amortised_steps;
        (self.amortised_ticks, self.amortised_steps) = (0, 0);
        let is_due = self.warned_us.is_none_or(|since| now_us.saturating_sub(since) >= WARN_EVERY_US);
        if mean <= self.budget || !is_due {
            return None;
        }
        self.warned_us = Some(now_us);
        Some(mean)
    }

    fn record(&mut self) {
        self.metrics.hot_path_ticks.observe_mean(self.ticks, self.steps);
        if self.ticks > self.budget * self.steps {
            self.metrics.hot_path_over_budget.increment();
        }
        (self.ticks, self.steps) = (0, 0);
    }
}

/// Finds the frequency of the tick counter, once, by the monotonic clock.
#[derive(Debug)]
pub(super) struct TickRate(Option<(u64, u64)>);

impl TickRate {
    /// Begins to measure.
    pub(super) fn new(now_us: u64) -> Self {
        Self(Some((now_us, ticks())))
    }

    /// Returns the frequency in hertz when enough time has passed, and once only.
    pub(super) fn look(&mut self, now_us: u64) -> Option<u64> {
        let (since_us, since_ticks) = self.0?;
        let passed_us = now_us.saturating_sub(since_us);
        if passed_us < RATE_US {
            return None;
        }
        self.0 = None;
        let passed = u128::from(ticks().saturating_sub(since_ticks)) * 1_000_000 / u128::from(passed_us);
        u64::try_from(passed).ok()
    }
}

/// Reads the processor's invariant time-stamp counter; elsewhere, nanoseconds of the monotonic clock.
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: every x86_64 processor has the instruction, and it touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads the processor's invariant time-stamp counter; elsewhere, nanoseconds of the monotonic clock.
#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    super::clock::monotonic_ns()
}

impl Timer for TickMeter {
    fn around(&mut self, steps: usize, run: impl FnOnce()) {
        let start = ticks();
        run();
        self.wave(steps, ticks().saturating_sub(start));
    }
}
