//! The integration tests: one binary, a module a theme.
#![expect(clippy::unwrap_used, reason = "a test that fails by panic says where")]

mod api;
mod config;
mod expr;
mod http;
mod kernel;
mod logs;
mod metrics;
mod orjoin;
mod support;
mod tidy;
