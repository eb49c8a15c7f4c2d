//! What is wrong with a specification, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codes;
use crate::error::{Code, Kind};

/// Most mistakes that one reading shows; after them one line says how many more there are.
pub const MISTAKES_MAX: usize = 100;
/// Most mistakes that a reading keeps before it sorts them; later ones are only counted.
const MISTAKES_KEPT_MAX: usize = 10_000;
/// Most characters of a name that a message repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// A place in a source text; lines and columns count from 1, columns in characters, the offset in bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1; 0 when there is no place to name.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Byte offset from 0.
    pub offset: u32,
}

/// Whether a mistake prevents registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Registration is refused.
    Error,
    /// Kept, and said.
    Warning,
}

/// One thing that is wrong, or only odd, in a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Permanent code; docs/errors has its page.
    pub code: Code,
    /// Whether it prevents registration.
    pub severity: Severity,
    /// Where it stands in the source.
    pub at: Position,
    /// What is wrong: lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Mistake {
    /// Returns a mistake that prevents registration.
    pub fn error(code: Code, at: Position, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, at, message: message.into(), hint: hint.into() }
    }

    /// Returns a mistake that is only said.
    pub fn warning(code: Code, at: Position, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, severity: Severity::Warning, at, message: message.into(), hint: hint.into() }
    }

    /// Returns whether this is something that the specification may say but this release does not run yet.
    pub fn is_not_yet(&self) -> bool {
        [codes::NOT_YET_MULTIPLE_INSTANCE, codes::NOT_YET_TIMER].contains(&self.code)
    }

    /// Returns what this mistake means to whoever sent the specification.
    pub fn kind(&self) -> Kind {
        match self.code {
            codes::SOURCE_TOO_LARGE => Kind::TooLarge,
            codes::NOT_WELL_FORMED | codes::ENCODING | codes::DOCUMENT_TYPE | codes::NOT_YAWL => {
                Kind::Invalid
            }
            _ => Kind::Unacceptable,
        }
    }
}

impl fmt::Display for Mistake {
    /// Writes `12:5: error[KN0123]: message`, then a line with the hint. The file's name is the caller's to write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.line > 0 {
            write!(f, "{}:{}: ", self.at.line, self.at.column)?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Returns `text` in quotes, without control characters and cut to a length that a message can carry.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for (index, letter) in text.chars().enumerate() {
        if index == QUOTED_CHARS_MAX {
            out.push_str("...");
            break;
        }
        out.extend(letter.escape_debug());
    }
    out.push('"');
    out
}

/// The mistakes of one reading, bounded in number.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    kept: Vec<Mistake>,
    uncounted: usize,
    refused: bool,
}

impl Mistakes {
    pub(super) fn push(&mut self, mistake: Mistake) {
        self.refused |= mistake.severity == Severity::Error && !mistake.is_not_yet();
        if self.kept.len() < MISTAKES_KEPT_MAX {
            self.kept.push(mistake);
        } else {
            self.uncounted += 1;
        }
    }

    /// Returns whether there is an error that leaves no tree to show.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Returns what is shown: in the order of the source, errors before warnings where not all have room.
    pub(super) fn into_shown(self) -> Vec<Mistake> {
        let mut shown = self.kept;
        shown.sort_by_key(|mistake| (mistake.at, mistake.code));
        let count = shown.len() + self.uncounted;
        if count <= MISTAKES_MAX {
            return shown;
        }
        let errors: Vec<Mistake> = shown
            .iter()
            .filter(|mistake| mistake.severity == Severity::Error)
            .take(MISTAKES_MAX)
            .cloned()
            .collect();
        let room = MISTAKES_MAX - errors.len();
        let mut shown: Vec<Mistake> = shown
            .into_iter()
            .filter(|mistake| mistake.severity == Severity::Warning)
            .take(room)
            .chain(errors)
            .collect();
        shown.sort_by_key(|mistake| (mistake.at, mistake.code));
        shown.push(Mistake::warning(
            codes::MORE,
            Position::default(),
            format!("{} more are not shown", count - MISTAKES_MAX),
            "mend those above and read the file again",
        ));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MISTAKES_KEPT_MAX, MISTAKES_MAX, Mistake, Mistakes, Position, QUOTED_CHARS_MAX, Severity, quoted,
    };
    use crate::spec::codes;

    #[test]
    fn beyond_what_is_kept_mistakes_are_counted_and_errors_come_before_warnings() {
        let at = |offset: usize| Position { line: 1, column: 1, offset: u32::try_from(offset).unwrap() };
        let mut mistakes = Mistakes::default();
        for offset in 0..MISTAKES_KEPT_MAX + 5 {
            mistakes.push(Mistake::warning(codes::NO_WORK, at(offset), "odd", "none"));
        }
        assert!(!mistakes.is_refused());
        mistakes.push(Mistake::error(codes::NOT_YET_TIMER, at(0), "later", "none"));
        assert!(!mistakes.is_refused(), "not yet leaves a tree");
        mistakes.push(Mistake::error(codes::VALUE, at(0), "wrong", "none"));
        assert!(mistakes.is_refused(), "also when it is only counted");
        let shown = mistakes.into_shown();
        let more = format!("{} more are not shown", MISTAKES_KEPT_MAX + 7 - MISTAKES_MAX);
        assert_eq!(shown.last().map(|mistake| mistake.message.as_str()), Some(more.as_str()));

        let mut mistakes = Mistakes::default();
        for offset in 0..MISTAKES_MAX {
            mistakes.push(Mistake::warning(codes::NO_WORK, at(offset), "odd", "none"));
        }
        mistakes.push(Mistake::error(codes::VALUE, at(MISTAKES_MAX), "wrong", "none"));
        let shown = mistakes.into_shown();
        assert_eq!(shown[MISTAKES_MAX - 1].severity, Severity::Error);
    }

    #[test]
    fn quotes_are_cut_and_escaped() {
        assert_eq!(quoted("a\"\n\u{9b}é"), r#""a\"\n\u{9b}é""#);
        assert_eq!(quoted(&"é".repeat(QUOTED_CHARS_MAX)).chars().count(), QUOTED_CHARS_MAX + 2);
        assert_eq!(quoted(&"é".repeat(QUOTED_CHARS_MAX + 1)).chars().count(), QUOTED_CHARS_MAX + 5);
    }
}
