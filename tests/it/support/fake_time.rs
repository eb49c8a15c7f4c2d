//! A wall clock of a process's own: libfaketime stands between it and the clock.
//!
//! Only the wall clock is touched; the monotonic one never jumps on Linux. What files say of their age is the file
//! system's.

use std::fs;
use std::path::PathBuf;

use super::service::{Place, Service};
use super::wait;

/// The file of a place that says by how much its clock is off.
const FILE: &str = "offset";

/// Returns the library, if it is here.
pub(crate) fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders.flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

/// When a process sees that its clock was set.
const AT_ONCE: &str = "FAKETIME_NO_CACHE=1";
const WITHIN_A_SECOND: &str = "FAKETIME_CACHE_DURATION=1";

/// Returns the program, with its arguments, under which a process has another wall clock: `variable` says which, as
/// libfaketime reads it. Nothing when the library is not here.
pub(crate) fn under(variable: &str) -> Vec<String> {
    seen(AT_ONCE, variable)
}

fn seen(when: &str, variable: &str) -> Vec<String> {
    let Some(library) = library() else {
        wait::absent("another clock: libfaketime is not here");
        return Vec::new();
    };
    let preload = format!("LD_PRELOAD={}", library.display());
    let fixed = [when, "DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];
    let mut before = vec!["env".to_owned(), preload, variable.to_owned()];
    before.extend(fixed.map(str::to_owned));
    before
}

/// Starts the service with a clock that is off by what [`set`] said last, and that follows it at once. A few readings in
/// 100,000 are of the true time instead: the library reads the file at each, and two threads that do so at once disturb
/// each other.
pub(crate) fn start(place: &mut Place) -> Service {
    start_seeing(AT_ONCE, place)
}

/// Starts the service with a clock that is off by what [`set`] said last, follows it within a second, and is off all the
/// time.
pub(crate) fn start_steady(place: &mut Place) -> Service {
    start_seeing(WITHIN_A_SECOND, place)
}

fn start_seeing(when: &str, place: &mut Place) -> Service {
    let before = seen(when, &format!("FAKETIME_TIMESTAMP_FILE={}", place.path(FILE).display()));
    place.start_under(&before.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Says by how much the clock is off, such as `+1h` or `-20m`.
pub(crate) fn set(place: &Place, offset: &str) {
    // By renaming, so that no half of it is read.
    let temporary = place.path("offset.tmp");
    fs::write(&temporary, format!("{offset}\n")).unwrap();
    fs::rename(temporary, place.path(FILE)).unwrap();
}
