//! The built-in simple types of XML Schema: their names, and which texts are values of them.

use super::tree::Builtin;

/// Most digits that are compared with a bound; longer numbers are beyond every bound.
const DIGITS_COMPARED_MAX: usize = 30;

impl Builtin {
    /// Returns the built-in type of a local name such as `long`; `None` for other names and for `negativeInteger`,
    /// whose bound does not fit the tree.
    pub fn by_name(name: &str) -> Option<Self> {
        let bounded = |min, max| Some(Self::BoundedInteger { min, max });
        let signed = |min: i64, max: i64| bounded(Some(min), u64::try_from(max).ok());
        match name {
            "string" | "normalizedString" | "token" | "language" | "Name" | "NCName" | "NMTOKEN"
            | "NMTOKENS" | "ID" | "IDREF" | "IDREFS" | "ENTITY" | "ENTITIES" | "QName" | "NOTATION"
            | "anyURI" | "anyType" | "anySimpleType" | "anyAtomicType" | "hexBinary" | "base64Binary"
            | "gYear" | "gYearMonth" | "gMonth" | "gMonthDay" | "gDay" => Some(Self::String),
            "boolean" => Some(Self::Boolean),
            "integer" => Some(Self::Integer),
            "long" => signed(i64::MIN, i64::MAX),
            "int" => signed(i32::MIN.into(), i32::MAX.into()),
            "short" => signed(i16::MIN.into(), i16::MAX.into()),
            "byte" => signed(i8::MIN.into(), i8::MAX.into()),
            "unsignedLong" => bounded(Some(0), Some(u64::MAX)),
            "unsignedInt" => bounded(Some(0), Some(u32::MAX.into())),
            "unsignedShort" => bounded(Some(0), Some(u16::MAX.into())),
            "unsignedByte" => bounded(Some(0), Some(u8::MAX.into())),
            "nonNegativeInteger" => bounded(Some(0), None),
            "positiveInteger" => bounded(Some(1), None),
            "nonPositiveInteger" => bounded(None, Some(0)),
            "decimal" => Some(Self::Decimal),
            "double" | "float" => Some(Self::Double),
            "date" => Some(Self::Date),
            "time" => Some(Self::Time),
            "dateTime" | "dateTimeStamp" => Some(Self::DateTime),
            "duration" | "dayTimeDuration" | "yearMonthDuration" => Some(Self::Duration),
            _ => None,
        }
    }

    /// Returns whether `text` is a value of this type; white space around it does not count.
    pub fn accepts(self, text: &str) -> bool {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        match self {
            Self::String => true,
            Self::Boolean => matches!(text, "true" | "false" | "1" | "0"),
            Self::Integer => integer(text).is_some(),
            Self::BoundedInteger { min, max } => within(text, min, max),
            Self::Decimal => decimal(unsigned(text)),
            Self::Double => double(text),
            Self::Date => zoned(text, date),
            Self::Time => zoned(text, time),
            Self::DateTime => {
                zoned(text, |text| text.split_once('T').is_some_and(|(day, hour)| date(day) && time(hour)))
            }
            Self::Duration => duration(text),
        }
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a whole number is negative, and its digits without leading zeros.
fn integer(text: &str) -> Option<(bool, &str)> {
    let magnitude = unsigned(text);
    digits(magnitude).then(|| (text.starts_with('-'), magnitude.trim_start_matches('0')))
}

fn within(text: &str, min: Option<i64>, max: Option<u64>) -> bool {
    let Some((negative, magnitude)) = integer(text) else { return false };
    if magnitude.len() > DIGITS_COMPARED_MAX {
        return if negative { min.is_none() } else { max.is_none() };
    }
    let magnitude: i128 = if magnitude.is_empty() {
        0
    } else {
        magnitude.parse().expect("invariant: thirty digits fit in 128 bits")
    };
    let value = if negative { -magnitude } else { magnitude };
    min.is_none_or(|min| value >= min.into()) && max.is_none_or(|max| value <= max.into())
}

/// Unsigned: digits with at most one point, a digit somewhere.
fn decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    (digits(whole) && (fraction.is_empty() || digits(fraction))) || (whole.is_empty() && digits(fraction))
}

fn double(text: &str) -> bool {
    if matches!(text, "INF" | "+INF" | "-INF" | "NaN") {
        return true;
    }
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => decimal(unsigned(mantissa)) && digits(unsigned(exponent)),
        None => decimal(unsigned(text)),
    }
}

/// Takes a zone (`Z`, `+01:00`) off the end, if there is one, and asks `rest` about what is before it.
fn zoned(text: &str, rest: impl Fn(&str) -> bool) -> bool {
    if let Some(before) = text.strip_suffix('Z') {
        return rest(before);
    }
    if let Some(at) = text.len().checked_sub(6).filter(|&at| text.is_char_boundary(at)) {
        let (before, zone) = text.split_at(at);
        if let Some((hours, minutes)) = zone.strip_prefix(['+', '-']).and_then(|zone| zone.split_once(':')) {
            let offset = two(hours).zip(two(minutes));
            return rest(before)
                && offset.is_some_and(|(hours, minutes)| {
                    minutes < 60 && (hours < 14 || (hours, minutes) == (14, 0))
                });
        }
    }
    rest(text)
}

