//! The figures that the service keeps about itself, and their text form.
//!
//! One [`Metrics`] is made at the start and shared by `Arc`. Its fields are plain atomics: writing one costs
//! one relaxed add, takes no lock and never fails, so any thread may do it. Labels come from the closed sets
//! in [`labels`], never from ids. Names and help texts are in [`names`].

mod instrument;
pub mod labels;
pub mod names;
mod render;

pub use instrument::{Counter, Family, Gauge, Histogram, Spent};

use labels::{Cache, CaseState, ItemState, Join, Markings, Queue, Remote, Route, Status, WaveSize};

/// Bucket edges of ticks a step: the budget is 8, the tail is cold caches. From 8 to 64 an edge is at most a quarter above
/// the one before, so that a quantile that is interpolated between two of them is off by no more.
const TICK_EDGES: &[u64] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 128, 256, 512, 1_024,
    2_048, 4_096,
];
/// Bucket edges of things that come together: steps of a wave, events of a commit.
const COUNT_EDGES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];
/// Bucket edges of waits in microseconds: from one fsync of a fast disk to the longest request.
const MICROSECOND_EDGES: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// Bucket edges of evaluation steps: those of one slice of a shard, 31,000, among them.
const EVALUATION_EDGES: &[u64] =
    &[0, 1_000, 4_000, 16_000, 31_000, 62_000, 250_000, 1_000_000, 10_000_000, 100_000_000];

/// Every figure of the service. Gauges hold what was last set: set them before [`Metrics::render`].
#[derive(Debug)]
pub struct Metrics {
    /// Cases started.
    pub workflow_cases: Counter,
    /// Tasks completed, automated ones included.
    pub workflow_tasks_completed: Counter,
    /// Failures that a person may have to act on: incidents and faults, not the mistakes of a client.
    pub workflow_errors: Counter,
    /// Ticks a step, recorded by [`Histogram::observe_mean`] over consecutive waves.
    pub hot_path_ticks: Histogram,
    /// Steps of one wave.
    pub hot_path_wave_steps: Histogram,
    /// Means of ticks a step that lay above `hot_path_max_ticks`.
    pub hot_path_over_budget: Counter,
    /// The budget: `hot_path_max_ticks`.
    pub hot_path_max_ticks: Gauge,
    /// Frequency of the tick counter as calibrated at the start.
    pub hot_path_tick_hertz: Gauge,
    /// Steps and their ticks, by the size of their wave.
    pub hot_path_by_wave: Family<WaveSize, Spent>,
    /// Steps and their ticks, by how the markings of their wave are held.
    pub hot_path_by_markings: Family<Markings, Spent>,
    /// Steps and their ticks, by the joins that the steps of their wave ask.
    pub hot_path_by_join: Family<Join, Spent>,
    /// Evaluation steps of shards.
    pub evaluation_steps: Counter,
    /// Evaluation steps that shards took while single commands waited.
    pub command_wait_steps: Histogram,
    /// Commands that nobody waited for any more when their turn came.
    pub commands_not_begun: Counter,
    /// Cases that were not in memory when they were asked for, and were read back.
    pub cases_read_back: Counter,
    /// Cases by state.
    pub cases: Family<CaseState, Gauge>,
    /// Work items by state.
    pub work_items: Family<ItemState, Gauge>,
    /// Time from writing a frame to the return of its sync, in microseconds.
    pub journal_commit_us: Histogram,
    /// Events of one frame.
    pub journal_batch_events: Histogram,
    /// Bytes of entries made durable, without what frames and sectors add.
    pub journal_entry_bytes: Counter,
    /// Bytes of the journal on disk.
    pub journal_bytes: Gauge,
    /// Segments of the journal that wait for their grace to go.
    pub journal_segments_waiting: Gauge,
    /// Bytes of the history files.
    pub history_bytes: Gauge,
    /// Bytes of the snapshots.
    pub snapshot_bytes: Gauge,
    /// Bytes of the archive files.
    pub archive_bytes: Gauge,
    /// The last frame that the newest snapshot holds.
    pub snapshot_frame: Gauge,
    /// Writes and syncs of the journal that failed.
    pub journal_failures: Counter,
    /// Bytes of the working LMDB environment.
    pub lmdb_bytes: Gauge,
    /// Time of one checkpoint, in microseconds.
    pub checkpoint_us: Histogram,
    /// Durable frames that the follower has not folded yet.
    pub follower_lag_frames: Gauge,
    /// Free bytes of the file system that holds the state.
    pub disk_free_bytes: Gauge,
    /// Free bytes below which no changes are taken.
    pub disk_reserve_bytes: Gauge,
    /// 1 while the service takes no changes, else 0.
    pub read_only: Gauge,
    /// Reasons for which /health answers 503.
    pub health_failing: Gauge,
    /// Reasons for which /health says degraded.
    pub health_degraded: Gauge,
    /// Entries waiting, by queue.
    pub queue_depth: Family<Queue, Gauge>,
    /// Most entries that may wait, by queue.
    pub queue_limit: Family<Queue, Gauge>,
    /// Entries refused because a queue was full, by queue.
    pub queue_refused: Family<Queue, Counter>,
    /// Memory held, by what for.
    pub cache_bytes: Family<Cache, Gauge>,
    /// Memory that may be held, by what for.
    pub cache_limit_bytes: Family<Cache, Gauge>,
    /// Time from a request's first line to its answer, in microseconds, by route and status.
    pub http_request_us: Family<(Route, Status), Histogram>,
    /// Open connections.
    pub http_connections: Gauge,
    /// Open connections of the remote side.
    pub remote_connections: Gauge,
    /// What the remote side refused, by reason.
    pub remote_refused: Family<Remote, Counter>,
    /// Bytes of memory that are locked.
    pub memory_locked_bytes: Gauge,
    /// Spans made.
    pub otlp_spans: Counter,
    /// Spans that the collector took.
    pub otlp_exported: Counter,
    /// Spans that the collector never got.
    pub otlp_dropped: Counter,
    /// Requests and commands without spans, because there were too many in one second.
    pub otlp_unsampled: Counter,
    /// Log lines beyond the bound on lines a second.
    pub log_lines_dropped: Counter,
    /// Start of the process, in seconds of the Unix epoch.
    pub start_time_seconds: Gauge,
}

