//! KNHK: a workflow engine in the tradition of YAWL, delivered as one static binary.
//!
//! Start reading at docs/ARCHITECTURE.md; modules are listed from the ground up, and
//! `tests/it/tidy.rs` holds the table of which may use which.

pub mod error;
pub mod id;
pub mod spec;
pub mod expr;
pub mod net;
pub mod kernel;
pub mod case;
pub mod store;
pub mod telemetry;
pub mod engine;
pub mod api;
pub mod config;
pub mod perf;
pub mod cli;
