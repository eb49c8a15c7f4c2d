//! Text of one file to settings and mistakes. Pure.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{self, Mistake};
use super::keys::{KEYS, Key};
use super::nearest::nearest;
use super::value::{Refusal, Value};
use crate::error::Code;

/// Most mistakes that are told of one file; whoever has more has another kind of file.
pub(super) const MISTAKE_COUNT_MAX: usize = 100;
/// Longest name that a message repeats.
const NAME_CHARS_MAX: usize = 64;

/// One key set by a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Place in [`KEYS`].
    pub(super) key_index: usize,
    /// A value that keeps the key's rule.
    pub(super) value: Value,
    /// Line from 1.
    pub(super) line: usize,
}

/// Returns what `text` sets and everything that is wrong with it, both in the order of lines.
pub(super) fn read(file: &str, text: &str) -> (Vec<Setting>, Vec<Mistake>) {
    let lines = Lines::of(text);
    let (text, mut mistakes) = readable(file, text, &lines);
    let (table, _) = DeTable::parse_recoverable(&text);
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let line = lines.line(key.span().start);
        let name = key.get_ref().as_ref();
        match KEYS.iter().position(|key| key.name == name) {
            None => mistakes.push(unknown(file, line, name, value.get_ref())),
            Some(key_index) => match setting(&KEYS[key_index], value.get_ref()) {
                Ok(value) => settings.push(Setting { key_index, value, line }),
                Err((code, message)) => mistakes.push(mistake(file, line, code, message, "")),
            },
        }
    }
    settings.sort_by_key(|setting| setting.line);
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes.truncate(MISTAKE_COUNT_MAX);
    (settings, mistakes)
}

/// Returns the text without the lines that are not TOML, and a mistake for each of them. The parser goes on
/// after a fault, but sometimes only at the end of the file; a line taken out costs no other line its check.
fn readable(file: &str, text: &str, lines: &Lines) -> (String, Vec<Mistake>) {
    let mut text = text.to_owned();
    let mut mistakes = Vec::new();
    while mistakes.len() < MISTAKE_COUNT_MAX {
        let (_, faults) = DeTable::parse_recoverable(&text);
        let Some(fault) = faults.iter().min_by_key(|fault| fault.span().map_or(0, |span| span.start)) else {
            break;
        };
        let line = lines.line(fault.span().map_or(0, |span| span.start));
        let message = fault.message().lines().collect::<Vec<_>>().join(", ");
        mistakes.push(mistake(file, line, error::SYNTAX, message, "write one `key = value` a line"));
        let place = lines.span(line, text.len());
        if text[place.clone()].trim().is_empty() {
            break;
        }
        let blank = " ".repeat(place.len());
        text.replace_range(place, &blank);
    }
    (text, mistakes)
}

/// Checks a value that stands for `key` elsewhere than in a file.
pub(super) fn check(key: &Key, value: &Value) -> Result<(), (Code, String)> {
    key.rule.check(value).map_err(|refusal| {
        let (name, given) = (key.name, shown(&value.to_string()));
        match refusal {
            Refusal::Type(must) => (error::TYPE, format!("{name} must be {must}")),
            Refusal::Range(range) => (error::RANGE, format!("{name} = {given} is not {range}")),
            Refusal::Text(must) => (error::TEXT, format!("{name} = \"{given}\" is not {must}")),
            Refusal::NotLoopback => (
                error::NOT_LOOPBACK,
                format!("{name} = \"{given}\" can be reached from other machines, which is refused for now"),
            ),
        }
    })
}

fn setting(key: &Key, value: &DeValue<'_>) -> Result<Value, (Code, String)> {
    let value = match value {
        DeValue::String(text) => Value::Text(Cow::Owned(text.as_ref().to_owned())),
        DeValue::Boolean(value) => Value::Flag(*value),
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) if matches!(key.rule, super::Rule::Integer(..) | super::Rule::Hours(_)) => {
                let given = shown(number.as_str());
                return Err((error::RANGE, format!("{} = {given} is not {}", key.name, key.rule.words())));
            }
            Err(_) => Value::Integer(0),
        },
        other => {
            let message = format!("{} must be {}, not {}", key.name, key.rule.words(), other.type_str());
            return Err((error::TYPE, message));
        }
    };
    check(key, &value).map(|()| value)
}

fn unknown(file: &str, line: usize, name: &str, value: &DeValue<'_>) -> Mistake {
    if matches!(value, DeValue::Table(_)) {
        let message = format!("unknown section [{}]", shown(name));
        return mistake(file, line, error::UNKNOWN, message, "keys stand at the top, there are no sections");
    }
    let hint = match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(near) => format!("nearest name is {near}"),
        None => "knhk config show lists all keys".to_owned(),
    };
    mistake(file, line, error::UNKNOWN, format!("unknown key {}", shown(name)), &hint)
}

pub(super) fn mistake(file: &str, line: usize, code: Code, message: String, hint: &str) -> Mistake {
    Mistake { code, file: file.to_owned(), line, message, hint: hint.to_owned() }
}

/// Returns text fit for a message: short, on one line.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(NAME_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().count() > NAME_CHARS_MAX {
        short.push_str("...");
    }
    short
}

/// Where lines begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Self(std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect())
    }

    /// Returns the line, from 1, that holds a byte.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset)
    }

    /// Returns where a line lies, without its line break.
    pub(super) fn span(&self, line: usize, text_len: usize) -> Range<usize> {
        let end = self.0.get(line).map_or(text_len, |&next| next - 1);
        self.0[line - 1]..end
    }
}
