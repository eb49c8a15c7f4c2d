//! JSON bodies: read strictly, so that a slip is an answer and not a surprise.
//!
//! [`object`] refuses what nests too deep, names a member twice or has members that mean nothing; [`Members`]
//! then hands out what the route knows.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Error, JSON_DEPTH_MAX, REASON_BYTES_MAX, data, header, nearest};
use crate::engine::service::{Fragment, json};

/// The members of a body's one object, in their order.
#[derive(Debug)]
pub(super) struct Members(Vec<(&'static str, Member)>);

/// The value of a member, as far as any route wants to know it: nothing is held of what none reads.
#[derive(Debug)]
enum Member {
    Null,
    Text(String),
    Number(String),
    Flag(bool),
    /// The members of `data`.
    Data(data::Parameters),
    /// An array or object.
    Other,
}

/// Reads a body as one JSON object with no other members than `known`; an empty body is an empty object.
pub(super) fn object(body: &[u8], known: &[&'static str]) -> Result<Members, Error> {
    let text = body.trim_ascii_start();
    if text.is_empty() {
        return Ok(Members(Vec::new()));
    }
    check_shape(body)?;
    if !text.starts_with(b"{") {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| no_json(&error))?;
        return Err(Error::Json { line: 1, column: 1, message: "expected an object".to_owned() });
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = Object(known).deserialize(&mut reader).and_then(|read| reader.end().map(|()| read));
    match read.map_err(|error| no_json(&error))? {
        (members, None) => Ok(members),
        (_, Some(member)) => {
            let hint = nearest::hint(&member, known);
            Err(Error::UnknownMember { member: super::query::shorten(&member), hint })
        }
    }
}

/// Reads an object; of the members that are not known it keeps the name of the first.
struct Object<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = (Members, Option<String>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = (Members, Option<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut unknown = None;
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                Err(name) => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.get_or_insert(name);
                }
                Ok(name) => members.push((name, map.next_value_seed(ValueOf(name))?)),
            }
        }
        Ok((Members(members), unknown))
    }
}

/// Reads the name of a member: one that is known, or any other.
struct Name<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Result<&'static str, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Result<&'static str, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|known| **known == name).copied().ok_or_else(|| name.to_owned()))
    }
}

