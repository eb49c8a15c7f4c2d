//! Logs, traces, metrics: set-up and every name.
