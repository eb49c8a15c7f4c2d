//! Problem documents (RFC 9457): the one form that every refusal takes.

use serde_json::{Map, Value, json};

use super::{Error, RETRY_AFTER_SECONDS, Response, show};
use crate::engine::room::{Cost, Room, SHORT_BYTES};
use crate::engine::service::{Health, Refusal};
use crate::error::{Code, Kind};
use crate::spec::{Mistake, Severity};
use crate::telemetry::metrics::labels::Route;

/// Content type of a problem document.
pub(super) const PROBLEM: &str = "application/problem+json";
/// What to show to be let in (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"knhk\"";

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Problem(Box<Parts>);

/// What a problem says.
#[derive(Debug)]
struct Parts {
    status: u16,
    kind: Kind,
    code: Code,
    detail: String,
    hint: Option<String>,
    key: Option<String>,
    mistakes: Vec<Mistake>,
    /// Seconds until it may go better, where that is known.
    retry_after_s: Option<u32>,
    /// A header beyond those that every problem has.
    header: Option<(&'static str, String)>,
    /// Members beyond those that every problem has.
    more: Map<String, Value>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let header = match &error {
            Error::Method { allow, .. } => Some(("allow", allow.clone())),
            Error::NoBearer => Some(("www-authenticate", CHALLENGE.to_owned())),
            Error::UnknownToken | Error::ExpiredToken => {
                Some(("www-authenticate", format!("{CHALLENGE}, error=\"invalid_token\"")))
            }
            Error::Scope { needs, .. } => {
                let more = format!("error=\"insufficient_scope\", scope=\"{needs}\"");
                Some(("www-authenticate", format!("{CHALLENGE}, {more}")))
            }
            _ => None,
        };
        Self(Box::new(Parts {
            status: error.status(),
            kind: error.kind(),
            code: error.code(),
            detail: error.to_string(),
            hint: error.hint(),
            key: None,
            mistakes: Vec::new(),
            retry_after_s: None,
            header,
            more: Map::new(),
        }))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(Parts {
            status: refusal.kind.outside().http,
            kind: refusal.kind,
            code: refusal.code,
            detail: refusal.message,
            hint: refusal.hint,
            key: refusal.key,
            mistakes: refusal.mistakes,
            retry_after_s: refusal.retry_after_s,
            header: None,
            more: Map::new(),
        }))
    }
}

impl Problem {
    /// Returns that the service cannot do its work, for these reasons.
    pub(super) fn failing(health: &Health) -> Self {
        let problem = Self::from(Error::Failing { reasons: health.failing.join("; ") });
        problem.with("failing", json!(health.failing)).with("degraded", json!(health.degraded))
    }

    /// Returns that the service cannot do its work, for this reason alone.
    pub(super) fn failing_for(reason: &str) -> Self {
        Self::failing(&Health { failing: vec![reason.to_owned()], degraded: Vec::new() })
    }

    /// Adds a member to the document.
    pub(super) fn with(mut self, member: &str, value: Value) -> Self {
        self.0.more.insert(member.to_owned(), value);
        self
    }

    /// Returns the status of the answer.
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    /// Writes the short form, for a batch line without room for more.
    pub(super) fn write_brief(&self, out: &mut Vec<u8>) {
        let (status, code) = (self.0.status, self.0.code);
        let document = json!({
            "type": format!("urn:knhk:error:{code}"),
            "title": title(status, self.0.kind, code),
            "status": status,
            "code": code.to_string(),
            "short": true,
        });
        show::write(out, &document);
    }

    /// Writes the document into a line of a batch, as far as there is room for more than its short form.
    pub(super) fn write(self, out: &mut Vec<u8>, room: &Room) {
        let mut brief = Vec::new();
        self.write_brief(&mut brief);
        let whole = show::text(&self.document());
        let cost = Cost { text_bytes: whole.len().saturating_sub(SHORT_BYTES), held_bytes: 0 };
        out.extend_from_slice(if room.take(cost).is_ok() { &whole } else { &brief });
    }

    /// Returns the document.
    pub(super) fn document(self) -> Value {
        let mut document = Map::new();
        document.insert("type".into(), format!("urn:knhk:error:{}", self.0.code).into());
        document.insert("title".into(), title(self.0.status, self.0.kind, self.0.code).into());
        document.insert("status".into(), self.0.status.into());
        document.insert("detail".into(), self.0.detail.into());
        document.insert("code".into(), self.0.code.to_string().into());
        if let Some(hint) = self.0.hint {
            document.insert("hint".into(), hint.into());
        }
        if let Some(key) = self.0.key {
            document.insert("key".into(), key.into());
        }
        if let Some(seconds) = self.0.retry_after_s {
            document.insert("retry_after_seconds".into(), seconds.into());
        }
        if !self.0.mistakes.is_empty() {
            document.insert("mistakes".into(), self.0.mistakes.iter().map(mistake).collect());
        }
        document.extend(self.0.more);
        Value::Object(document)
    }

    /// Returns the answer.
    pub(super) fn into_response(self, route: Route) -> Response {
        let status = self.0.status;
        let mut headers = vec![("content-type", PROBLEM.to_owned())];
        headers.extend(self.0.header.clone());
        if status == 503 {
            let seconds = self.0.retry_after_s.unwrap_or(RETRY_AFTER_SECONDS);
            headers.push(("retry-after", seconds.to_string()));
        }
        Response {
            status,
            headers,
            body: self.document().to_string().into_bytes(),
            route,
            room: Room::default(),
        }
    }
}

fn mistake(mistake: &Mistake) -> Value {
    json!({
        "code": mistake.code.to_string(),
        "severity": match mistake.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "line": mistake.at.line,
        "column": mistake.at.column,
        "message": mistake.message,
        "hint": mistake.hint,
    })
}

/// Returns a few words that are the same for every problem of one kind.
fn title(status: u16, kind: Kind, code: Code) -> &'static str {
    match status {
        401 => return "token needed",
        403 if code == Error::SCOPE => return "token may not do this",
        403 if code == Error::ORIGIN => return "not from another site",
        403 => return "user may not do this",
        405 => return "method not possible here",
        406 => return "type cannot be given",
        408 => return "request came too slowly",
        414 => return "path too long",
        417 => return "expectation cannot be met",
        415 => return "type of body not read here",
        421 => return "not for this service",
        431 => return "header too long",
        _ => {}
    }
    match kind {
        Kind::Invalid | Kind::Usage => "request cannot be read",
        Kind::Unacceptable => "request asks for something impossible",
        Kind::NotFound => "no such thing",
        Kind::Conflict => "state does not allow this now",
        Kind::TooLarge => "too large",
        Kind::Busy => "busy",
        Kind::Unknown => "outcome unknown",
        Kind::Unavailable => "service not available",
        Kind::Configuration => "configuration invalid",
        Kind::Io => "could not read or write",
        Kind::Corrupt => "stored data is damaged",
        Kind::Internal => "internal fault",
    }
}
