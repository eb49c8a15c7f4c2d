//! Benchmarks and the verdict on this machine, and what a running service's own figures tell.
//!
//! Start at [`kernel::measure`], which tests, benches and `knhk performance benchmark` share, or at [`rules`], which make
//! findings of figures. [`watch`] and [`machine`] look at /proc, [`exposition`] reads `/metrics`.

pub mod durable;
pub mod exposition;
pub mod kernel;
pub mod load;
pub mod machine;
pub mod page;
pub mod pieces;
pub mod report;
pub mod rules;
pub mod spans;
pub mod watch;
