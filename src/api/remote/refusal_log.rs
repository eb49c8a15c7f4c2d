//! Lines about what was refused: at most one a second of each kind, with the number of those left out.
//!
//! A line that has to wait is kept, the last of its kind, and [`RefusalLog::flush`] writes it, so that the numbers add up when
//! nothing more comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::words;

/// Shortest time between two lines of one kind. Otherwise one client could fill the log.
const LINE_PAUSE_US: u64 = 1_000_000;

/// Kinds of refusal; each writes at most one line a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Connections that were refused or evicted.
    Connection,
    /// Requests without a good token.
    Stranger,
    /// Requests that this token may not ask.
    Scope(u64),
}

/// The fields of one refusal's line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) why: String,
    /// Name of the token; empty without one.
    pub(super) token: Arc<str>,
    /// Empty for a connection.
    pub(super) route: &'static str,
    pub(super) peer: IpAddr,
}

/// What was written of one kind, and what waits.
#[derive(Debug, Default)]
struct Teller {
    wrote_us: Option<u64>,
    waits: Option<Line>,
    left_out: u64,
}

impl Teller {
    fn is_due(&self, now_us: u64) -> bool {
        self.wrote_us.is_none_or(|wrote_us| now_us.saturating_sub(wrote_us) >= LINE_PAUSE_US)
    }

    /// Returns the line to write now, with the number of those that it stands for besides itself.
    fn add(&mut self, line: Line, now_us: u64) -> Option<(Line, u64)> {
        if self.waits.replace(line).is_some() {
            self.left_out += 1;
        }
        self.due(now_us)
    }

    /// Returns the line that waits, if it may be written now.
    fn due(&mut self, now_us: u64) -> Option<(Line, u64)> {
        if !self.is_due(now_us) {
            return None;
        }
        let line = self.waits.take()?;
        self.wrote_us = Some(now_us);
        Some((line, std::mem::take(&mut self.left_out)))
    }
}

/// All kinds. It has an entry for each token that was refused in the last second.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<HashMap<Kind, Teller>>);

impl RefusalLog {
    /// Writes a line, or keeps it for later.
    pub(super) fn add(&self, kind: Kind, line: Line, now_us: u64) {
        let mut tellers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = tellers.entry(kind).or_default().add(line, now_us);
        drop(tellers);
        if let Some((line, left_out)) = due {
            write(&line, left_out);
        }
    }

    /// Writes what has waited long enough, and forgets what has nothing to say.
    pub(super) fn flush(&self, now_us: u64) {
        let mut tellers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<(Line, u64)> = tellers.values_mut().filter_map(|teller| teller.due(now_us)).collect();
        tellers.retain(|_, teller| teller.waits.is_some() || !teller.is_due(now_us));
        drop(tellers);
        for (line, left_out) in due {
            write(&line, left_out);
        }
    }
}

fn write(Line { why, token, route, peer }: &Line, left_out: u64) {
    tracing::warn!(%token, route, %peer, left_out, "{}: {why}", words::REMOTE_REFUSED);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(why: &str) -> Line {
        Line { why: why.to_owned(), token: "".into(), route: "", peer: [127, 0, 0, 1].into() }
    }

    #[test]
    fn every_refusal_is_in_a_line_or_in_the_number_of_one() {
        let mut teller = Teller::default();
        let mut counted = 0;
        for (at_us, count) in [(0, 400), (1_500_000, 1), (1_500_001, 99), (9_000_000, 1)] {
            for _ in 0..count {
                counted += teller.add(line("x"), at_us).map_or(0, |(_, left_out)| left_out + 1);
            }
        }
        assert_eq!(counted, 501);
        // The first, the one that ends the pause, and the last.
        let (mut teller, mut lines) = (Teller::default(), 0);
        for at_us in (0..3_000_000).step_by(1_000) {
            lines += usize::from(teller.add(line("x"), at_us).is_some());
        }
        assert_eq!(lines, 3);
        let (_, left_out) = teller.due(4_000_000).expect("the rest");
        assert_eq!((left_out, teller.due(9_000_000).is_none()), (998, true));
    }

    #[test]
    fn what_has_nothing_to_say_is_forgotten() {
        let log = RefusalLog::default();
        for token in 0..100 {
            log.add(Kind::Scope(token), line("x"), 0);
            log.add(Kind::Scope(token), line("x"), 1);
        }
        log.flush(10);
        assert_eq!(log.0.lock().unwrap().len(), 100);
        log.flush(LINE_PAUSE_US);
        log.flush(2 * LINE_PAUSE_US);
        assert_eq!(log.0.lock().unwrap().len(), 0);
    }
}
