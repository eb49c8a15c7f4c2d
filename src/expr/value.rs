//! Single values: their types, how they are written, and how one becomes another.

use std::cmp::Ordering;
use std::fmt;

use super::Error;
use super::decimal::Decimal;

/// Longest text that an error message repeats, in characters.
const QUOTE_CHARACTERS_MAX: usize = 40;

/// A single value. Integers and decimals are one exact type, because they differ in nothing that shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Atomic {
    /// What an element or text says: becomes what it is compared or calculated with.
    Untyped(String),
    String(String),
    Boolean(bool),
    Exact(Decimal),
    Double(f64),
}

impl Atomic {
    /// Returns the type in words, with its article, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Untyped(_) => "untyped text",
            Self::String(_) => "a string",
            Self::Boolean(_) => "a boolean",
            Self::Exact(_) | Self::Double(_) => "a number",
        }
    }

    /// Returns how many bytes of text it holds.
    pub(super) const fn text_bytes(&self) -> usize {
        match self {
            Self::Untyped(text) | Self::String(text) => text.len(),
            Self::Boolean(_) | Self::Exact(_) | Self::Double(_) => 0,
        }
    }

    /// Returns the value as text.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Untyped(text) | Self::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Returns the value as `number()` does: NaN for what is not a number.
    pub(super) fn to_double(&self) -> f64 {
        match self {
            Self::Untyped(text) | Self::String(text) => parse_double(text).unwrap_or(f64::NAN),
            Self::Boolean(truth) => f64::from(u8::from(*truth)),
            Self::Exact(number) => number.to_double(),
            Self::Double(number) => *number,
        }
    }

    /// Returns a number to calculate with; untyped text becomes a double.
    pub(super) fn into_number(self, offset: u32) -> Result<Number, Error> {
        match self {
            Self::Exact(number) => Ok(Number::Exact(number)),
            Self::Double(number) => Ok(Number::Double(number)),
            Self::Untyped(text) => match parse_double(&text) {
                Some(number) => Ok(Number::Double(number)),
                None => Err(cast(offset, &text, "number")),
            },
            other => {
                Err(Error::Type { offset, message: format!("a number is needed, not {}", other.kind()) })
            }
        }
    }
}

impl fmt::Display for Atomic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untyped(text) | Self::String(text) => f.write_str(text),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Exact(number) => write!(f, "{number}"),
            Self::Double(number) => f.write_str(&double_text(*number)),
        }
    }
}

/// A number to calculate with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Exact(Decimal),
    Double(f64),
}

impl Number {
    pub(super) fn to_double(self) -> f64 {
        match self {
            Self::Exact(number) => number.to_double(),
            Self::Double(number) => number,
        }
    }

    pub(super) const fn into_atomic(self) -> Atomic {
        match self {
            Self::Exact(number) => Atomic::Exact(number),
            Self::Double(number) => Atomic::Double(number),
        }
    }
}

/// Returns how many bytes of text are looked at when two values are compared, at most.
pub(super) const fn compared_bytes(left: &Atomic, right: &Atomic) -> usize {
    match (left.text_bytes(), right.text_bytes()) {
        (0, bytes) | (bytes, 0) => bytes,
        (left, right) if left < right => left,
        (_, right) => right,
    }
}

/// Compares two values as `=` does: untyped text becomes the type of the other side, or stays text.
pub(super) fn compare_general(left: &Atomic, right: &Atomic, offset: u32) -> Result<Option<Ordering>, Error> {
    match (left, right) {
        (Atomic::Untyped(text), Atomic::Exact(_) | Atomic::Double(_)) => {
            Ok(double_of(text, offset)?.partial_cmp(&right.to_double()))
        }
        (Atomic::Exact(_) | Atomic::Double(_), Atomic::Untyped(text)) => {
            Ok(left.to_double().partial_cmp(&double_of(text, offset)?))
        }
        (Atomic::Untyped(text), Atomic::Boolean(truth)) => Ok(Some(boolean_of(text, offset)?.cmp(truth))),
        (Atomic::Boolean(truth), Atomic::Untyped(text)) => Ok(Some(truth.cmp(&boolean_of(text, offset)?))),
        _ => compare_value(left, right, offset),
    }
}

/// Compares two values as `eq` does: untyped text is text.
pub(super) fn compare_value(left: &Atomic, right: &Atomic, offset: u32) -> Result<Option<Ordering>, Error> {
    match (left, right) {
        (Atomic::Untyped(a) | Atomic::String(a), Atomic::Untyped(b) | Atomic::String(b)) => {
            Ok(Some(a.cmp(b)))
        }
        (Atomic::Boolean(a), Atomic::Boolean(b)) => Ok(Some(a.cmp(b))),
        (Atomic::Exact(a), Atomic::Exact(b)) => Ok(Some(a.cmp(b))),
        (Atomic::Exact(_) | Atomic::Double(_), Atomic::Exact(_) | Atomic::Double(_)) => {
            Ok(left.to_double().partial_cmp(&right.to_double()))
        }
        _ => Err(Error::Type {
            offset,
            message: format!("{} cannot be compared with {}", left.kind(), right.kind()),
        }),
    }
}

fn double_of(text: &str, offset: u32) -> Result<f64, Error> {
    parse_double(text).ok_or_else(|| cast(offset, text, "number"))
}

fn boolean_of(text: &str, offset: u32) -> Result<bool, Error> {
    match text.trim_matches(super::xml::is_space) {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(cast(offset, text, "boolean")),
    }
}

fn cast(offset: u32, text: &str, wanted: &'static str) -> Error {
    let mut quote: String = text.chars().take(QUOTE_CHARACTERS_MAX).collect();
    if quote.len() < text.len() {
        quote.push('\u{2026}');
    }
    Error::Cast { offset, text: quote, wanted }
}

/// Reads a double as XML Schema writes it, with whitespace around it.
pub(super) fn parse_double(text: &str) -> Option<f64> {
    match text.trim_matches(super::xml::is_space) {
        "INF" => Some(f64::INFINITY),
        "-INF" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        plain if plain.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => plain.parse().ok(),
        _ => None,
    }
}

/// Writes a double as XPath does: plain from 0.000001 to below 1000000, otherwise as 1.0E6.
fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    if number == 0.0 || (1e-6..1e6).contains(&number.abs()) {
        return format!("{number}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}