/// Reads the value of the member of this name.
struct ValueOf(&'static str);

impl<'de> DeserializeSeed<'de> for ValueOf {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueOf {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Member, E> {
        Ok(Member::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Member, E> {
        Ok(Member::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Member, E> {
        Ok(Member::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Member, E> {
        Ok(Member::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Member, E> {
        Ok(Member::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Member, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        if self.0 == "data" {
            return data::from_map(map).map(Member::Data);
        }
        match map.next_key::<String>()? {
            Some(name) if name == json::NUMBER => map.next_value().map(Member::Number),
            None => Ok(Member::Other),
            Some(_) => {
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }
        }
    }
}

/// Returns what is wrong with JSON, and where.
fn no_json(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    // The answer names the place by itself.
    let message = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]).to_owned();
    Error::Json { line: error.line(), column: error.column(), message }
}

impl Members {
    fn take(&mut self, member: &str) -> Member {
        let at = self.0.iter().position(|entry| entry.0 == member);
        at.map_or(Member::Null, |at| self.0.remove(at).1)
    }

    /// Returns a text that may be missing.
    pub(super) fn text(&mut self, member: &'static str) -> Result<Option<String>, Error> {
        match self.take(member) {
            Member::Null => Ok(None),
            Member::Text(text) => Ok(Some(text)),
            _ => Err(Error::Member { member, wanted: "a string".to_owned() }),
        }
    }

    /// Returns a number from 1 to `most` that may be missing.
    pub(super) fn number(&mut self, member: &'static str, most: u32) -> Result<Option<u32>, Error> {
        let number = match self.take(member) {
            Member::Null => return Ok(None),
            Member::Number(text) => text.parse().ok().filter(|number| (1..=most).contains(number)),
            _ => None,
        };
        number.map(Some).ok_or_else(|| Error::Member { member, wanted: format!("a number from 1 to {most}") })
    }

    /// Returns a member that is true or false, and false when it is missing.
    pub(super) fn flag(&mut self, member: &'static str) -> Result<bool, Error> {
        match self.take(member) {
            Member::Null => Ok(false),
            Member::Flag(flag) => Ok(flag),
            _ => Err(Error::Member { member, wanted: "true or false".to_owned() }),
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
                Err(Error::UnknownMember { member: member.to_owned(), hint })
            }
        }
    }

    /// Returns case data: one value a parameter.
    pub(super) fn data(&mut self) -> Result<Vec<(String, Fragment)>, Error> {
        match self.take("data") {
            Member::Null => Ok(Vec::new()),
            Member::Data(data) => data,
            _ => Err(Error::Member {
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

impl<'a> Scan<'a> {
    fn column(&self) -> usize {
        self.at - self.line_start + 1
    }

    /// Steps over a string whose first quote is at `at`; returns what is between the quotes.
    fn string(&mut self) -> &'a [u8] {
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

/// The names in an object: few are compared one by one, more are looked up.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, [u8]>>,
    many: BTreeSet<Cow<'a, [u8]>>,
}

/// Most names of an object that are compared one by one.
const FEW_NAMES_MAX: usize = 16;

impl<'a> Names<'a> {
    /// Adds a name; tells whether it is new.
    fn add(&mut self, name: Cow<'a, [u8]>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < FEW_NAMES_MAX {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}

/// Returns a name without its escapes; one that is no JSON string stays as it is, for the parser to say.
fn unescape(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'\\') {
        return name.into();
    }
    let quoted = [b"\"", name, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(name.into(), |text| text.into_bytes().into())
}

/// Checks depth and that no object names a member twice, escapes resolved. Anything else that is wrong is left to the
/// parser, which says it better.
fn check_shape(body: &[u8]) -> Result<(), Error> {
    let mut scan = Scan { body, at: 0, line: 1, line_start: 0 };
    let mut open: Vec<Names<'_>> = Vec::new();
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
                open.push(Names::default());
            }
            b'}' | b']' => {
                open.pop();
            }
            b'"' => {
                let (line, column) = (scan.line, scan.column());
                let name = scan.string();
                if let Some(names) = open.last_mut().filter(|_| scan.colon_follows())
                    && !names.add(unescape(name))
                {
                    let member = super::query::shorten(&String::from_utf8_lossy(&unescape(name)));
                    return Err(Error::JsonTwice { member, line, column });
                }
            }
            _ => {}
        }
        scan.at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_named_twice_is_found_among_few_and_among_many() {
        for count in [2, FEW_NAMES_MAX, FEW_NAMES_MAX + 1, 3 * FEW_NAMES_MAX] {
            let members: Vec<String> = (0..count).map(|number| format!("\"m{number}\":0")).collect();
            let body = |members: &[String]| format!("{{\"data\":{{{}}}}}", members.join(","));
            assert!(object(body(&members).as_bytes(), &["data"]).is_ok(), "{count}");
            for again in [0, count - 1] {
                let twice = [&members[..], &members[again..=again]].concat();
                let error = object(body(&twice).as_bytes(), &["data"]).err();
                let is_found =
                    matches!(&error, Some(Error::JsonTwice { member, .. }) if *member == format!("m{again}"));
                assert!(is_found, "{count} {again}: {error:?}");
                let escaped = members[again].replacen('m', "\\u006d", 1);
                let error = object(body(&[&members[..], &[escaped]].concat()).as_bytes(), &["data"]).err();
                let is_found = matches!(&error, Some(Error::JsonTwice { .. }));
                assert!(is_found, "{count} {again}, with an escape: {error:?}");
            }
        }
    }
}
