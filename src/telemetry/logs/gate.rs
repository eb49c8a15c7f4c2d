//! The bound on log lines a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::Metadata;

use super::{Options, is_audit};
use crate::id::Time;
use crate::telemetry::metrics::Metrics;

/// Lets a number of lines a second through and counts the others.
pub(super) struct Gate {
    lines_per_second_max: Arc<AtomicU64>,
    now: Arc<dyn Fn() -> Time + Send + Sync>,
    metrics: Arc<Metrics>,
    window: Mutex<Window>,
    /// Lines dropped since the last report of it.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Window {
    second: u64,
    lines: u64,
}

/// Whether a line goes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It does, after a line that says how many were dropped before it, if that is more than none.
    Yes {
        /// Lines dropped since the last line that went out.
        dropped: u64,
    },
    /// It does not, and was counted.
    No,
}

impl Gate {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            lines_per_second_max: Arc::new(AtomicU64::new(options.lines_per_second_max)),
            now: Arc::clone(&options.now),
            metrics: Arc::clone(&options.metrics),
            window: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Returns the bound, to change it while lines go through.
    pub(super) fn bound(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lines_per_second_max)
    }

    /// Returns whether an event goes out. The audit trail always does, and it neither counts here nor reports others.
    pub(super) fn pass(&self, metadata: &Metadata<'_>) -> Pass {
        if is_audit(metadata) {
            return Pass::Yes { dropped: 0 };
        }
        let second = (self.now)().0 / 1_000_000;
        let open = {
            // The guarded lines do not panic; were it poisoned, the counts would still be good.
            let mut window = self.window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if window.second != second {
                *window = Window { second, lines: 0 };
            }
            window.lines += 1;
            window.lines <= self.lines_per_second_max.load(Ordering::Relaxed)
        };
        if open {
            return Pass::Yes { dropped: self.dropped.swap(0, Ordering::Relaxed) };
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.metrics.log_lines_dropped.increment();
        Pass::No
    }

    /// Returns the text that reports dropped lines.
    pub(super) fn report(&self, dropped: u64) -> String {
        format!(
            "{}: {dropped} beyond {} a second",
            crate::telemetry::words::LINES_DROPPED,
            self.lines_per_second_max.load(Ordering::Relaxed)
        )
    }
}
