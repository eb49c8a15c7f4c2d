//! The integration tests: one binary, a module a theme.
#![expect(clippy::unwrap_used, reason = "a test that fails by panic says where")]

mod cli;
mod config;
mod logs;
mod metrics;
mod tidy;
