//! Private invariants.
