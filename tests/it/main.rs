//! The integration tests: one binary, a module a theme.
#![expect(clippy::unwrap_used, reason = "a test that fails by panic says where")]

mod api;
mod archive;
mod case;
mod cli;
mod client;
mod config;
mod crash;
mod durable;
mod engine;
mod examples;
mod expr;
mod faults;
mod hot_tar;
mod http;
mod kernel;
mod logs;
mod measurements;
mod metrics;
mod net;
mod offline;
mod orjoin;
mod replay;
mod sim;
mod spec;
mod store;
mod support;
mod tidy;
