//! What the log is told once in a while: things that may happen often, summed up, so that a storm of them is a line.
//! Threads count in [`Condition`]; the timers look here every second.

use std::sync::atomic::Ordering;

use super::shared::Condition;
use crate::telemetry::words;

/// At most one line about slow commits in so many microseconds: a slow disk is slow for long.
const SLOW_EVERY_US: u64 = 60_000_000;

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// When slow commits were told, in monotonic microseconds.
    slow_told_us: Option<u64>,
}

impl Telling {
    /// Tells what has come together, and forgets it.
    pub(super) fn look(&mut self, condition: &Condition, now_us: u64) {
        let incidents = condition.incident_count.swap(0, Ordering::AcqRel);
        if incidents > 0 {
            tracing::warn!(incidents, "{}: {incidents}", words::CASE_INCIDENT);
        }
        if self.slow_told_us.is_some_and(|told| now_us.saturating_sub(told) < SLOW_EVERY_US) {
            return;
        }
        let commits = condition.slow_commit_count.swap(0, Ordering::AcqRel);
        if commits > 0 {
            let longest_ms = condition.slow_commit_us_max.swap(0, Ordering::AcqRel) / 1_000;
            tracing::warn!(
                commits,
                longest_ms,
                "{}: {commits} since the last such line, the longest {longest_ms} ms",
                words::SLOW_COMMIT
            );
            self.slow_told_us = Some(now_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::id::Time;
    use crate::telemetry::logs::{LogLevel, Options, to_writer};
    use crate::telemetry::metrics::Metrics;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_storm_is_a_line_a_second_and_of_slow_commits_a_line_a_minute() {
        let buffer = Buffer::default();
        let options = Options {
            level: LogLevel::Info,
            lines_per_second_max: 1_000,
            journal_stream: None,
            now: Arc::new(|| Time(0)),
            metrics: Arc::new(Metrics::new()),
        };
        let log = to_writer(&options, Box::new(buffer.clone()));
        tracing::dispatcher::with_default(&log, || {
            let (condition, mut telling) = (Condition::default(), Telling::default());
            for second in 0..90 {
                condition.incident_count.fetch_add(if second < 2 { 1_000 } else { 0 }, Ordering::AcqRel);
                condition.slow_commit_count.fetch_add(5, Ordering::AcqRel);
                condition.slow_commit_us_max.fetch_max(150_000 + second, Ordering::AcqRel);
                telling.look(&condition, 1_000_000 * second);
            }
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        let slow = |commits: u32| {
            format!(
                "warning: slow commit: the disk took long: {commits} since the last such line, the longest 150 ms \
                 commits={commits} longest_ms=150"
            )
        };
        let incidents = "warning: cases became incidents: 1000 incidents=1000";
        assert_eq!(lines, [incidents, slow(5).as_str(), incidents, slow(300).as_str()]);
    }
}