fn two(text: &str) -> Option<u32> {
    if text.len() == 2 && digits(text) { text.parse().ok() } else { None }
}

fn date(text: &str) -> bool {
    let mut parts = text.strip_prefix('-').unwrap_or(text).splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let year_fits = year.len() >= 4 && digits(year) && (year.len() == 4 || !year.starts_with('0'));
    let (Some(month), Some(day)) = (two(month), two(day)) else { return false };
    year_fits && (1..=days(year, month)).contains(&day)
}

/// Returns the days of a month, 0 when there is no such month. The year is digits.
fn days(year: &str, month: u32) -> u32 {
    // 400 divides 10,000: the last four digits decide.
    let year: u32 = year[year.len() - 4..].parse().expect("invariant: four digits");
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    }
}

fn time(text: &str) -> bool {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    if fraction.is_some_and(|fraction| !digits(fraction)) {
        return false;
    }
    let mut parts = clock.splitn(3, ':').map(two);
    let (Some(Some(hour)), Some(Some(minute)), Some(Some(second))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let midnight = (hour, minute, second) == (24, 0, 0)
        && fraction.is_none_or(|fraction| fraction.bytes().all(|digit| digit == b'0'));
    midnight || (hour < 24 && minute < 60 && second < 60)
}

fn duration(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let Some(text) = text.strip_prefix('P') else { return false };
    let (days, hours) = match text.split_once('T') {
        Some((days, hours)) => (days, Some(hours)),
        None => (text, None),
    };
    match hours {
        Some(hours) => units(days, "YMD") && units(hours, "HMS") && !hours.is_empty(),
        None => units(days, "YMD") && !days.is_empty(),
    }
}

/// Returns whether `text` is numbers, each followed by one of `letters` in their order; only seconds have a fraction.
fn units(text: &str, letters: &str) -> bool {
    let mut rest = text;
    let mut allowed = letters;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_alphabetic()) {
        let (amount, letter) = (&rest[..at], &rest[at..=at]);
        let Some(place) = allowed.find(letter) else { return false };
        let fits = if letter == "S" {
            amount
                .split_once('.')
                .map_or(digits(amount), |(whole, fraction)| digits(whole) && digits(fraction))
        } else {
            digits(amount)
        };
        if !fits {
            return false;
        }
        allowed = &allowed[place + 1..];
        rest = &rest[at + 1..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use crate::spec::tree::Builtin;

    #[test]
    fn values_of_built_in_types_are_told_from_others() {
        for (name, yes, no) in [
            ("string", "a < b|", ""),
            ("boolean", "true|0| false ", "|TRUE|yes"),
            ("integer", "0|-5|+7|123456789012345678901234567890123", "|1.0|--1|1e3|²"),
            (
                "long",
                "-9223372036854775808|9223372036854775807|007",
                "9223372036854775808|99999999999999999999999999999999|",
            ),
            ("int", "2147483647|-2147483648", "2147483648|-2147483649"),
            ("unsignedByte", "0|-0|255", "256|-1"),
            ("unsignedLong", "18446744073709551615", "18446744073709551616"),
            ("positiveInteger", "1|99999999999999999999999999999999999", "0|-1"),
            ("nonPositiveInteger", "0|-99999999999999999999999999999999999", "1"),
            ("decimal", "1|1.5|.5|5.|-0.0", ".||1.2.3|1e5|+"),
            ("double", "1|1.5E-10|INF|-INF|NaN|.5e3", "e5|1e|inf|nan"),
            (
                "date",
                "2024-02-29|2023-12-31Z|-0001-01-01|12024-01-01+14:00",
                "2023-02-29|2023-13-01|23-01-01|2023-01-01+14:01|02023-01-01|",
            ),
            (
                "time",
                "00:00:00|23:59:59.999|24:00:00|12:00:00-05:30",
                "24:00:01|12:60:00|12:00|1:00:00|12:00:00.",
            ),
            ("dateTime", "2024-01-01T00:00:00|2024-01-01T00:00:00.5Z", "2024-01-01|2024-01-01 00:00:00|T"),
            ("duration", "P1D|PT5M|-P1Y2M3DT4H5M6.7S|P0D", "P|PT|1D|P1H|PT1D|P1.5D|P1M1Y|PT.5S|P1DT|"),
        ] {
            let builtin = Builtin::by_name(name).unwrap();
            for value in yes.split('|') {
                assert!(builtin.accepts(value), "{name} accepts {value:?}");
            }
            if !no.is_empty() {
                for value in no.split('|') {
                    assert!(!builtin.accepts(value), "{name} refuses {value:?}");
                }
            }
        }
        assert_eq!(Builtin::by_name("YTimerType"), None);
    }
}
