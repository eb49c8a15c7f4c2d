//! The only place that asks what time it is.

#![expect(clippy::disallowed_methods, reason = "the clocks are read here and nowhere else")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::id::Time;
use crate::store::Moment;

/// Tells the time; the simulator has another one.
pub trait Clock: Send + Sync {
    /// Returns wall-clock time. It may jump, also backwards.
    fn now(&self) -> Time;
    /// Returns microseconds since some moment; never goes back.
    fn monotonic_us(&self) -> u64;
    /// Returns a moment that outlives the process, though not the machine's run.
    fn moment(&self) -> Moment;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    /// The machine's run, and how long it had lasted at the start, in microseconds.
    began: Moment,
}

impl SystemClock {
    /// Returns a clock whose monotonic time begins now.
    pub fn new() -> Self {
        Self { start: Instant::now(), began: boot_moment() }
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

    fn moment(&self) -> Moment {
        Moment { us: self.began.us.saturating_add(self.monotonic_us()), ..self.began }
    }
}

/// Asks the system which run of the machine this is and how long it has lasted (proc(5)). Where it does not tell, this
/// process is a run of its own.
fn boot_moment() -> Moment {
    let read = |path| std::fs::read_to_string(path).ok();
    let boot = read("/proc/sys/kernel/random/boot_id").map(|text| blake3::hash(text.trim().as_bytes()));
    let uptime = read("/proc/uptime").and_then(|text| uptime_us(&text));
    let mut own = [0; 16];
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    own.copy_from_slice(&since.as_nanos().to_le_bytes());
    match (boot, uptime) {
        (Some(boot), Some(us)) => {
            own.copy_from_slice(&boot.as_bytes()[..16]);
            Moment { boot: own, us }
        }
        _ => Moment { boot: own, us: 0 },
    }
}

/// Reads the first number of /proc/uptime: seconds with two decimals.
fn uptime_us(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths = hundredths.parse::<u64>().ok().filter(|_| hundredths.len() == 2)?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(hundredths * 10_000)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_the_machine_began_is_read_and_moments_go_on() {
        assert_eq!(uptime_us("350735.47 234388.90\n"), Some(350_735_470_000));
        for wrong in ["", "12", "12.5 1.00", "a.bc", "-1.00", "99999999999999999999.00"] {
            assert_eq!(uptime_us(wrong), None, "{wrong}");
        }
        let (one, other) = (SystemClock::new(), SystemClock::new());
        let (first, second) = (one.moment(), other.moment());
        assert_eq!(first.boot, second.boot);
        // The system counts in hundredths.
        assert!(first.us <= second.us + 20_000, "{first:?} {second:?}");
    }
}
