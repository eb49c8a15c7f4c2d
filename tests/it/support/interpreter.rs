//! The plain interpreter.
