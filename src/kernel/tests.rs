//! Private invariants of the kernel.
