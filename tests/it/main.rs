//! The integration tests: one binary, a module a theme.
#![expect(clippy::unwrap_used, reason = "a test that fails by panic says where")]

mod config;
mod expr;
mod expr;
mod kernel;
mod logs;
mod metrics;
mod orjoin;
mod support;
mod tidy;
