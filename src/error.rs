//! Kinds of failure and what each means outside: HTTP status, exit status, log level.
//!
//! Every module has its own `Error`; each of its variants has a permanent code (`KN0302`) and a
//! [`Kind`]. This table is the only place where a kind becomes a status.

/// A permanent, unique number of one way to fail; docs/errors has a page for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KN{:04}", self.0)
    }
}

/// What a failure means to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request cannot be read: syntax, size, type.
    Invalid,
    /// The request can be read but says something impossible (an unsound net, other data under a used key).
    Unacceptable,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists but its state does not allow this now.
    Conflict,
    /// The body or a value is larger than its named limit.
    TooLarge,
    /// A bounded queue or table is full; ask again later.
    Busy,
    /// It took longer than its limit and may still happen; ask again with the same key.
    Unknown,
    /// The service cannot accept work now (starting, stopping, read-only).
    Unavailable,
    /// The command line was wrong.
    Usage,
    /// The configuration is invalid.
    Configuration,
    /// A file or device could not be read or written, or a port could not be had.
    Io,
    /// Stored bytes are not what was written.
    Corrupt,
    /// A fault of the program itself.
    Internal,
}

/// How loud a failure is in the log; `Error` means that a person must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Normal operation: the client's own mistake.
    Info,
    /// Worth knowing when it becomes frequent.
    Warning,
    /// A person must act.
    Error,
}

/// The outside view of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// HTTP status of the answer.
    pub http: u16,
    /// Exit status of the command.
    pub exit: u8,
    /// Level of the log line.
    pub level: Level,
}

impl Kind {
    /// Returns what this kind means outside. Statuses: docs/reference/statuses.md.
    pub const fn outside(self) -> Outside {
        let (http, exit, level) = match self {
            Self::Invalid => (400, 1, Level::Info),
            Self::Unacceptable => (422, 1, Level::Info),
            Self::NotFound => (404, 1, Level::Info),
            Self::Conflict => (409, 1, Level::Info),
            Self::TooLarge => (413, 1, Level::Info),
            Self::Busy => (503, 75, Level::Warning),
            Self::Unknown => (504, 75, Level::Warning),
            Self::Unavailable => (503, 69, Level::Warning),
            Self::Usage => (400, 2, Level::Info),
            Self::Configuration => (500, 78, Level::Error),
            Self::Io => (500, 74, Level::Error),
            Self::Corrupt => (500, 1, Level::Error),
            Self::Internal => (500, 70, Level::Error),
        };
        Outside { http, exit, level }
    }
}

/// Returns the least number of letters to insert, delete or change (Levenshtein): how hints find the
/// word that was meant. Time grows with the product of the lengths; callers bound them.
pub fn changes(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, &letter) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (left, &other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != other);
            diagonal = row[left + 1];
            row[left + 1] = changed.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row[to.len()]
}
