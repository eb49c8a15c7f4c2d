//! What can go wrong with backups.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Code, Kind};
use crate::id::CaseId;
use crate::store;

/// Something that is wrong with the state in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The code of the store.
    pub code: Code,
    /// What is wrong, in its words; files are named as in the archive.
    pub message: String,
}

/// Why a backup was not made, is not good, or was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {what} {}", path.display())] // KN0450
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is not enough space.
    #[error("{} has {free_bytes} bytes free, and {needed_bytes} are needed, {reserve_bytes} of them as the service's reserve", path.display())]
    // KN0451
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes that may still be written there.
        free_bytes: u64,
        /// Bytes that are needed.
        needed_bytes: u64,
        /// How many of them are to stay free.
        reserve_bytes: u64,
    },
    /// There is no state to be backed up.
    #[error("there is no state in {}", state_dir.display())] // KN0452
    NoState {
        /// The state folder.
        state_dir: PathBuf,
    },
    /// Somebody else makes a backup just now.
    #[error("another backup is being made in {}", path.display())] // KN0453
    Busy {
        /// The folder of the backups.
        path: PathBuf,
    },
    /// The file cannot be read as an archive.
    #[error("the archive is damaged at byte {offset} of {}: {reason}", path.display())] // KN0454
    Archive {
        /// The file.
        path: PathBuf,
        /// How far it could be read.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// An archive in which no state lies.
    #[error("{} holds no state: {reason}", path.display())] // KN0455
    NotState {
        /// The file.
        path: PathBuf,
        /// What is missing, or too much.
        reason: String,
    },
    /// The archive can be read, and the state in it is damaged.
    #[error("the state in {} is damaged: {} findings", path.display(), findings.len())] // KN0456
    Damaged {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        findings: Vec<Finding>,
    },
    /// What was packed ends before what was durable when the packing began.
    #[error("what was packed ends with frame {seq}, and frame {needed_seq} was durable when it began")]
    // KN0457
    Behind {
        /// The last frame packed.
        seq: u64,
        /// The frame that must be in it.
        needed_seq: u64,
    },
    /// The service runs on the state that is to be replaced.
    #[error("the state folder is in use by {}: {}", process(*holder), path.display())] // KN0458
    InUse {
        /// The lock file.
        path: PathBuf,
        /// Who has it, where the system tells.
        holder: Option<u32>,
    },
    /// There is a file under the name that was asked for.
    #[error("{} exists", path.display())] // KN0459
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the backups is not there.
    #[error("the folder {} is not there", path.display())] // KN0460
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The backup knows no such case.
    #[error("{} holds no case {case}", path.display())] // KN0461
    NoCase {
        /// The file.
        path: PathBuf,
        /// The case.
        case: CaseId,
    },
    /// The store says so itself.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// Returns the permanent code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::Io { .. } => 450,
            Self::NoSpace { .. } => 451,
            Self::NoState { .. } => 452,
            Self::Busy { .. } => 453,
            Self::Archive { .. } => 454,
            Self::NotState { .. } => 455,
            Self::Damaged { .. } => 456,
            Self::Behind { .. } => 457,
            Self::InUse { .. } => 458,
            Self::Exists { .. } => 459,
            Self::NoFolder { .. } => 460,
            Self::NoCase { .. } => 461,
            Self::Store(error) => return error.code(),
        })
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } | Self::NoSpace { .. } | Self::NoFolder { .. } => Kind::Io,
            Self::NoState { .. } | Self::NoCase { .. } => Kind::NotFound,
            Self::Busy { .. } | Self::Behind { .. } => Kind::Busy,
            Self::Archive { .. } | Self::NotState { .. } | Self::Damaged { .. } => Kind::Corrupt,
            Self::InUse { .. } => Kind::Unavailable,
            Self::Exists { .. } => Kind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    /// Returns all that is wrong with the state, where that is what is wrong.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Damaged { findings, .. } => findings,
            _ => &[],
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        let explain = || format!("knhk explain {}", self.code());
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "use sudo; backup create takes another folder by --to".to_owned()
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it for writing, or name another folder by --to".to_owned()
                }
                io::ErrorKind::StorageFull => "free space, or name another folder by --to".to_owned(),
                _ => explain(),
            },
            Self::NoSpace { .. } => "free space, or name a folder on another disk by --to".to_owned(),
            Self::Busy { .. } => "wait for it to end; knhk backup list shows what is there".to_owned(),
            Self::Behind { .. } => {
                "try again; was knhk state trim --now run meanwhile? If it stays so: knhk state verify"
                    .to_owned()
            }
            Self::InUse { .. } => "sudo systemctl stop knhk".to_owned(),
            Self::Exists { .. } => "name another file, or take that one away".to_owned(),
            Self::NoFolder { path } => {
                format!("sudo install -d -o knhk -g knhk -m 0750 {}; or mount its disk", path.display())
            }
            _ => explain(),
        }
    }
}

fn process(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |number| format!("process {number}"))
}
