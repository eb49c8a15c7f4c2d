//! The `Date` header, made once a second.

use std::time::{SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// The text of the last second that was asked for.
pub(crate) struct Date {
    second: u64,
    text: String,
}

impl Date {
    pub(crate) fn new() -> Date {
        Date { second: u64::MAX, text: String::new() }
    }

    /// Returns the time of day as headers have it.
    pub(crate) fn text(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.text = HttpDate::from(now).to_string();
        }
        &self.text
    }
}
