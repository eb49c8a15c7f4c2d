//! The running service: shards, waves, threads, clock, queues, group commit.

pub mod clock;
