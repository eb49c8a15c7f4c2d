//! Headers that this interface reads.

use super::{Error, KEY_LEN_MAX, Request};

/// Returns the value of a header by its lower-case name; the first when there are several.
pub(super) fn find<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim())
}

/// Checks a client's own name for a case and returns it: people's numbers and names, so any text without controls.
pub(super) fn business_key(name: &'static str, text: &str) -> Result<String, Error> {
    let is_one = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if !is_one || text.chars().count() > KEY_LEN_MAX {
        return Err(Error::BusinessKey { name, limit: KEY_LEN_MAX });
    }
    Ok(text.to_owned())
}

/// Checks a key of a client and returns it.
pub(super) fn key(name: &'static str, text: &str) -> Result<String, Error> {
    if text.is_empty() || text.len() > KEY_LEN_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Key { name, limit: KEY_LEN_MAX });
    }
    Ok(text.to_owned())
}

/// What a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON, also when the client does not say.
    Json,
    /// XML.
    Xml,
    /// Lines of JSON.
    Lines,
    /// No type was given, or that of bytes in general.
    Unknown,
}

/// Returns what the body is, if it is one of `wanted`.
pub(super) fn media(request: &Request, wanted: &[Media], names: &'static str) -> Result<Media, Error> {
    let given = find(request, "content-type").unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media = match essence.as_str() {
        "" | "application/octet-stream" => Some(Media::Unknown),
        "application/json" | "text/json" => Some(Media::Json),
        "application/xml" | "text/xml" => Some(Media::Xml),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/json-lines" => {
            Some(Media::Lines)
        }
        other if other.ends_with("+json") => Some(Media::Json),
        other if other.ends_with("+xml") => Some(Media::Xml),
        _ => None,
    };
    media
        .filter(|media| *media == Media::Unknown || wanted.contains(media))
        .ok_or_else(|| Error::MediaType { media_type: given.chars().take(80).collect(), wanted: names })
}
