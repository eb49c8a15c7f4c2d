//! Text of a workflow to a tree with source positions; all mistakes at once. Pure.
//!
//! Start at [`read`] and [`tree::Specification`]. Readers (one so far: YAWL XML) turn text into that tree, and
//! [`rules::check`] says what is wrong with it; nothing above this module knows XML. Expressions are only carried
//! here, not understood. docs/reference/specifications.md says what is read and what has no effect.

pub mod codes;
mod fragment;
mod lexical;
mod mistake;
pub mod rules;
mod source;
pub mod tree;
mod yawl;

pub use mistake::{MISTAKES_MAX, Mistake, Position, Severity};
pub use source::SOURCE_BYTES_MAX;
pub use yawl::{
    ATTRIBUTE_COUNT_MAX, ATTRIBUTES_PER_ELEMENT_MAX, ELEMENT_COUNT_MAX, NAME_CHARS_MAX, NAMESPACE_COUNT_MAX,
    NESTING_MAX, NODE_COUNT_MAX,
};

/// What reading a source gave.
#[derive(Debug)]
pub struct Reading {
    /// The tree; there is one when nothing is wrong but what this release does not run yet.
    pub specification: Option<tree::Specification>,
    /// All mistakes in the order of the source, at most [`MISTAKES_MAX`] and one line that says how many more.
    pub mistakes: Vec<Mistake>,
}

impl Reading {
    /// Returns whether the specification may be registered: there is a tree, and nothing but warnings.
    pub fn is_accepted(&self) -> bool {
        self.specification.is_some()
            && self.mistakes.iter().all(|mistake| mistake.severity == Severity::Warning)
    }
}

/// Reads a specification. What is wrong with encoding, size or well-formedness stands alone; everything else is
/// reported together. Time and memory are linear in the source, whose size is bounded.
pub fn read(source: &[u8]) -> Reading {
    yawl::read(source)
}
