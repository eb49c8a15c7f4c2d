//! Refusals of the service (RFC 9457) as errors of a command. Pure.

use std::fmt;

use serde_json::Value;

use crate::error::{Code, Kind};

/// What the service said instead of doing what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its code, if it gave one.
    pub code: Option<Code>,
    /// What it means outside.
    pub kind: Kind,
    /// The sentence.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The single mistakes of a specification, as sent.
    pub mistakes: Vec<Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Problem {
    /// Reads the answer of a refused request. Whatever it is, something can be said of it.
    pub(super) fn of(status: u16, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let member = |name: &str| document.get(name).and_then(Value::as_str);
        let hint = match member("key") {
            Some(key) => Some(format!("ask again with --idempotency-key {key}")),
            None => member("hint").map(str::to_owned),
        };
        Self {
            code: member("code").and_then(code),
            kind: kind(status, member("title")),
            detail: match member("detail").or_else(|| member("title")) {
                Some(detail) => detail.to_owned(),
                None => format!("the service answered with status {status}"),
            },
            hint,
            mistakes: document.get("mistakes").and_then(Value::as_array).cloned().unwrap_or_default(),
        }
    }
}

/// Reads `KN0302`, also without its letters or in lower case.
pub(super) fn code(text: &str) -> Option<Code> {
    let digits = text.strip_prefix("KN").or_else(|| text.strip_prefix("kn")).unwrap_or(text);
    let fits = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| fits).map(Code)
}

/// Returns the kind whose HTTP status this is. Several share one: 503 is told apart by its title, and those
/// behind 500 are all a fault of the service to whoever asked.
fn kind(status: u16, title: Option<&str>) -> Kind {
    match status {
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        413 | 414 | 431 => Kind::TooLarge,
        422 => Kind::Unacceptable,
        503 if title == Some("service not available") => Kind::Unavailable,
        503 => Kind::Busy,
        408 | 504 => Kind::Unknown,
        400..=499 => Kind::Invalid,
        _ => Kind::Internal,
    }
}
