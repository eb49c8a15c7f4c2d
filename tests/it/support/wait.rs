//! Waiting for a condition, at most so long: the only pauses and the only clock of the tests from outside.

use std::time::Duration;

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives something, at most for `limit`.
pub(crate) fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let looks = limit.as_millis() / PAUSE.as_millis();
    for _ in 0..=looks {
        if let Some(value) = condition() {
            return Some(value);
        }
        pause();
    }
    None
}

/// Lets a little time pass before something is tried again.
pub(crate) fn pause() {
    std::thread::sleep(PAUSE);
}

/// Returns a variable of the environment in which the tests run.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests says what and how long")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says on the real stdout that a test is run by something else, which sets what it needs.
pub(crate) fn elsewhere(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "not run here: {what}");
}

/// Says on the real stdout that a tool is not there, and fails where it must be.
pub(crate) fn absent(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "skipped: {what}");
    assert!(variable("CI").as_deref() != Some("true"), "CI=true, and {what}");
}
