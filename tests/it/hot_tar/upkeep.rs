//! What the store does with itself while a copy is taken: made to happen all the time, and seen by the names of files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::fake_time;
use crate::support::service::Place;
use crate::support::wait;

/// How long what is no longer needed stays: longer than a copy takes, with room for a busy machine.
pub(crate) const GRACE: &str = "\"15s\"";
/// Steps of the clock in a turn, and pauses after each: two seconds in all.
const TURN_STEPS: u32 = 5;
const STEP_PAUSES: u32 = 40;
/// By how many seconds the service's wall clock goes ahead in a step: more at once is not believed. It is not about the
/// grace, but segments stay until keys that the service made itself are ten minutes old.
const STEP_SECONDS: u64 = 48;
/// Longest time until a segment has gone that was just begun.
const GONE_MAX: Duration = Duration::from_secs(120);
/// Longest wait for what happens all the time.
const ALL_MAX: Duration = Duration::from_secs(60);

/// The upkeep of one store.
#[derive(Debug)]
pub(super) struct Upkeep<'a> {
    place: &'a Place,
    seconds_ahead: u64,
}

impl<'a> Upkeep<'a> {
    /// Begins with the clock as it is.
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, seconds_ahead: 0 }
    }

    /// Asks for snapshots and lets the clock run ahead for as long as `watch` takes.
    pub(super) fn while_busy<R>(&mut self, watch: impl FnOnce() -> R) -> R {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    self.turn();
                }
            });
            // Also when `watch` fails.
            let _ending = Ending(&is_over);
            watch()
        })
    }

    fn turn(&mut self) {
        for _ in 0..TURN_STEPS {
            self.seconds_ahead += STEP_SECONDS;
            fake_time::set(self.place, &format!("+{}", self.seconds_ahead));
            (0..STEP_PAUSES).for_each(|_| wait::pause());
        }
        let output = self.place.knhk(&["state", "snapshot"]);
        let complained = String::from_utf8_lossy(&output.stderr);
        // On a busy machine it goes on when nobody waits for it any longer.
        let is_asked = output.status.success() || complained.contains("KN0315");
        assert!(is_asked, "{complained}\n{}", self.place.log());
    }
}

/// Says that it is over when it goes.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until the segment that is written to now has gone, from when on others follow all the time.
pub(super) fn wait_until_trimming(place: &Place) {
    if fake_time::library().is_none() {
        return;
    }
    let state = place.path("state");
    let head = names(&state, "jnl").pop_last().unwrap();
    let gone = wait::until(GONE_MAX, || (!state.join("journal").join(&head).exists()).then_some(()));
    assert!(gone.is_some(), "{head} is not trimmed\n{}", place.log());
}

/// Returns the names of the state files of a kind.
fn names(state: &Path, kind: &str) -> BTreeSet<String> {
    let folder = match kind {
        "jnl" => "journal",
        "his" => "history",
        _ => "snapshot",
    };
    let Ok(entries) = fs::read_dir(state.join(folder)) else { return BTreeSet::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(&format!(".{kind}"))).collect()
}

/// The files that there are at a moment.
#[derive(Debug)]
pub(crate) struct Seen {
    segments: BTreeSet<String>,
    histories: BTreeSet<String>,
    snapshots: BTreeSet<String>,
}

impl Seen {
    pub(crate) fn now(state: &Path) -> Self {
        Self { segments: names(state, "jnl"), histories: names(state, "his"), snapshots: names(state, "snp") }
    }

    /// Tells whether the grace of nothing is over that was needed at the moment: the snapshot that was the newest
    /// then goes a grace after the one that came after it.
    pub(crate) fn is_whole(&self, state: &Path) -> bool {
        self.snapshots.last().is_some_and(|newest| state.join("snapshot").join(newest).exists())
    }

    /// Tells whether a history file was written anew since the moment: the name ends with how often.
    pub(crate) fn is_history_anew(&self, state: &Path) -> bool {
        names(state, "his").difference(&self.histories).any(|name| !name.ends_with("-0000000000.his"))
    }

    /// Waits for that, or for so long that whoever asks then learns that it did not happen.
    pub(crate) fn wait_for_history_anew(&self, state: &Path) {
        wait::until(ALL_MAX, || self.is_history_anew(state).then_some(()));
    }
}

/// What happened while a copy was taken.
#[derive(Debug)]
pub(super) struct Happened {
    sealed: usize,
    histories: usize,
    snapshots: usize,
    segments_trimmed: usize,
    snapshots_trimmed: usize,
}

impl Happened {
    pub(super) fn between(before: &Seen, after: &Seen) -> Self {
        let count = |left: &BTreeSet<String>, right: &BTreeSet<String>| left.difference(right).count();
        Self {
            sealed: count(&after.segments, &before.segments),
            histories: count(&after.histories, &before.histories),
            snapshots: count(&after.snapshots, &before.snapshots),
            segments_trimmed: count(&before.segments, &after.segments),
            snapshots_trimmed: count(&before.snapshots, &after.snapshots),
        }
    }

    /// Tells whether each thing happened that can.
    pub(super) fn is_all(&self) -> bool {
        let is_slow = fake_time::library().is_none();
        let counts = [self.sealed, self.histories, self.snapshots, self.snapshots_trimmed];
        counts.iter().all(|&count| count > 0) && (is_slow || self.segments_trimmed > 0)
    }
}

/// Waits until everything has happened since a moment, or for so long that whoever asks then learns what did not.
pub(super) fn wait_until_all(before: &Seen, state: &Path) {
    wait::until(ALL_MAX, || Happened::between(before, &Seen::now(state)).is_all().then_some(()));
}
