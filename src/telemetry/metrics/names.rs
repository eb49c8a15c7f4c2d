//! Every figure's name, help text and unit. The four names that the operations guide asks for never change.

#![expect(clippy::doc_markdown, reason = "these sentences are also shown to people, outside Markdown")]

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
    /// Facts that do not change while the process lives.
    Info,
}

/// One figure as people read of it.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Name in the Prometheus text.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Unit, which then also ends the name; empty for plain numbers.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// Writes one constant for each figure and the list of all, so that none is missing from it.
macro_rules! names {
    ($($constant:ident: $kind:ident, $name:literal, $unit:literal, $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: Description =
            Description { name: $name, kind: Kind::$kind, unit: $unit, help: $help };)+
        /// All figures in the order in which they are written.
        pub const ALL: &[Description] = &[$($constant,)+];
    };
}

names! {
    WORKFLOW_CASES: Counter, "knhk_workflow_cases_total", "", "Cases started.";
    WORKFLOW_TASKS_COMPLETED: Counter, "knhk_workflow_tasks_completed_total", "", "Tasks completed, automated ones included.";
    WORKFLOW_ERRORS: Counter, "knhk_workflow_errors_total", "", "Incidents of cases and faults of the service; not the mistakes of clients.";
    HOT_PATH_TICKS: Histogram, "knhk_hot_path_ticks", "", "Ticks of the time-stamp counter a step, as means over at least 256 steps or 10 s.";
    HOT_PATH_WAVE_STEPS: Histogram, "knhk_hot_path_wave_steps", "", "Steps of one wave.";
    HOT_PATH_OVER_BUDGET: Counter, "knhk_hot_path_over_budget_total", "", "Means of ticks a step above hot_path_max_ticks.";
    HOT_PATH_MAX_TICKS: Gauge, "knhk_hot_path_max_ticks", "", "Budget of one step: hot_path_max_ticks of the configuration.";
    HOT_PATH_TICK_HERTZ: Gauge, "knhk_hot_path_tick_hertz", "hertz", "Frequency of the tick counter as calibrated at the start.";
    HOT_PATH_STEPS_BY_WAVE: Counter, "knhk_hot_path_steps_by_wave_total", "", "Steps, by how many steps their wave had.";
    HOT_PATH_TICKS_BY_WAVE: Counter, "knhk_hot_path_ticks_by_wave_total", "", "Ticks of these steps.";
    HOT_PATH_STEPS_BY_MARKINGS: Counter, "knhk_hot_path_steps_by_markings_total", "", "Steps, by how the markings of their wave are held; mixed when in several ways.";
    HOT_PATH_TICKS_BY_MARKINGS: Counter, "knhk_hot_path_ticks_by_markings_total", "", "Ticks of these steps.";
    HOT_PATH_STEPS_BY_JOIN: Counter, "knhk_hot_path_steps_by_join_total", "", "Steps, by the join that the steps of their wave ask; none when they complete tasks, mixed when several.";
    HOT_PATH_TICKS_BY_JOIN: Counter, "knhk_hot_path_ticks_by_join_total", "", "Ticks of these steps.";
    EVALUATION_STEPS: Counter, "knhk_evaluation_steps_total", "", "Evaluation steps of predicates and mappings, in commands and in what cases do by themselves.";
    COMMAND_WAIT_STEPS: Histogram, "knhk_command_wait_steps", "", "Evaluation steps that a shard took while a single command waited for it.";
    COMMANDS_NOT_BEGUN: Counter, "knhk_commands_not_begun_total", "", "Commands that were not begun because nobody waited for them any more.";
    CASES_READ_BACK: Counter, "knhk_cases_read_back_total", "", "Cases that were not in memory when they were asked for, and were read back.";
    CASES: Gauge, "knhk_cases", "", "Cases by state.";
    WORK_ITEMS: Gauge, "knhk_work_items", "", "Work items by state.";
    JOURNAL_COMMIT_SECONDS: Histogram, "knhk_journal_commit_seconds", "seconds", "Time from writing a frame to the return of its sync.";
    JOURNAL_BATCH_EVENTS: Histogram, "knhk_journal_batch_events", "", "Events of one frame.";
    JOURNAL_ENTRY_BYTES: Counter, "knhk_journal_entry_bytes_total", "bytes", "Bytes of entries made durable, without what frames and sectors add.";
    JOURNAL_BYTES: Gauge, "knhk_journal_bytes", "bytes", "Size of the journal on disk.";
    JOURNAL_SEGMENTS_WAITING: Gauge, "knhk_journal_segments_waiting", "", "Segments of the journal that are covered and wait for their grace to go.";
    HISTORY_BYTES: Gauge, "knhk_history_bytes", "bytes", "Size of the history files.";
    SNAPSHOT_BYTES: Gauge, "knhk_snapshot_bytes", "bytes", "Size of the snapshots.";
    ARCHIVE_BYTES: Gauge, "knhk_archive_bytes", "bytes", "Size of the archive files.";
    SNAPSHOT_FRAME: Gauge, "knhk_snapshot_frame", "", "Last frame that the newest snapshot holds.";
    JOURNAL_FAILURES: Counter, "knhk_journal_failures_total", "", "Writes and syncs of the journal that failed.";
    LMDB_BYTES: Gauge, "knhk_lmdb_bytes", "bytes", "Size of the working LMDB environment.";
    CHECKPOINT_SECONDS: Histogram, "knhk_checkpoint_seconds", "seconds", "Time of one checkpoint.";
    FOLLOWER_LAG_FRAMES: Gauge, "knhk_follower_lag_frames", "", "Durable frames that lists and searches do not show yet.";
    DISK_FREE_BYTES: Gauge, "knhk_disk_free_bytes", "bytes", "Free space of the file system that holds the state.";
    DISK_RESERVE_BYTES: Gauge, "knhk_disk_reserve_bytes", "bytes", "Free space below which the service takes no changes.";
    READ_ONLY: Gauge, "knhk_read_only", "", "1 while the service takes no changes, else 0.";
    HEALTH_FAILING: Gauge, "knhk_health_failing", "", "Reasons for which /health answers 503; it says them.";
    HEALTH_DEGRADED: Gauge, "knhk_health_degraded", "", "Reasons for which /health says degraded; it says them.";
    QUEUE_DEPTH: Gauge, "knhk_queue_depth", "", "Entries waiting, by queue.";
    QUEUE_LIMIT: Gauge, "knhk_queue_limit", "", "Most entries that may wait, by queue; 0 for a queue that is not in use.";
    QUEUE_REFUSED: Counter, "knhk_queue_refused_total", "", "Entries refused because a queue was full, by queue.";
    CACHE_BYTES: Gauge, "knhk_cache_bytes", "bytes", "Memory that is held, as far as it can be told, by what for.";
    CACHE_LIMIT_BYTES: Gauge, "knhk_cache_limit_bytes", "bytes", "Memory that may be held, by what for.";
    HTTP_REQUEST_SECONDS: Histogram, "knhk_http_request_seconds", "seconds", "Time from a request to its answer, by route and status.";
    HTTP_CONNECTIONS: Gauge, "knhk_http_connections", "", "Open connections.";
    REMOTE_CONNECTIONS: Gauge, "knhk_remote_connections", "", "Open connections of the remote side.";
    REMOTE_REFUSED: Counter, "knhk_remote_refused_total", "", "Requests and connections that the remote side refused, by reason.";
    MEMORY_LOCKED_BYTES: Gauge, "knhk_memory_locked_bytes", "bytes", "Memory that is locked.";
    OTLP_SPANS: Counter, "knhk_otlp_spans_total", "", "Spans made.";
    OTLP_EXPORTED: Counter, "knhk_otlp_exported_total", "", "Spans that the collector took.";
    OTLP_DROPPED: Counter, "knhk_otlp_dropped_total", "", "Spans that the collector never got.";
    OTLP_UNSAMPLED: Counter, "knhk_otlp_unsampled_total", "", "Requests and commands of a batch without spans, because more than otel_traces_per_second_max came in one second.";
    LOG_LINES_DROPPED: Counter, "knhk_log_lines_dropped_total", "", "Log lines beyond log_lines_per_second_max.";
    START_TIME_SECONDS: Gauge, "knhk_start_time_seconds", "seconds", "Start of the process since the Unix epoch.";
    BUILD_INFO: Info, "knhk_build_info", "", "Version of the running program.";
}
