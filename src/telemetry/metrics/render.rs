//! Figures to text: Prometheus text format 0.0.4 and `OpenMetrics` 1.0.
//!
//! The two differ in little: `OpenMetrics` names counters without `_total` in their heading, has a line for
//! the unit, writes bucket edges as floats and ends with `# EOF`.

use std::fmt::{Display, Write};

use super::instrument::{Counter, Family, Gauge, Histogram, Spent};
use super::names::{self, Description, Kind};
use super::{Metrics, labels::Labels};

/// Returns the text of every figure, in the order of [`names::ALL`].
pub(super) fn page(metrics: &Metrics, openmetrics: bool) -> String {
    let mut page = Page { text: String::with_capacity(16 * 1_024), openmetrics };
    page.counter(names::WORKFLOW_CASES, &metrics.workflow_cases);
    page.counter(names::WORKFLOW_TASKS_COMPLETED, &metrics.workflow_tasks_completed);
    page.counter(names::WORKFLOW_ERRORS, &metrics.workflow_errors);
    page.histogram(names::HOT_PATH_TICKS, &metrics.hot_path_ticks);
    page.histogram(names::HOT_PATH_WAVE_STEPS, &metrics.hot_path_wave_steps);
    page.counter(names::HOT_PATH_OVER_BUDGET, &metrics.hot_path_over_budget);
    page.gauge(names::HOT_PATH_MAX_TICKS, &metrics.hot_path_max_ticks);
    page.gauge(names::HOT_PATH_TICK_HERTZ, &metrics.hot_path_tick_hertz);
    page.spent(names::HOT_PATH_STEPS_BY_WAVE, names::HOT_PATH_TICKS_BY_WAVE, &metrics.hot_path_by_wave);
    let by_markings = &metrics.hot_path_by_markings;
    page.spent(names::HOT_PATH_STEPS_BY_MARKINGS, names::HOT_PATH_TICKS_BY_MARKINGS, by_markings);
    page.spent(names::HOT_PATH_STEPS_BY_JOIN, names::HOT_PATH_TICKS_BY_JOIN, &metrics.hot_path_by_join);
    page.counter(names::EVALUATION_STEPS, &metrics.evaluation_steps);
    page.histogram(names::COMMAND_WAIT_STEPS, &metrics.command_wait_steps);
    page.counter(names::COMMANDS_NOT_BEGUN, &metrics.commands_not_begun);
    page.counter(names::CASES_READ_BACK, &metrics.cases_read_back);
    page.gauges(names::CASES, &metrics.cases);
    page.gauges(names::WORK_ITEMS, &metrics.work_items);
    page.histogram(names::JOURNAL_COMMIT_SECONDS, &metrics.journal_commit_us);
    page.histogram(names::JOURNAL_BATCH_EVENTS, &metrics.journal_batch_events);
    page.counter(names::JOURNAL_ENTRY_BYTES, &metrics.journal_entry_bytes);
    page.gauge(names::JOURNAL_BYTES, &metrics.journal_bytes);
    page.gauge(names::JOURNAL_SEGMENTS_WAITING, &metrics.journal_segments_waiting);
    page.gauge(names::HISTORY_BYTES, &metrics.history_bytes);
    page.gauge(names::SNAPSHOT_BYTES, &metrics.snapshot_bytes);
    page.gauge(names::ARCHIVE_BYTES, &metrics.archive_bytes);
    page.gauge(names::SNAPSHOT_FRAME, &metrics.snapshot_frame);
    page.counter(names::JOURNAL_FAILURES, &metrics.journal_failures);
    page.gauge(names::LMDB_BYTES, &metrics.lmdb_bytes);
    page.histogram(names::CHECKPOINT_SECONDS, &metrics.checkpoint_us);
    page.gauge(names::FOLLOWER_LAG_FRAMES, &metrics.follower_lag_frames);
    page.gauge(names::DISK_FREE_BYTES, &metrics.disk_free_bytes);
    page.gauge(names::DISK_RESERVE_BYTES, &metrics.disk_reserve_bytes);
    page.gauge(names::READ_ONLY, &metrics.read_only);
    page.gauge(names::HEALTH_FAILING, &metrics.health_failing);
    page.gauge(names::HEALTH_DEGRADED, &metrics.health_degraded);
    page.gauges(names::QUEUE_DEPTH, &metrics.queue_depth);
    page.gauges(names::QUEUE_LIMIT, &metrics.queue_limit);
    page.counters(names::QUEUE_REFUSED, metrics.queue_refused.members());
    page.gauges(names::CACHE_BYTES, &metrics.cache_bytes);
    page.gauges(names::CACHE_LIMIT_BYTES, &metrics.cache_limit_bytes);
    page.heading(names::HTTP_REQUEST_SECONDS);
    for (labels, histogram) in metrics.http_request_us.members() {
        if histogram.count() > 0 {
            page.distribution(names::HTTP_REQUEST_SECONDS, &labels, histogram);
        }
    }
    page.gauge(names::HTTP_CONNECTIONS, &metrics.http_connections);
    page.gauge(names::REMOTE_CONNECTIONS, &metrics.remote_connections);
    page.counters(names::REMOTE_REFUSED, metrics.remote_refused.members());
    page.gauge(names::MEMORY_LOCKED_BYTES, &metrics.memory_locked_bytes);
    page.counter(names::OTLP_SPANS, &metrics.otlp_spans);
    page.counter(names::OTLP_EXPORTED, &metrics.otlp_exported);
    page.counter(names::OTLP_DROPPED, &metrics.otlp_dropped);
    page.counter(names::OTLP_UNSAMPLED, &metrics.otlp_unsampled);
    page.counter(names::LOG_LINES_DROPPED, &metrics.log_lines_dropped);
    page.gauge(names::START_TIME_SECONDS, &metrics.start_time_seconds);
    page.heading(names::BUILD_INFO);
    page.sample(names::BUILD_INFO.name, concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    if openmetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    openmetrics: bool,
}

impl Page {
    fn heading(&mut self, about: Description) {
        let name = match about.kind {
            Kind::Counter if self.openmetrics => about.name.trim_end_matches("_total"),
            Kind::Info if self.openmetrics => about.name.trim_end_matches("_info"),
            _ => about.name,
        };
        let kind = match about.kind {
            Kind::Counter => "counter",
            Kind::Info if self.openmetrics => "info",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {}", about.help));
        self.line(format_args!("# TYPE {name} {kind}"));
        if self.openmetrics && !about.unit.is_empty() {
            self.line(format_args!("# UNIT {name} {}", about.unit));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("invariant: writing to a string does not fail");
        self.text.push('\n');
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    fn counter(&mut self, about: Description, counter: &Counter) {
        self.heading(about);
        self.sample(about.name, "", counter.get());
    }

    fn counters<'a>(&mut self, about: Description, counters: impl Iterator<Item = (String, &'a Counter)>) {
        self.heading(about);
        for (labels, counter) in counters {
            self.sample(about.name, &labels, counter.get());
        }
    }

    /// Writes steps and their ticks, one family after the other.
    fn spent<L: Labels>(&mut self, steps: Description, ticks: Description, family: &Family<L, Spent>) {
        self.counters(steps, family.members().map(|(labels, spent)| (labels, &spent.steps)));
        self.counters(ticks, family.members().map(|(labels, spent)| (labels, &spent.ticks)));
    }

    fn gauge(&mut self, about: Description, gauge: &Gauge) {
        self.heading(about);
        self.sample(about.name, "", gauge.get());
    }

    fn gauges<L: Labels>(&mut self, about: Description, family: &Family<L, Gauge>) {
        self.heading(about);
        for (labels, gauge) in family.members() {
            self.sample(about.name, &labels, gauge.get());
        }
    }

    fn histogram(&mut self, about: Description, histogram: &Histogram) {
        self.heading(about);
        self.distribution(about, "", histogram);
    }

    /// Writes one distribution; those of waits are kept in microseconds and written in seconds.
    fn distribution(&mut self, about: Description, labels: &str, histogram: &Histogram) {
        let seconds = about.unit == "seconds";
        let separator = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{}_bucket", about.name);
        let mut count = 0;
        for (edge, seen) in histogram.cumulative() {
            let edge = match edge {
                None => "+Inf".to_owned(),
                Some(us) if seconds => in_seconds(us),
                Some(value) if self.openmetrics => format!("{value}.0"),
                Some(value) => value.to_string(),
            };
            self.sample(&bucket, &format!("{labels}{separator}le=\"{edge}\""), seen);
            count = seen;
        }
        let sum = if seconds { in_seconds(histogram.sum()) } else { histogram.sum().to_string() };
        self.sample(&format!("{}_sum", about.name), labels, sum);
        self.sample(&format!("{}_count", about.name), labels, count);
    }
}

/// Returns microseconds as seconds without rounding: `0.00005`, `1.0`.
fn in_seconds(us: u64) -> String {
    let fraction = format!("{:06}", us % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{}", us / 1_000_000, if fraction.is_empty() { "0" } else { fraction })
}
