//! Whether a value reads as its variable's type says, and what to say when it does not.
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
    if !has_elements && builtin.accepts(&text) { Ok(()) } else { Err(expected(*builtin)) }
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
                assert!(builtin.accepts(text), "{builtin:?} takes {text:?}");
            }
            for text in *wrong {
                assert!(!builtin.accepts(text), "{builtin:?} does not take {text:?}");
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
