//! The only place that asks what time it is.

#![expect(clippy::disallowed_methods, reason = "the clocks are read here and nowhere else")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::id::Time;

/// Tells the time; the simulator has another one.
pub trait Clock: Send + Sync {
    /// Returns wall-clock time. It may jump, also backwards.
    fn now(&self) -> Time;
    /// Returns microseconds since some moment; never goes back.
    fn monotonic_us(&self) -> u64;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Returns a clock whose monotonic time begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Returns a moment `us` microseconds from now, for waits with a limit.
pub fn deadline_in_us(us: u64) -> Instant {
    Instant::now() + Duration::from_micros(us)
}

/// Returns how long it is until `deadline`; zero when it has passed.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Returns nanoseconds since the first call: what stands in for ticks where the processor has no counter.
#[cfg(not(target_arch = "x86_64"))]
pub fn monotonic_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
