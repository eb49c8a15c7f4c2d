//! The only place that asks what time it is.

#![expect(clippy::disallowed_methods, reason = "the clocks are read here and nowhere else")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::id::Time;
use crate::store::Moment;

/// A wall clock that is further ahead of the time that was told has jumped, in microseconds.
pub const JUMP_US: u64 = 60_000_000;
/// A jump ahead is believed once it has lasted so long, in microseconds that nobody sets: a bad moment of a time server is
/// over by then, and a clock that was set right late is not kept waiting for long.
pub const JUMP_LASTS_US: u64 = 120_000_000;
/// A wall clock that is further behind the time that is told was set back, in microseconds.
const BEHIND_US: u64 = 1_000_000;

/// Tells the time; the simulator has another one.
pub trait Clock: Send + Sync {
    /// Returns wall-clock time. It may jump, also backwards.
    fn now(&self) -> Time;
    /// Returns how the machine's wall clock stands to the time that [`Clock::now`] tells.
    fn skew(&self) -> Skew {
        Skew::None
    }
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

/// How a wall clock stands to the time that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// They agree.
    None,
    /// It jumped ahead by so many microseconds, and is not believed yet.
    Ahead(u64),
    /// It is behind by so many microseconds: time goes on without it.
    Behind(u64),
}

/// A clock that never goes back, and that takes a large jump ahead of another's wall clock for true only once it has
/// lasted for [`JUMP_LASTS_US`]. Meanwhile, and while the wall clock is behind, time goes on by the monotonic clock.
///
/// Somebody has to ask for the time every now and then, or a jump that is over unseen would seem to have lasted.
#[derive(Debug)]
pub struct BelievingClock<C> {
    inner: C,
    /// What is added to monotonic time to have the time that is told; never becomes less.
    offset_us: AtomicU64,
    /// Monotonic time plus one when a jump ahead was first seen; 0 when there is none.
    ahead_since_us: AtomicU64,
}

impl<C: Clock> BelievingClock<C> {
    /// Returns a clock that believes what `inner` says now.
    pub fn new(inner: C) -> Self {
        let wall_us = inner.now().0;
        let offset_us = AtomicU64::new(wall_us.saturating_sub(inner.monotonic_us()));
        Self { inner, offset_us, ahead_since_us: AtomicU64::new(0) }
    }

    /// Returns the wall clock's reading, monotonic time, and the time that is told without the wall clock.
    fn read(&self) -> (u64, u64, u64) {
        // In this order, so that a thread that has to wait between the two makes up no time.
        let wall_us = self.inner.now().0;
        let monotonic_us = self.inner.monotonic_us();
        let told_us = self.offset_us.load(Ordering::Acquire).saturating_add(monotonic_us);
        (wall_us, monotonic_us, told_us)
    }

    /// Tells whether a jump ahead, seen now, has lasted long enough.
    fn has_lasted(&self, monotonic_us: u64) -> bool {
        let seen_us = monotonic_us + 1;
        let since_us =
            match self.ahead_since_us.compare_exchange(0, seen_us, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => seen_us,
                Err(since_us) => since_us,
            };
        seen_us.saturating_sub(since_us) >= JUMP_LASTS_US
    }
}

impl<C: Clock> Clock for BelievingClock<C> {
    fn now(&self) -> Time {
        let (wall_us, monotonic_us, told_us) = self.read();
        let ahead_us = wall_us.saturating_sub(told_us);
        if ahead_us > JUMP_US && !self.has_lasted(monotonic_us) {
            return Time(told_us);
        }
        // Written only when it changes: every thread reads it.
        if self.ahead_since_us.load(Ordering::Acquire) != 0 {
            self.ahead_since_us.store(0, Ordering::Release);
        }
        if ahead_us == 0 {
            return Time(told_us);
        }
        let offset_us = wall_us.saturating_sub(monotonic_us);
        let before_us = self.offset_us.fetch_max(offset_us, Ordering::AcqRel);
        Time(before_us.max(offset_us).saturating_add(monotonic_us))
    }

    fn skew(&self) -> Skew {
        let (wall_us, _, told_us) = self.read();
        match (wall_us.saturating_sub(told_us), told_us.saturating_sub(wall_us)) {
            (ahead_us, _) if ahead_us > JUMP_US => Skew::Ahead(ahead_us),
            (_, behind_us) if behind_us > BEHIND_US => Skew::Behind(behind_us),
            _ => Skew::None,
        }
    }

    fn monotonic_us(&self) -> u64 {
        self.inner.monotonic_us()
    }

