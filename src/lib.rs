//! KNHK: a workflow engine in the tradition of YAWL, delivered as one static binary.
//!
//! Start reading at docs/ARCHITECTURE.md; modules are listed from the ground up, and
//! `tests/it/tidy.rs` holds the table of which may use which.

pub mod api;
pub mod backup;
pub mod case;
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod expr;
pub mod id;
pub mod kernel;
pub mod net;
pub mod perf;
pub mod spec;
pub mod store;
pub mod telemetry;
