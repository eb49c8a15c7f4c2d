//! Everything that can be wrong with the configuration, each with its place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::{Code, Kind};

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Permanent code; docs/errors has its page.
    pub code: Code,
    /// The file, or the environment variable as `$KNHK_LOG`.
    pub file: String,
    /// Line from 1; 0 when there is no place in the file to name.
    pub line: usize,
    /// What is wrong: lower case, no final period.
    pub message: String,
    /// What to do about it; empty when the message says it.
    pub hint: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The file could not be read.
pub(super) const UNREADABLE: Code = Code(600);
/// The text is not TOML.
pub(super) const SYNTAX: Code = Code(601);
/// No key has this name.
pub(super) const UNKNOWN: Code = Code(602);
/// The value has another type.
pub(super) const TYPE: Code = Code(603);
/// The number is outside its range.
pub(super) const RANGE: Code = Code(604);
/// The address can be reached from other machines.
pub(super) const NOT_LOOPBACK: Code = Code(605);
/// The text is not what it must be.
pub(super) const TEXT: Code = Code(606);
/// The file is too large, or there are too many.
pub(super) const SIZE: Code = Code(607);
/// Two values do not go together.
pub(super) const TOGETHER: Code = Code(608);

/// All parts of the memory are more than there is.
pub(super) const MEMORY: Code = Code(670);
/// A folder is missing, and the service may not make it.
pub(super) const PLACE_MISSING: Code = Code(613);
/// What should be a folder is something else.
pub(super) const PLACE_NOT_FOLDER: Code = Code(614);
/// A folder, or something in it, belongs to somebody else.
pub(super) const PLACE_OWNER: Code = Code(615);
/// Others may use a folder, or its owner may not.
pub(super) const PLACE_MODE: Code = Code(616);
/// The service may not read a file of the configuration.
pub(super) const PLACE_UNREADABLE: Code = Code(617);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// At least one file or variable holds a mistake; all that were found.
    #[error("configuration is invalid: {}", count(mistakes.len()))] // KN0620, Kind::Configuration
    Invalid {
        /// Every mistake, in the order of files and lines; never empty.
        mistakes: Vec<Mistake>,
        /// The files that were read, also those without a mistake.
        files: Vec<PathBuf>,
    },
    /// A command names a key that does not exist.
    #[error("unknown key {name}")] // KN0630
    NoKey {
        /// As typed.
        name: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A command gives a value that breaks the rule of its key; the code says how.
    #[error("{message}")]
    Value {
        /// The code of the same mistake in a file.
        code: Code,
        /// What is wrong.
        message: String,
    },
    /// The file belongs to somebody else.
    #[error("{} belongs to {owner}; only its owner or root may change it", path.display())] // KN0631
    NotOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: String,
    },
    /// The file cannot be read or replaced.
    #[error("could not change {}", path.display())] // KN0632
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Other commands change the file.
    #[error("others are changing {}; {waited_s} s were not enough", path.display())] // KN0633
    Held {
        /// The file.
        path: PathBuf,
        /// How long this command waited.
        waited_s: u64,
    },
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

impl Error {
    /// Returns the permanent code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code(620),
            Self::NoKey { .. } => Code(630),
            Self::Value { code, .. } => *code,
            Self::NotOwner { .. } => Code(631),
            Self::Write { .. } => Code(632),
            Self::Held { .. } => Code(633),
        }
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::Configuration,
            Self::NoKey { .. } | Self::Value { .. } => Kind::Usage,
            Self::NotOwner { .. } | Self::Write { .. } => Kind::Io,
            Self::Held { .. } => Kind::Busy,
        }
    }

    /// Returns every mistake of the files and variables; empty when something else is wrong.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Invalid { mistakes, .. } => mistakes,
            _ => &[],
        }
    }

    /// Returns what to do about it, where that is not obvious.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKey { nearest: Some(nearest), .. } => Some(format!("nearest name is {nearest}")),
            Self::NoKey { nearest: None, .. } => Some("knhk config show lists all keys".to_owned()),
            Self::NotOwner { .. } => Some("use sudo".to_owned()),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("use sudo".to_owned())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
                Some("a file that is mounted by itself cannot be replaced; mount its folder".to_owned())
            }
            Self::Held { .. } => Some("try again".to_owned()),
            _ => None,
        }
    }
}
