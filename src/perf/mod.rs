//! Benchmarks and the verdict on this machine.
//!
//! Start at [`kernel::measure`], which tests, benches and `knhk performance benchmark` share.

pub mod durable;
pub mod kernel;
pub mod load;
