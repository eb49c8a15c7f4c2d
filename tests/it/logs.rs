//! The log as lines, and the messages that people search for.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod real;
mod words;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use expect_test::{Expect, expect};
use knhk::id::Time;
use knhk::telemetry::logs::{AUDIT, LogLevel, Options, to_writer};
use knhk::telemetry::metrics::Metrics;
use knhk::telemetry::words::READ_ONLY;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` with a clock that it may move, and compares the lines.
fn check(
    level: LogLevel,
    lines_per_second_max: u64,
    work: impl FnOnce(&AtomicU64),
    expected: &Expect,
) -> u64 {
    let clock = Arc::new(AtomicU64::new(1_769_851_800_123_456));
    let (reader, buffer) = (Arc::clone(&clock), Buffer::default());
    let options = Options {
        level,
        lines_per_second_max,
        journal_stream: None,
        now: Arc::new(move || Time(reader.load(Ordering::Relaxed))),
        metrics: Arc::new(Metrics::new()),
    };
    let log = to_writer(&options, Box::new(buffer.clone()));
    tracing::dispatcher::with_default(&log, || work(&clock));
    expected.assert_eq(&String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap());
    options.metrics.log_lines_dropped.get()
}

#[test]
fn lines_begin_with_time_and_level_and_cannot_be_forged() {
    check(
        LogLevel::Info,
        100,
        |_| {
            tracing::error!(path = "/var/lib/knhk", free_bytes = 0, "{}", READ_ONLY);
            tracing::warn!(case = %"a b", empty = "", "slow commit\n2026 error: forged");
            tracing::info!(value = "x\ny\u{1b}[31m\"", "ready");
            tracing::info!(only = true);
            tracing::debug!("not said");
        },
        &expect![[r#"
            2026-01-31T09:30:00.123456Z error: journal is not writable, no changes are taken path=/var/lib/knhk free_bytes=0
            2026-01-31T09:30:00.123456Z warning: slow commit\n2026 error: forged case="a b" empty=""
            2026-01-31T09:30:00.123456Z ready value="x\ny\u{1b}[31m\""
            2026-01-31T09:30:00.123456Z only=true
        "#]],
    );
}

#[test]
fn a_long_line_is_cut_between_letters() {
    let (buffer, now) = (Buffer::default(), Arc::new(|| Time(0)));
    let options = Options {
        level: LogLevel::Info,
        lines_per_second_max: 1,
        journal_stream: None,
        now,
        metrics: Arc::new(Metrics::new()),
    };
    let log = to_writer(&options, Box::new(buffer.clone()));
    tracing::dispatcher::with_default(&log, || tracing::info!("{}", "ä".repeat(100_000)));
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    assert!(text.len() < 8_300 && text.ends_with("ä (cut)\n"), "{} bytes", text.len());
}

#[test]
fn a_flood_is_bounded_counted_and_reported() {
    let dropped = check(
        LogLevel::Trace,
        2,
        |clock| {
            for number in 0..1_000 {
                tracing::trace!(number, "flood");
            }
            clock.fetch_add(1_000_000, Ordering::Relaxed);
            tracing::info!("after");
        },
        &expect![[r#"
            2026-01-31T09:30:00.123456Z flood number=0
            2026-01-31T09:30:00.123456Z flood number=1
            2026-01-31T09:30:01.123456Z warning: log lines dropped: 998 beyond 2 a second
            2026-01-31T09:30:01.123456Z after
        "#]],
    );
    assert_eq!(dropped, 998);
}

#[test]
fn the_audit_trail_has_a_lane_of_its_own() {
    let dropped = check(
        LogLevel::Error,
        2,
        |_| {
            (0..1_000).for_each(|number| tracing::error!(number, "flood"));
            for number in 0..5 {
                tracing::info!(target: AUDIT, number, "change");
                tracing::info!("another line of its level");
            }
            tracing::error!("flood");
        },
        &expect![[r#"
            2026-01-31T09:30:00.123456Z error: flood number=0
            2026-01-31T09:30:00.123456Z error: flood number=1
            2026-01-31T09:30:00.123456Z change number=0
            2026-01-31T09:30:00.123456Z change number=1
            2026-01-31T09:30:00.123456Z change number=2
            2026-01-31T09:30:00.123456Z change number=3
            2026-01-31T09:30:00.123456Z change number=4
        "#]],
    );
    assert_eq!(dropped, 999);
}

#[test]
fn the_audit_trail_takes_no_lines_from_others() {
    check(
        LogLevel::Info,
        1,
        |_| {
            (0..3).for_each(|number| tracing::info!(target: AUDIT, number, "change"));
            tracing::error!("another");
        },
        &expect![[r#"
            2026-01-31T09:30:00.123456Z change number=0
            2026-01-31T09:30:00.123456Z change number=1
            2026-01-31T09:30:00.123456Z change number=2
            2026-01-31T09:30:00.123456Z error: another
        "#]],
    );
}

#[test]
fn a_storm_from_many_threads_is_bounded_and_counted() {
    const THREADS: u64 = 4;
    const LINES: u64 = 5_000;
    let lines_per_second_max = 10;
    let clock = Arc::new(AtomicU64::new(0));
    let (reader, buffer) = (Arc::clone(&clock), Buffer::default());
    let options = Options {
        level: LogLevel::Info,
        lines_per_second_max,
        journal_stream: None,
        now: Arc::new(move || Time(reader.load(Ordering::Relaxed))),
        metrics: Arc::new(Metrics::new()),
    };
    let log = to_writer(&options, Box::new(buffer.clone()));
    for second in 0..3 {
        clock.store(second * 1_000_000, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    tracing::dispatcher::with_default(&log, || {
                        (0..LINES).for_each(|number| tracing::error!(number, "storm"));
                    });
                });
            }
        });
    }
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let of = |what: &str| text.lines().filter(|line| line.contains(what)).count() as u64;
    assert_eq!(of("error: storm"), 3 * lines_per_second_max, "{text}");
    assert_eq!(
        of("warning: log lines dropped"),
        2,
        "each second but the first tells of the one before\n{text}"
    );
    assert_eq!(text.lines().count() as u64, 3 * lines_per_second_max + 2, "{text}");
    let dropped = 3 * (THREADS * LINES - lines_per_second_max);
    assert_eq!(options.metrics.log_lines_dropped.get(), dropped);
}
