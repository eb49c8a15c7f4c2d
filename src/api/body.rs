//! JSON bodies: read strictly, so that a slip is an answer and not a surprise.
//!
//! [`object`] refuses what nests too deep, names a member twice or has members that mean nothing; [`Members`]
//! then hands out what the route knows.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Error, JSON_DEPTH_MAX, REASON_BYTES_MAX, data, header, nearest};
use crate::engine::service::Fragment;

/// The members of a body's one object.
#[derive(Debug)]
pub(super) struct Members(Map<String, Value>);

/// Reads a body as one JSON object with no other members than `known`; an empty body is an empty object.
pub(super) fn object(body: &[u8], known: &[&str]) -> Result<Members, Error> {
    if body.trim_ascii().is_empty() {
        return Ok(Members(Map::new()));
    }
    check_shape(body)?;
    let value: Value = serde_json::from_slice(body).map_err(|error| Error::Json {
        line: error.line(),
        column: error.column(),
        message: without_position(&error),
    })?;
    let Value::Object(members) = value else {
        return Err(Error::Json { line: 1, column: 1, message: "expected an object".to_owned() });
    };
    if let Some(member) = members.keys().find(|member| !known.contains(&member.as_str())) {
        let hint = nearest::hint(member, known);
        return Err(Error::UnknownMember { member: super::query::shorten(member), hint });
    }
    Ok(Members(members))
}

/// Returns the message of a JSON error without the place at its end, which the answer names by itself.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]).to_owned()
}

impl Members {
    /// Returns a text that may be missing.
    pub(super) fn text(&mut self, member: &'static str) -> Result<Option<String>, Error> {
        match self.0.remove(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::Member { member, wanted: "a string".to_owned() }),
        }
    }

    /// Returns a text that must be there.
    pub(super) fn need(&mut self, member: &'static str) -> Result<String, Error> {
        self.text(member)?.ok_or(Error::MissingMember { member })
    }

    /// Returns a key of the client's that may be missing.
    pub(super) fn key(&mut self, member: &'static str) -> Result<Option<String>, Error> {
        self.text(member)?.map(|text| header::key(member, &text)).transpose()
    }

    /// Returns the client's own name for a case, which may be missing.
    pub(super) fn business_key(&mut self, member: &'static str) -> Result<Option<String>, Error> {
        self.text(member)?.map(|text| header::business_key(member, &text)).transpose()
    }

    /// Returns why something is done; empty when the client does not say.
    pub(super) fn reason(&mut self) -> Result<String, Error> {
        let reason = self.text("reason")?.unwrap_or_default();
        if reason.len() > REASON_BYTES_MAX {
            let wanted = format!("at most {REASON_BYTES_MAX} bytes long");
            return Err(Error::Member { member: "reason", wanted });
        }
        Ok(reason)
    }

    /// Checks that nothing is left that nobody took.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((member, _)) => {
                let hint = "this operation does not take it".to_owned();
                Err(Error::UnknownMember { member: super::query::shorten(&member), hint })
            }
        }
    }

    /// Returns case data: one value a parameter.
    pub(super) fn data(&mut self) -> Result<Vec<(String, Fragment)>, Error> {
        match self.0.remove("data") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Object(members)) => data::from_json(members),
            Some(_) => Err(Error::Member {
                member: "data",
                wanted: "an object with a member a parameter".to_owned(),
            }),
        }
    }
}

/// What a scan knows of the text before it.
struct Scan<'a> {
    body: &'a [u8],
    at: usize,
    line: usize,
    line_start: usize,
}

impl Scan<'_> {
    fn column(&self) -> usize {
        self.at - self.line_start + 1
    }

    /// Steps over a string whose first quote is at `at`; returns what is between the quotes.
    fn string(&mut self) -> &[u8] {
        let start = self.at + 1;
        self.at = start;
        while let Some(&byte) = self.body.get(self.at) {
            match byte {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let end = self.at.min(self.body.len());
        &self.body[start.min(end)..end]
    }

    /// Tells whether the next byte that is no space is a colon.
    fn colon_follows(&self) -> bool {
        let rest = self.body.get(self.at + 1..).unwrap_or_default();
        rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
    }
}

/// Checks depth and that no object names a member twice (as written: escapes are not resolved). Anything else
/// that is wrong is left to the parser, which says it better.
fn check_shape(body: &[u8]) -> Result<(), Error> {
    let mut scan = Scan { body, at: 0, line: 1, line_start: 0 };
    let mut open: Vec<BTreeSet<Vec<u8>>> = Vec::new();
    while let Some(&byte) = body.get(scan.at) {
        match byte {
            b'\n' => {
                scan.line += 1;
                scan.line_start = scan.at + 1;
            }
            b'{' | b'[' => {
                if open.len() == JSON_DEPTH_MAX {
                    let (line, column) = (scan.line, scan.column());
                    return Err(Error::JsonTooDeep { line, column, limit: JSON_DEPTH_MAX });
                }
                open.push(BTreeSet::new());
            }
            b'}' | b']' => {
                open.pop();
            }
            b'"' => {
                let (line, column) = (scan.line, scan.column());
                let text = scan.string().to_vec();
                if let Some(members) = open.last_mut().filter(|_| scan.colon_follows()) {
                    let member = super::query::shorten(&String::from_utf8_lossy(&text));
                    if !members.insert(text) {
                        return Err(Error::JsonTwice { member, line, column });
                    }
                }
            }
            _ => {}
        }
        scan.at += 1;
    }
    Ok(())
}
