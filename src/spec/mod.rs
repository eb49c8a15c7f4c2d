//! Text of a workflow to a tree with source positions; all mistakes at once. Pure.