    fn moment(&self) -> Moment {
        self.inner.moment()
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

    const SECOND: u64 = 1_000_000;
    const YEAR: u64 = 365 * 86_400 * SECOND;
    const START: u64 = 1_800_000_000 * SECOND;

    /// A machine on which somebody sets the clock.
    #[derive(Debug, Default)]
    struct Machine {
        wall_us: AtomicU64,
        monotonic_us: AtomicU64,
    }

    impl Clock for Machine {
        fn now(&self) -> Time {
            Time(self.wall_us.load(Ordering::Relaxed))
        }

        fn monotonic_us(&self) -> u64 {
            self.monotonic_us.load(Ordering::Relaxed)
        }

        fn moment(&self) -> Moment {
            Moment { boot: [0; 16], us: self.monotonic_us() }
        }
    }

    /// Returns a clock, asked for the first time at [`START`].
    fn clock() -> BelievingClock<Machine> {
        let machine = Machine { wall_us: AtomicU64::new(START), monotonic_us: AtomicU64::new(7) };
        BelievingClock::new(machine)
    }

    /// Lets time pass, by asking every second as the service does, and returns what is told since [`START`].
    fn pass(clock: &BelievingClock<Machine>, us: u64) -> u64 {
        let mut left = us;
        while left > 0 {
            let step = left.min(SECOND);
            clock.inner.wall_us.fetch_add(step, Ordering::Relaxed);
            clock.inner.monotonic_us.fetch_add(step, Ordering::Relaxed);
            clock.now();
            left -= step;
        }
        clock.now().0 - START
    }

    fn set_ahead(clock: &BelievingClock<Machine>, us: u64) {
        clock.inner.wall_us.fetch_add(us, Ordering::Relaxed);
    }

    fn set_back(clock: &BelievingClock<Machine>, us: u64) {
        clock.inner.wall_us.fetch_sub(us, Ordering::Relaxed);
    }

    #[test]
    fn a_jump_of_a_year_that_is_over_soon_moves_nothing() {
        let clock = clock();
        assert_eq!((pass(&clock, 5 * SECOND), clock.skew()), (5 * SECOND, Skew::None));
        set_ahead(&clock, YEAR);
        assert_eq!(clock.now().0 - START, 5 * SECOND);
        assert_eq!(clock.skew(), Skew::Ahead(YEAR));
        assert_eq!(pass(&clock, JUMP_LASTS_US - SECOND), JUMP_LASTS_US + 4 * SECOND);
        set_back(&clock, YEAR);
        assert_eq!((pass(&clock, SECOND), clock.skew()), (JUMP_LASTS_US + 5 * SECOND, Skew::None));
        // It counts from the beginning when it comes again.
        set_ahead(&clock, YEAR);
        assert_eq!(pass(&clock, JUMP_LASTS_US), 2 * JUMP_LASTS_US + 5 * SECOND);
        assert_eq!(clock.skew(), Skew::Ahead(YEAR));
    }

    #[test]
    fn a_jump_that_lasts_is_believed() {
        let clock = clock();
        set_ahead(&clock, YEAR);
        assert_eq!(pass(&clock, JUMP_LASTS_US), JUMP_LASTS_US);
        assert_eq!((pass(&clock, SECOND), clock.skew()), (YEAR + JUMP_LASTS_US + SECOND, Skew::None));
    }

    #[test]
    fn a_small_step_ahead_is_believed_at_once() {
        let clock = clock();
        set_ahead(&clock, JUMP_US);
        assert_eq!((clock.now().0 - START, clock.skew()), (JUMP_US, Skew::None));
        set_ahead(&clock, JUMP_US + 1);
        assert_eq!((clock.now().0 - START, clock.skew()), (JUMP_US, Skew::Ahead(JUMP_US + 1)));
    }

    #[test]
    fn time_goes_on_while_the_wall_clock_is_behind_and_follows_it_when_it_is_not() {
        let clock = clock();
        set_back(&clock, YEAR);
        assert_eq!((clock.now().0 - START, clock.skew()), (0, Skew::Behind(YEAR)));
        assert_eq!(pass(&clock, 1_000 * SECOND), 1_000 * SECOND);
        // What it makes up for moves nothing before it is ahead.
        set_ahead(&clock, YEAR);
        assert_eq!((clock.now().0 - START, clock.skew()), (1_000 * SECOND, Skew::None));
        set_ahead(&clock, 3 * SECOND);
        assert_eq!(pass(&clock, SECOND), 1_004 * SECOND);
    }

    #[test]
    fn clocks_at_their_ends_move_nothing_back() {
        let clock = clock();
        clock.inner.wall_us.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(clock.now(), Time(START));
        clock.inner.monotonic_us.fetch_add(JUMP_LASTS_US, Ordering::Relaxed);
        assert_eq!(clock.now(), Time(u64::MAX));
        clock.inner.wall_us.store(0, Ordering::Relaxed);
        clock.inner.monotonic_us.fetch_add(SECOND, Ordering::Relaxed);
        assert_eq!((clock.now(), clock.skew()), (Time(u64::MAX), Skew::Behind(u64::MAX)));
    }

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
