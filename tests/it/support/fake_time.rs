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

/// Returns the program, with its arguments, under which a process has another wall clock: `variable` says which, as
/// libfaketime reads it. Nothing when the library is not here.
pub(crate) fn under(variable: &str) -> Vec<String> {
    let Some(library) = library() else {
        wait::absent("another clock: libfaketime is not here");
        return Vec::new();
    };
    let preload = format!("LD_PRELOAD={}", library.display());
    // NO_CACHE: a change is seen at the next look.
    let fixed =
        ["FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];
    let mut before = vec!["env".to_owned(), preload, variable.to_owned()];
    before.extend(fixed.map(str::to_owned));
    before
}

/// Starts the service with a clock that is off by what [`set`] said last, and follows it.
pub(crate) fn start(place: &mut Place) -> Service {
    let before = under(&format!("FAKETIME_TIMESTAMP_FILE={}", place.path(FILE).display()));
    place.start_under(&before.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Says by how much the clock is off, such as `+1h` or `-20m`.
pub(crate) fn set(place: &Place, offset: &str) {
    // By renaming, so that no half of it is read.
    let temporary = place.path("offset.tmp");
    fs::write(&temporary, format!("{offset}\n")).unwrap();
    fs::rename(temporary, place.path(FILE)).unwrap();
}
