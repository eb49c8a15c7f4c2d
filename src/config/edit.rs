//! A key set or taken out in the text of a file; every other byte stays as it is. Pure.
//!
//! The parser that reads the files says where each value lies, so its bytes are replaced in place. An editing library
//! such as `toml_edit` would write the file anew from a tree, and it would be one more parser to agree with.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::DeTable;

use super::file::{Lines, check};
use super::keys::{KEYS, Key};
use super::value::{Rule, Value};
use crate::error::Code;

/// A text after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edited {
    /// The whole text.
    pub(super) text: String,
    /// The line, from 1, where the key stands, or stood.
    pub(super) line: usize,
}

/// Returns the value that the words of a command line mean for `key`.
///
/// # Errors
/// It breaks the rule of the key: the code and what is wrong.
pub(super) fn value_of(key: &Key, words: &str) -> Result<Value, (Code, String)> {
    let text = || Value::Text(Cow::Owned(words.to_owned()));
    let number = words.replace('_', "").parse().map(Value::Integer);
    let value = match key.rule {
        Rule::Integer(..) | Rule::Hours(_) => number.unwrap_or_else(|_| text()),
        Rule::Flag => words.parse().map_or_else(|_| text(), Value::Flag),
        _ => text(),
    };
    check(key, &value).map(|()| value)
}

/// Returns a value as a file has it.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => toml::Value::String(text.clone().into_owned()).to_string(),
        other => other.to_string(),
    }
}

/// Returns `text` with `key` set: in its own line if it has one, else in a new one at the end.
pub(super) fn set(text: &str, key: &Key, value: &Value) -> Edited {
    let lines = Lines::of(text);
    if let Some(place) = place_of(text, key) {
        let line = lines.line(place.value.start);
        let mut edited = text.to_owned();
        edited.replace_range(place.value, &written(value));
        return Edited { text: edited, line };
    }
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut edited = text.to_owned();
    if !edited.is_empty() && !edited.ends_with('\n') {
        edited.push_str(line_end);
    }
    let line = Lines::of(&edited).line(edited.len());
    edited.extend([key.name, " = ", &written(value), line_end]);
    Edited { text: edited, line }
}

/// Returns `text` without the lines of `key`; `None` when it has none.
pub(super) fn unset(text: &str, key: &Key) -> Option<Edited> {
    let lines = Lines::of(text);
    let place = place_of(text, key)?;
    let (first, last) = (lines.line(place.key.start), lines.line(place.value.end.saturating_sub(1)));
    let start = lines.span(first, text.len()).start;
    let end = lines.span(last, text.len()).end;
    // The break belongs to the line.
    let end = if text[end..].starts_with('\n') { end + 1 } else { end };
    let mut edited = text.to_owned();
    edited.replace_range(start..end, "");
    Some(Edited { text: edited, line: first })
}

/// Where a key and its value stand.
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

fn place_of(text: &str, key: &Key) -> Option<Place> {
    let (table, _) = DeTable::parse_recoverable(text);
    let found = table.get_ref().iter().find(|(name, _)| name.get_ref().as_ref() == key.name)?;
    Some(Place { key: found.0.span(), value: found.1.span() })
}

/// Finds a key by its name.
pub(super) fn key_of(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> &'static Key {
        key_of(name).unwrap()
    }

    #[test]
    fn a_value_is_replaced_and_all_else_stays() {
        let text = "# ours\n\n  cache_size_mb   =  512 # much\r\n\"log_level\"='info'\n# end";
        let edited = set(text, key("cache_size_mb"), &Value::Integer(64));
        assert_eq!(edited, Edited { text: text.replace("512", "64"), line: 3 });
        let edited = set(text, key("log_level"), &Value::Text("a\"b".into()));
        assert_eq!(edited, Edited { text: text.replace("'info'", "'a\"b'"), line: 4 });
        let edited = set(text, key("http_workers"), &Value::Integer(7));
        assert_eq!(edited, Edited { text: format!("{text}\r\nhttp_workers = 7\r\n"), line: 6 });
        assert_eq!(set("", key("otel_enabled"), &Value::Flag(true)).text, "otel_enabled = true\n");
    }

    #[test]
    fn a_key_is_taken_out_with_its_line() {
        let text = "# ours\ncache_size_mb = 512 # much\nhttp_workers = 7";
        let without = |name: &str| unset(text, key(name)).map(|edited| (edited.text, edited.line));
        assert_eq!(without("cache_size_mb"), Some(("# ours\nhttp_workers = 7".to_owned(), 2)));
        assert_eq!(without("http_workers"), Some(("# ours\ncache_size_mb = 512 # much\n".to_owned(), 3)));
        assert_eq!(without("log_level"), None);
        let long = "listen = \"\"\"\n127.0.0.1:1\"\"\"\nhttp_workers = 7\n";
        assert_eq!(unset(long, key("listen")).unwrap().text, "http_workers = 7\n");
    }

    #[test]
    fn words_of_a_command_line_are_values() {
        for (name, words, value) in [
            ("cache_size_mb", "1_024", Value::Integer(1_024)),
            ("backup_grace_hours", "20s", Value::Text("20s".into())),
            ("backup_grace_hours", "3", Value::Integer(3)),
            ("otel_enabled", "false", Value::Flag(false)),
            ("hot_path_cores", "2,3", Value::Text("2,3".into())),
        ] {
            assert_eq!(value_of(key(name), words), Ok(value), "{name}");
        }
        for (name, words, said) in [
            ("cache_size_mb", "15", "cache_size_mb = 15 is not a number from 16 to 1048576"),
            ("cache_size_mb", "1G", "cache_size_mb must be a whole number"),
            ("otel_enabled", "yes", "otel_enabled must be true or false"),
            ("log_level", "loud", "log_level = \"loud\" is not one of error, warning, info, debug, trace"),
        ] {
            assert_eq!(value_of(key(name), words).unwrap_err().1, said);
        }
    }
}
