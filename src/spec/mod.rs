//! Text of a workflow to a tree with source positions; all mistakes at once. Pure.
//!
//! Start at [`tree::Specification`]. Readers turn text into that tree; nothing above this module knows XML.

mod mistake;
pub mod tree;

pub use mistake::{Mistake, Position, Severity};
