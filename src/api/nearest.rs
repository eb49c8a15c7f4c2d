//! The known word that is nearest to an unknown one.

use crate::error;

/// Longest word that is compared, in bytes; a longer one has no near word.
const WORD_BYTES_MAX: usize = 64;
/// Most single-character changes between a word and one that may have been meant.
const CHANGES_MAX: usize = 3;

/// Returns a hint: the nearest of `known`, or all of them.
pub(super) fn hint(word: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|candidate| (changes(word, candidate), candidate))
        .min()
        .filter(|&(changes, candidate)| changes <= CHANGES_MAX.min(candidate.len() / 2));
    match near {
        Some((_, candidate)) => format!("did you mean {candidate:?}?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("possible here: {}", known.join(", ")),
    }
}

/// Counts the single-character changes between two words.
fn changes(from: &str, to: &str) -> usize {
    if from.len() > WORD_BYTES_MAX {
        return usize::MAX;
    }
    let letters = |word: &str| word.chars().collect::<Vec<char>>();
    error::changes(&letters(from), &letters(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_the_list() {
        let known = ["workflow", "data", "business_key"];
        assert_eq!(hint("workflw", &known), "did you mean \"workflow\"?");
        assert_eq!(hint("buisness_key", &known), "did you mean \"business_key\"?");
        assert_eq!(hint("zzz", &known), "possible here: workflow, data, business_key");
        assert_eq!(hint(&"w".repeat(WORD_BYTES_MAX + 1), &["w"]), "possible here: w");
        assert_eq!(hint("x", &[]), "leave it out");
    }
}
