//! What was left out of a backup, or of what a backup is restored to: told by name, so many of them.

use std::path::Path;

/// Most names that are told.
const NAMES_MAX: usize = 20;
/// Most characters of a name that are told.
const NAME_LETTERS_MAX: usize = 120;

/// What was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// How many files and folders; what is in a folder is not counted again.
    pub(super) count: u64,
    notes: Vec<String>,
}

impl LeftOut {
    /// Adds something that is left out, and why.
    pub(super) fn add(&mut self, name: &Path, why: &str) {
        self.count += 1;
        if self.notes.len() < NAMES_MAX {
            let name = name.display().to_string();
            let mut shown: String = name.chars().take(NAME_LETTERS_MAX).collect();
            if shown.len() < name.len() {
                shown.push_str("...");
            }
            self.notes.push(format!("{shown} is left out: {why}"));
        }
    }

    /// Returns a sentence for each, and one for all that are not told by name.
    pub(super) fn notes(self) -> Vec<String> {
        let more = self.count - self.notes.len() as u64;
        let mut notes = self.notes;
        if more > 0 {
            notes.push(format!("{more} more are left out"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_names_are_told_and_all_are_counted() {
        let mut left_out = LeftOut::default();
        for number in 0..1_000 {
            left_out.add(Path::new(&format!("f{number}{}", "x".repeat(1_000))), "it is strange");
        }
        assert_eq!(left_out.count, 1_000);
        let notes = left_out.notes();
        assert_eq!((notes.len(), notes[NAMES_MAX].as_str()), (NAMES_MAX + 1, "980 more are left out"));
        assert!(notes.iter().all(|note| note.len() < 200));
    }
}
