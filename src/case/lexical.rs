//! Whether a value reads as its variable's type says: the lexical forms of XML Schema's built-in types.
//!
//! Types of the specification's own schema are not looked into: any well-formed content is theirs.

use crate::expr::Fragment;
use crate::net::{Builtin, DataType};

/// Longest value that an error repeats, in characters.
const QUOTED_CHARS_MAX: usize = 100;

/// Checks a value that is set.
///
/// # Errors
/// What the type takes, in words.
pub(super) fn check(data_type: &DataType, value: &Fragment) -> Result<(), String> {
    let DataType::Builtin(builtin) = data_type else { return Ok(()) };
    if *builtin == Builtin::String {
        return Ok(());
    }
    let has_elements = value.as_xml().contains('<');
    let text = value.text();
    if !has_elements && accepts(*builtin, text.trim_matches([' ', '\t', '\r', '\n'])) {
        Ok(())
    } else {
        Err(expected(*builtin))
    }
}

/// Returns a value as errors repeat it.
pub(super) fn quoted(value: &Fragment) -> String {
    let text = value.as_xml();
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn expected(builtin: Builtin) -> String {
    match builtin {
        Builtin::String => "any text".to_owned(),
        Builtin::Boolean => "true or false".to_owned(),
        Builtin::Integer => "a whole number".to_owned(),
        Builtin::BoundedInteger { min, max } => match (min, max) {
            (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
            (Some(min), None) => format!("a whole number from {min}"),
            (None, Some(max)) => format!("a whole number up to {max}"),
            (None, None) => "a whole number".to_owned(),
        },
        Builtin::Decimal => "a decimal number".to_owned(),
        Builtin::Double => "a number".to_owned(),
        Builtin::Date => "a date (2026-01-31)".to_owned(),
        Builtin::Time => "a time of day (13:20:00)".to_owned(),
        Builtin::DateTime => "a date and time (2026-01-31T13:20:00Z)".to_owned(),
        Builtin::Duration => "a duration (P1DT2H)".to_owned(),
    }
}

fn accepts(builtin: Builtin, text: &str) -> bool {
    match builtin {
        Builtin::String => true,
        Builtin::Boolean => matches!(text, "true" | "false" | "1" | "0"),
        Builtin::Integer => is_digits(unsigned(text)),
        Builtin::BoundedInteger { min, max } => is_digits(unsigned(text)) && is_within(text, min, max),
        Builtin::Decimal => is_decimal(unsigned(text)),
        Builtin::Double => is_double(text),
        Builtin::Date => date(text.strip_prefix('-').unwrap_or(text)).is_some_and(is_zone),
        Builtin::Time => time(text).is_some_and(is_zone),
        Builtin::DateTime => date(text.strip_prefix('-').unwrap_or(text))
            .and_then(|rest| rest.strip_prefix('T'))
            .and_then(time)
            .is_some_and(is_zone),
        Builtin::Duration => is_duration(text.strip_prefix('-').unwrap_or(text)),
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Compares digits of any number with bounds.
fn is_within(text: &str, min: Option<i64>, max: Option<u64>) -> bool {
    let is_negative = text.starts_with('-');
    let digits = unsigned(text).trim_start_matches('0');
    let Ok(size) = (if digits.is_empty() { Ok(0) } else { digits.parse::<i128>() }) else {
        // More digits than any bound has: only a side without a bound takes it.
        return if is_negative { min.is_none() } else { max.is_none() };
    };
    let value = if is_negative { -size } else { size };
    min.is_none_or(|min| value >= i128::from(min)) && max.is_none_or(|max| value <= i128::from(max))
}

fn is_decimal(text: &str) -> bool {
    match text.split_once('.') {
        None => is_digits(text),
        Some((whole, part)) => {
            (whole.is_empty() || is_digits(whole))
                && (part.is_empty() || is_digits(part))
                && whole.len() + part.len() > 0
        }
    }
}

fn is_double(text: &str) -> bool {
    if matches!(text, "INF" | "+INF" | "-INF" | "NaN") {
        return true;
    }
    match text.split_once(['e', 'E']) {
        None => is_decimal(unsigned(text)),
        Some((mantissa, exponent)) => is_decimal(unsigned(mantissa)) && is_digits(unsigned(exponent)),
    }
}

/// Reads so many digits as a number, and returns what follows.
fn digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let head = text.get(..count)?;
    if !is_digits(head) {
        return None;
    }
    Some((head.parse().ok()?, &text[count..]))
}

/// Returns what follows a date.
fn date(text: &str) -> Option<&str> {
    let year_len = text.bytes().take_while(u8::is_ascii_digit).count();
    // Years have four digits or more, and more only without a leading zero.
    if year_len < 4 || (year_len > 4 && text.starts_with('0')) {
        return None;
    }
    let (month, rest) = digits(text[year_len..].strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    // Only the last four digits count for leap years: 10,000 is a multiple of 400.
    let (year, _) = digits(&text[year_len - 4..], 4)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let day_count = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=day_count).contains(&day).then_some(rest)
}

/// Returns what follows a time of day.
fn time(text: &str) -> Option<&str> {
    let (hour, rest) = digits(text, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, mut rest) = digits(rest.strip_prefix(':')?, 2)?;
    let mut is_whole = true;
    if let Some(part) = rest.strip_prefix('.') {
        let len = part.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return None;
        }
        is_whole = part[..len].bytes().all(|byte| byte == b'0');
        rest = &part[len..];
    }
    let is_midnight = hour == 24 && minute == 0 && second == 0 && is_whole;
    (is_midnight || (hour < 24 && minute < 60 && second < 60)).then_some(rest)
}

fn is_zone(text: &str) -> bool {
    if text.is_empty() || text == "Z" {
        return true;
    }
    let zone = || {
        let (hour, rest) = digits(text.strip_prefix(['+', '-'])?, 2)?;
        let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
        Some(rest.is_empty() && (hour < 14 && minute < 60 || hour == 14 && minute == 0))
    };
    zone().unwrap_or(false)
}

fn is_duration(text: &str) -> bool {
    let Some(text) = text.strip_prefix('P') else { return false };
    let (days, times) = match text.split_once('T') {
        Some((days, times)) => (days, Some(times)),
        None => (text, None),
    };
    let fits = |mut part: &str, units: &str, last_may_have_fraction: bool| {
        let mut units = units.chars();
        while !part.is_empty() {
            let len = part.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
            let Some(unit) = part[len..].chars().next() else { return false };
            let may_have_fraction = last_may_have_fraction && unit == 'S';
            let number = &part[..len];
            let is_number = is_digits(number)
                || (may_have_fraction
                    && number
                        .split_once('.')
                        .is_some_and(|(whole, part)| is_digits(whole) && is_digits(part)));
            if !is_number || !units.any(|known| known == unit) {
                return false;
            }
            part = &part[len + unit.len_utf8()..];
        }
        true
    };
    fits(days, "YMD", false)
        && times.is_none_or(|times| !times.is_empty() && fits(times, "HMS", true))
        && !(days.is_empty() && times.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lexical_forms_of_the_built_in_types() {
        let bounded = |min, max| Builtin::BoundedInteger { min, max };
        let table: &[(Builtin, &[&str], &[&str])] = &[
            (Builtin::Boolean, &["true", "false", "1", "0"], &["True", "yes", "2", ""]),
            (
                Builtin::Integer,
                &["0", "-7", "+12", "0012", &"9".repeat(200)],
                &["1.0", "1e3", "-", "", "one", "1 2"],
            ),
            (bounded(Some(-128), Some(127)), &["-128", "127", "+0"], &["-129", "128", &"9".repeat(200)]),
            (bounded(Some(0), None), &["0", "-0", &"9".repeat(200)], &["-1"]),
            (
                bounded(None, Some(u64::MAX)),
                &["18446744073709551615", "-99999999999999999999999"],
                &["18446744073709551616"],
            ),
            (Builtin::Decimal, &["1", "-1.5", ".5", "5.", "+0.0"], &[".", "1e3", "INF", "1.2.3", ""]),
            (
                Builtin::Double,
                &["1", "-1.5E-3", "INF", "-INF", "NaN", ".5e7"],
                &["1e", "e5", "inf", "1e1.5", ""],
            ),
            (
                Builtin::Date,
                &["2026-01-31", "2024-02-29", "-0044-03-15", "12026-12-01Z", "2026-01-31+14:00"],
                &[
                    "2026-1-31",
                    "2025-02-29",
                    "2026-13-01",
                    "2026-00-10",
                    "2026-01-00",
                    "26-01-01",
                    "02026-01-01",
                    "2026-01-31+15:00",
                    "2026-01-31T00:00:00",
                    "",
                ],
            ),
            (
                Builtin::Time,
                &["00:00:00", "23:59:59.999", "24:00:00", "12:00:00Z", "12:00:00-05:30"],
                &["24:00:01", "24:00:00.5", "12:60:00", "12:00", "12:00:60", "12:00:00.", "1:00:00"],
            ),
            (
                Builtin::DateTime,
                &["2026-01-31T13:20:00", "2026-01-31T13:20:00.5Z"],
                &["2026-01-31", "2026-01-31 13:20:00", "2026-01-31T", "2026-01-31T13:20:00Q"],
            ),
            (
                Builtin::Duration,
                &["P1Y", "P1Y2M3DT4H5M6.7S", "-P30D", "PT0S", "P0D"],
                &["P", "PT", "P1", "1D", "P1DT", "P1H", "PT1D", "PT1.5H", "P1M1Y", "PT.5S", "P-1D", "P1é"],
            ),
        ];
        for (builtin, right, wrong) in table {
            for text in *right {
                assert!(accepts(*builtin, text), "{builtin:?} takes {text:?}");
            }
            for text in *wrong {
                assert!(!accepts(*builtin, text), "{builtin:?} does not take {text:?}");
            }
        }
    }

    #[test]
    fn values_with_elements_are_of_no_simple_type_but_text() {
        let nested = Fragment::parse("<a>1</a>").unwrap();
        assert!(check(&DataType::Builtin(Builtin::Integer), &nested).is_err());
        assert!(check(&DataType::Builtin(Builtin::String), &nested).is_ok());
        assert!(check(&DataType::Opaque("Order".to_owned()), &nested).is_ok());
        assert!(check(&DataType::Builtin(Builtin::Integer), &Fragment::from_text(" 12\n")).is_ok());
    }
}
