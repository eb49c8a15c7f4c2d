//! The name that someone probably meant.

use crate::error::changes;

/// Longest name that is compared; what is longer has no nearest name.
const NAME_CHARS_MAX: usize = 64;

/// Returns the candidate with the fewest changed letters, if no more than a third of `name` is changed.
/// Upper and lower case are the same, `-` and `_` too.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = plain(name);
    if name.is_empty() || name.len() > NAME_CHARS_MAX {
        return None;
    }
    let changes_max = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = plain(candidate);
            // A name whose unit or ending was forgotten is near, however long the ending is.
            let begins = name.len() >= 4 && plain.starts_with(&name);
            (if begins { 1 } else { changes(&name, &plain) }, candidate)
        })
        .filter(|&(count, _)| count <= changes_max)
        .min_by_key(|&(count, _)| count)
        .map(|(_, candidate)| candidate)
}

fn plain(name: &str) -> Vec<char> {
    let letters = name.chars().take(NAME_CHARS_MAX + 1);
    letters.flat_map(char::to_lowercase).map(|letter| if letter == '-' { '_' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = ["hot_path_max_ticks", "cache_size_mb", "listen", "log_level"];
        for (typed, meant) in [
            ("hot_path_max_tick", Some("hot_path_max_ticks")),
            ("cache_size", Some("cache_size_mb")),
            ("Cache-Size-MB", Some("cache_size_mb")),
            ("lisen", Some("listen")),
            ("loglevel", Some("log_level")),
            ("workers", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), names), None);
    }

    #[test]
    fn changes_are_counted_as_by_hand() {
        for (from, to, count) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(changes(&plain(from), &plain(to)), count);
        }
    }
}
