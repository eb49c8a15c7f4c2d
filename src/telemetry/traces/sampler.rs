//! How many traces begin in one second.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::Time;

const SECOND_US: u64 = 1_000_000;
/// The lower half counts, the upper half is the second.
const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Lets the first so many of each second through. Takes no lock.
#[derive(Debug)]
pub(super) struct Sampler {
    per_second_max: u64,
    state: AtomicU64,
}

impl Sampler {
    /// Returns a sampler; more than a 32-bit number a second is as good as all.
    pub(super) fn new(per_second_max: u64) -> Self {
        Self { per_second_max: per_second_max.min(COUNT_MASK), state: AtomicU64::new(0) }
    }

    /// Tells whether one more is let through.
    pub(super) fn take(&self, now: Time) -> bool {
        let second = (now.0 / SECOND_US) & COUNT_MASK;
        let more = |state: u64| {
            let count = if state >> COUNT_BITS == second { state & COUNT_MASK } else { 0 };
            (count < self.per_second_max).then_some(second << COUNT_BITS | (count + 1))
        };
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_as_many_as_the_limit() {
        let sampler = Sampler::new(2);
        let taken = |us| sampler.take(Time(us));
        assert_eq!([0, 1, 999_999].map(taken), [true, true, false]);
        assert_eq!([1_000_000, 1_000_001, 1_999_999].map(taken), [true, true, false]);
        assert!(!Sampler::new(0).take(Time(0)));
    }
}
