//! Benchmarks and the verdict on this machine.
