//! Tree to immutable numbered tables, and the analysis of OR-joins. Pure.
