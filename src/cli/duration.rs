//! Lengths of time as people write and read them: `90d`, `1h30m`. Pure.

/// Units from the longest on, in microseconds.
const UNITS: &[(&str, u64)] = &[
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
];

/// A length of time, checked and kept as it was typed: the service reads the same form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Duration(pub(super) String);

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match microseconds(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(format!("{text:?} is not a length of time such as 90d, 12h or 1h30m")),
        }
    }
}

/// Reads whole numbers, each with its unit; `None` when it is anything else or too long to count.
pub(super) fn microseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Returns a length in its largest unit, rounded down: `3d`.
pub(super) fn short(us: u64) -> String {
    let unit = UNITS.iter().filter(|(name, _)| *name != "w").find(|(_, factor)| us >= *factor);
    unit.map_or_else(|| "0s".to_owned(), |(name, factor)| format!("{}{name}", us / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any};
    use proptest::{collection, prop_assert_eq, proptest};

    #[test]
    fn only_numbers_with_units_are_lengths() {
        for wrong in ["", "90", "d", "-1d", "1.5h", "1y", "18446744073709551616s", "99999999999w", "1d ", "ä"]
        {
            assert_eq!(microseconds(wrong), None, "{wrong}");
        }
        assert_eq!(microseconds("90d"), Some(90 * 86_400_000_000));
        assert_eq!(short(90 * 86_400_000_000 + 5), "90d");
        assert_eq!(short(59_999_999), "59s");
        assert_eq!(short(0), "0s");
    }

    proptest! {
        #[test]
        fn parts_add_up(parts in collection::vec((0_u64..1_000_000, 0..UNITS.len()), 1..6)) {
            let texts: Vec<String> = parts.iter().map(|&(n, unit)| format!("{n}{}", UNITS[unit].0)).collect();
            let text = texts.concat();
            let sum: u64 = parts.iter().map(|&(n, unit)| n * UNITS[unit].1).sum();
            prop_assert_eq!(microseconds(&text), Some(sum));
        }

        #[test]
        fn nothing_makes_it_panic(text in any::<String>().prop_map(|text| text + "9d")) {
            let _ = microseconds(&text);
        }
    }
}
