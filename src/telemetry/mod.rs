//! Logs, traces, metrics: set-up and every name.
//!
//! Nothing here decides anything, and no caller waits for it: queues are bounded, what does not fit is dropped
//! and counted. Start at [`metrics::Metrics`], [`logs::start`] and [`traces::traces`]; the words that people search the log
//! for are in [`words`].

pub mod logs;
pub mod metrics;
pub mod traces;
pub mod words;

/// Bytes that spans for the collector take at most; lines of the log are not held.
pub const BYTES_MAX: u64 = (traces::QUEUE_SPANS_MAX * traces::SPAN_BYTES) as u64;
