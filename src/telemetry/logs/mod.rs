//! The log: to journald under systemd, else one line each to stderr.
//!
//! In both the message of an error begins `error: ` and that of a warning `warning: `, because people search with
//! `journalctl -u knhk | grep -i error`, which sees nothing but the message. Lines are bounded by a number a
//! second; what is beyond is dropped and counted. The audit trail ([`AUDIT`]) has a lane of its own. No caller waits for
//! the log and none hears of its failures.
//! Start at [`start`]; the texts that others rely on are in [`super::words`].

mod gate;
mod journal;
mod lines;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, reload};

use super::metrics::Metrics;
use crate::id::Time;
use gate::Gate;

/// How much the log says; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// Worth knowing when it becomes frequent.
    Warning,
    /// Changes of state.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All levels in order, with their names in the configuration.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Error, "error"),
        (Self::Warning, "warning"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];

    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warning => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// What the log needs to know.
#[derive(Clone)]
pub struct Options {
    /// How much it says.
    pub level: LogLevel,
    /// Lines a second, all levels together, without the audit trail.
    pub lines_per_second_max: u64,
    /// `JOURNAL_STREAM`, when systemd set it.
    pub journal_stream: Option<String>,
    /// The clock.
    pub now: Arc<dyn Fn() -> Time + Send + Sync>,
    /// Where dropped lines are counted.
    pub metrics: Arc<Metrics>,
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// To journald, with fields.
    Journal,
    /// To stderr, one line each.
    Lines,
}

/// Target of the lines that say who changed what from another machine. They have a lane of their own: they go out whatever
/// the level, are not counted against the lines a second, and take nothing from them. Who writes them bounds their number.
pub const AUDIT: &str = "audit";

/// Returns whether an event is a line of the audit trail.
fn is_audit(metadata: &Metadata<'_>) -> bool {
    metadata.target() == AUDIT
}

/// Lets through what the level includes, and the audit trail.
struct Filter(LevelFilter);

impl<S: Subscriber> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_audit(metadata) || *metadata.level() <= self.0 { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_audit(metadata) || *metadata.level() <= self.0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.max(LevelFilter::INFO))
    }
}

/// What can be changed of the log of this process, once it is started.
static CONTROL: OnceLock<Control> = OnceLock::new();

struct Control {
    level: reload::Handle<Filter, Registry>,
    lines_per_second_max: Arc<AtomicU64>,
}

/// Changes how much the log of this process says, and how many lines a second; nothing before [`start`].
pub fn change(level: LogLevel, lines_per_second_max: u64) {
    if let Some(control) = CONTROL.get() {
        // The only failure is that the log is gone, and it is as long as the process.
        let _ = control.level.reload(Filter(level.filter()));
        control.lines_per_second_max.store(lines_per_second_max, Ordering::Relaxed);
    }
}

/// Starts the log of this process and returns where it goes. A second call changes nothing.
///
/// Under systemd it is the journal, unless stderr leads elsewhere or journald cannot be reached.
pub fn start(options: Options) -> Sink {
    let stderr_is_journal = options.journal_stream.as_deref().is_some_and(is_stderr);
    if stderr_is_journal && let Ok(layer) = tracing_journald::layer() {
        let layer = layer.with_field_prefix(Some("KNHK".to_owned()));
        let gate = Gate::new(&options);
        let (level, control) = adjustable(&options, &gate);
        let layer = journal::Prefixed { inner: layer, gate };
        begin(Dispatch::new(Registry::default().with(level).with(layer)), control);
        return Sink::Journal;
    }
    let gate = Gate::new(&options);
    let (level, control) = adjustable(&options, &gate);
    let layer = lines::Lines::new(gate, Arc::clone(&options.now), Box::new(std::io::stderr()));
    begin(Dispatch::new(Registry::default().with(level).with(layer)), control);
    Sink::Lines
}

/// Returns the filter of a log, and what changes it.
fn adjustable(options: &Options, gate: &Gate) -> (reload::Layer<Filter, Registry>, Control) {
    let (filter, level) = reload::Layer::new(Filter(options.level.filter()));
    (filter, Control { level, lines_per_second_max: gate.bound() })
}

/// Makes a log that of the process; of two the first one stays.
fn begin(log: Dispatch, control: Control) {
    if tracing::dispatcher::set_global_default(log).is_ok() {
        let _ = CONTROL.set(control);
    }
}

/// Returns a log that writes lines to `writer`, for [`tracing::dispatcher::with_default`].
pub fn to_writer(options: &Options, writer: Box<dyn Write + Send>) -> Dispatch {
    let layer = lines::Lines::new(Gate::new(options), Arc::clone(&options.now), writer);
    Dispatch::new(Registry::default().with(Filter(options.level.filter())).with(layer))
}

/// Returns whether `stream`, as device:inode, is what stderr leads to.
fn is_stderr(stream: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Returns what the message of an event of this level begins with.
fn prefix(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "error: ",
        tracing::Level::WARN => "warning: ",
        _ => "",
    }
}
