//! What is wrong with a specification, and where.

use serde::{Deserialize, Serialize};

use crate::error::Code;

/// A place in a source text; lines and columns count from 1, columns in characters, the offset in bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1; 0 when there is no place to name.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Byte offset from 0.
    pub offset: u32,
}

/// Whether a mistake prevents registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Registration is refused.
    Error,
    /// Kept, and said.
    Warning,
}

/// One thing that is wrong, or only odd, in a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Permanent code; docs/errors has its page.
    pub code: Code,
    /// Whether it prevents registration.
    pub severity: Severity,
    /// Where it stands in the source.
    pub at: Position,
    /// What is wrong: lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}
