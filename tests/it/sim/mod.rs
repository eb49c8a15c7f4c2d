//! The simulator: the real code over a simulated world, replayed from a seed.

pub(crate) mod disk;
