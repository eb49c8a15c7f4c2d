//! Signs of life of a shard: it gives them in the middle of its turns, so that no one has to wait for the end of one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::turn::{Mix, Timer};

/// What a shard shows of itself while it works.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    evaluated: AtomicU64,
}

impl Pulse {
    /// Counts a sign of life.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns how many signs of life there were.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Acquire)
    }

    /// Returns how many evaluation steps the shard has taken, without those of the jobs that it is at.
    pub fn evaluated(&self) -> u64 {
        self.evaluated.load(Ordering::Acquire)
    }

    /// Counts what a turn has evaluated.
    pub(super) fn add(&self, evaluated: u64) {
        self.evaluated.fetch_add(evaluated, Ordering::AcqRel);
    }
}

/// A timer that gives a sign of life before each decision.
pub(super) struct Beating<'a, T> {
    pub(super) timer: &'a mut T,
    pub(super) pulse: &'a Pulse,
}

impl<T: Timer> Timer for Beating<'_, T> {
    fn moves(&mut self) {
        self.pulse.beat();
        self.timer.moves();
    }

    fn around(&mut self, mix: Mix, run: impl FnOnce()) {
        self.timer.around(mix, run);
    }
}