impl Metrics {
    /// Returns all figures at zero.
    pub fn new() -> Self {
        Self {
            workflow_cases: Counter::default(),
            workflow_tasks_completed: Counter::default(),
            workflow_errors: Counter::default(),
            hot_path_ticks: Histogram::new(TICK_EDGES),
            hot_path_wave_steps: Histogram::new(COUNT_EDGES),
            hot_path_over_budget: Counter::default(),
            hot_path_max_ticks: Gauge::default(),
            hot_path_tick_hertz: Gauge::default(),
            hot_path_by_wave: Family::new(Spent::default),
            hot_path_by_markings: Family::new(Spent::default),
            hot_path_by_join: Family::new(Spent::default),
            evaluation_steps: Counter::default(),
            command_wait_steps: Histogram::new(EVALUATION_EDGES),
            commands_not_begun: Counter::default(),
            cases_read_back: Counter::default(),
            cases: Family::new(Gauge::default),
            work_items: Family::new(Gauge::default),
            journal_commit_us: Histogram::new(MICROSECOND_EDGES),
            journal_batch_events: Histogram::new(COUNT_EDGES),
            journal_entry_bytes: Counter::default(),
            journal_bytes: Gauge::default(),
            journal_segments_waiting: Gauge::default(),
            history_bytes: Gauge::default(),
            snapshot_bytes: Gauge::default(),
            archive_bytes: Gauge::default(),
            snapshot_frame: Gauge::default(),
            journal_failures: Counter::default(),
            lmdb_bytes: Gauge::default(),
            checkpoint_us: Histogram::new(MICROSECOND_EDGES),
            follower_lag_frames: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            disk_reserve_bytes: Gauge::default(),
            read_only: Gauge::default(),
            health_failing: Gauge::default(),
            health_degraded: Gauge::default(),
            queue_depth: Family::new(Gauge::default),
            queue_limit: Family::new(Gauge::default),
            queue_refused: Family::new(Counter::default),
            cache_bytes: Family::new(Gauge::default),
            cache_limit_bytes: Family::new(Gauge::default),
            http_request_us: Family::new(|| Histogram::new(MICROSECOND_EDGES)),
            http_connections: Gauge::default(),
            remote_connections: Gauge::default(),
            remote_refused: Family::new(Counter::default),
            memory_locked_bytes: Gauge::default(),
            otlp_spans: Counter::default(),
            otlp_exported: Counter::default(),
            otlp_dropped: Counter::default(),
            otlp_unsampled: Counter::default(),
            log_lines_dropped: Counter::default(),
            start_time_seconds: Gauge::default(),
        }
    }

    /// Returns the text of all figures: Prometheus text format 0.0.4, or `OpenMetrics` 1.0 when asked.
    pub fn render(&self, openmetrics: bool) -> String {
        render::page(self, openmetrics)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Content type of [`Metrics::render`] without `openmetrics`.
pub const CONTENT_TYPE_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of [`Metrics::render`] with `openmetrics`.
pub const CONTENT_TYPE_OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
