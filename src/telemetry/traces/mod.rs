//! Spans: what becomes of requests, commands on cases, tasks and commits, for whoever follows one of them.
//!
//! A [`Tracer`] decides which requests are traced, gives out ids, and takes finished spans; the [`Exporter`] sends
//! them to a collector from a thread of its own. Whoever makes a span never waits: the queue between the two is bounded
//! ([`QUEUE_SPANS_MAX`]), what does not fit is dropped and counted, and giving something to it wakes nobody, because the
//! exporter looks by itself. docs/reference/telemetry.md says what the spans look like.

mod build;
mod context;
mod export;
mod figures;
mod sampler;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};

use tokio::sync::Notify;

use super::metrics::Metrics;
use super::metrics::labels::{Queue, Route};
use crate::id::{CaseId, Time};

pub use context::{Context, Parent};
pub use export::{Exporter, TIMES, Times};
pub use figures::figures;
use sampler::Sampler;

/// Most spans that wait for the exporter; what comes then is dropped and counted. Without the text in it, a span takes
/// less than 128 bytes.
pub const QUEUE_SPANS_MAX: usize = 8_192;
/// Bytes that one takes, names of a hundred letters and its place included.
pub const SPAN_BYTES: usize = 1_024;
const _: () = assert!(size_of::<Span>() <= 128);

/// What traces need to know.
#[derive(Clone)]
pub struct Options {
    /// Address of the collector, with `http://` before it.
    pub endpoint: String,
    /// Traces that begin in one second, at most.
    pub traces_per_second_max: u64,
    /// How long the exporter takes for what.
    pub times: Times,
    /// Name of this machine.
    pub host: String,
    /// Number of this process.
    pub process: u32,
    /// Nobody else's: tells this process from all others.
    pub instance: [u8; 16],
    /// The clock.
    pub now: Arc<dyn Fn() -> Time + Send + Sync>,
    /// Where spans are counted, and the figures that go to the collector too.
    pub metrics: Arc<Metrics>,
}

/// A finished span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace and its own id.
    pub context: Context,
    /// The span that it belongs under.
    pub parent: Option<Parent>,
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// What it is about.
    pub about: About,
}

/// What a span is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A request, from its arrival to its answer.
    Request {
        /// What was asked.
        route: Route,
        /// Status of the answer; `None` when the client went away before it.
        status: Option<u16>,
    },
    /// A command on a case, from the moment it was handed to its shard until it is durable.
    Case(Box<CaseSpan>),
    /// A task that a command started, completed or passed through.
    Task(Box<TaskSpan>),
    /// The commit that made a command durable.
    Commit {
        /// Number of the frame.
        frame: u64,
        /// Entries in it, those of others among them.
        entry_count: u64,
    },
}

/// What is known of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseSpan {
    /// What was asked: create, complete, ...
    pub operation: &'static str,
    /// The case, when the command came so far.
    pub case: Option<CaseId>,
    /// Id of its specification; empty when not known.
    pub workflow: String,
    /// State of the case after it; empty when nothing changed.
    pub state: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Tasks that have no span of their own, because there were too many.
    pub more_tasks: u32,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and durable.
    Done,
    /// Answered as it was the first time.
    Repeated,
    /// Nothing changed.
    Refused,
    /// The journal failed; nobody knows.
    Unknown,
}

/// What is known of a task's step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpan {
    /// Its case.
    pub case: Option<CaseId>,
    /// Id of its specification.
    pub workflow: String,
    /// Id of the task.
    pub task: String,
    /// start, complete or pass.
    pub phase: &'static str,
}

/// Decides what is traced, and takes the spans. Shared by all threads.
pub struct Tracer {
    queue: SyncSender<Span>,
    waiting: AtomicUsize,
    sampler: Sampler,
    ids: Ids,
    now: Arc<dyn Fn() -> Time + Send + Sync>,
    metrics: Arc<Metrics>,
    is_away: AtomicBool,
    is_stopping: AtomicBool,
    stops: Notify,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

/// Returns a tracer and what sends its spans, which is to run in a thread of its own.
pub fn traces(options: Options) -> (Arc<Tracer>, Exporter) {
    let (queue, spans) = mpsc::sync_channel(QUEUE_SPANS_MAX);
    let tracer = Arc::new(Tracer {
        queue,
        waiting: AtomicUsize::new(0),
        sampler: Sampler::new(options.traces_per_second_max),
        ids: Ids::new(options.instance),
        now: Arc::clone(&options.now),
        metrics: Arc::clone(&options.metrics),
        is_away: AtomicBool::new(false),
        is_stopping: AtomicBool::new(false),
        stops: Notify::new(),
    });
    options.metrics.queue_limit.of(Queue::Spans).set(QUEUE_SPANS_MAX as u64);
    let exporter = Exporter::new(options, Arc::clone(&tracer), spans);
    (tracer, exporter)
}

impl Tracer {
    /// Returns the time.
    pub fn now(&self) -> Time {
        (self.now)()
    }

    /// Begins a trace, or goes on with the one that a client began, if it is one of those that are traced: at most so
    /// many a second begin here, and none that the client does not trace itself.
    pub fn begin(&self, parent: Option<Parent>) -> Option<Context> {
        if parent.is_some_and(|parent| !parent.is_sampled) {
            return None;
        }
        if !self.sampler.take(self.now()) {
            self.metrics.otlp_unsampled.increment();
            return None;
        }
        let trace = parent.map_or_else(|| self.ids.trace(), |parent| parent.context.trace);
        Some(Context { trace, span: self.ids.span() })
    }

    /// Tells whether one more command of a traced request is traced: each of many counts as a trace of its own.
    pub fn samples_another(&self) -> bool {
        let is_taken = self.sampler.take(self.now());
        if !is_taken {
            self.metrics.otlp_unsampled.increment();
        }
        is_taken
    }

    /// Returns the place of a new span under another of this process.
    pub fn under(&self, parent: Context) -> (Context, Parent) {
        let context = Context { trace: parent.trace, span: self.ids.span() };
        (context, Parent { context: parent, is_sampled: true, is_remote: false })
    }

    /// Takes a finished span. Never waits, and wakes nobody.
    pub fn take(&self, span: Span) {
        self.metrics.otlp_spans.increment();
        // Counted before it can be taken out, so that the count never falls below zero.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(span).is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.metrics.otlp_dropped.increment();
            self.metrics.queue_refused.of(Queue::Spans).increment();
        }
    }

    /// Returns how many spans wait for the exporter.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Tells whether the collector has not been reached for some time.
    pub fn is_collector_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// Has the exporter send what waits, as long as it has time for that, and end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.stops.notify_one();
    }
}

/// Gives out ids that nobody else has: a random start, and a step for each.
struct Ids {
    seed: (u64, u64),
    count: AtomicU64,
}

impl Ids {
    fn new(seed: [u8; 16]) -> Self {
        let (high, low) = seed.split_at(8);
        let number =
            |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("invariant: half of 16 bytes"));
        Self { seed: (number(high), number(low)), count: AtomicU64::new(0) }
    }

    fn next(&self, seed: u64) -> u64 {
        // SplitMix64: different counts give different numbers, and they look random.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut mixed = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn span(&self) -> u64 {
        // Zero is no id.
        self.next(self.seed.0).max(1)
    }

    fn trace(&self) -> u128 {
        (u128::from(self.next(self.seed.1)) << 64 | u128::from(self.next(self.seed.0))).max(1)
    }
}
