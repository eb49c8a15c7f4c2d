//! What can go wrong with the state on disk.

use std::io;
use std::path::PathBuf;

use super::entry::StoreId;
use super::tables::Table;
use crate::error::{Code, Kind};
use crate::id::{CaseId, Partition};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process has the state folder.
    #[error("the state folder is in use by {}: {}", process(*holder), path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who has it, where the system tells.
        holder: Option<u32>,
    },
    /// The journal is damaged.
    #[error("the journal is damaged at byte {offset} of {}: {reason}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A copied journal is damaged where the copying caught it in the middle of work.
    #[error("the journal is a copy that was made while work went on, and it is incomplete at byte {offset} of {}: {reason}", path.display())]
    DamagedCopy {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A store was made here, and its journal is gone.
    #[error("the journal is gone: {} holds no segment, though a store was made here", path.display())]
    JournalMissing {
        /// The folder where it should be.
        path: PathBuf,
    },
    /// A segment that others continue from is not there.
    #[error("journal segment {n} is missing: {} continues from it at frame {seq}", path.display())]
    SegmentMissing {
        /// Number of the missing segment.
        n: u64,
        /// The last frame that it must hold.
        seq: u64,
        /// The segment that needs it.
        path: PathBuf,
    },
    /// Frames are neither in the journal nor in history, and no snapshot makes them dispensable.
    #[error("frames {seq} to {until} are neither in the journal nor in {}", path.display())]
    HistoryMissing {
        /// The folder of history.
        path: PathBuf,
        /// The first frame that is missing.
        seq: u64,
        /// The last frame that may be missing.
        until: u64,
    },
    /// A file is of a format that this release cannot read.
    #[error("{} has format {found}, and this release reads formats up to {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A file belongs to another store.
    #[error("{} belongs to store {found}, not to {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The store it names.
        found: StoreId,
        /// The store it lies in.
        expected: StoreId,
    },
    /// The working environment could not be read or written.
    #[error("the working environment cannot be used: {reason}")]
    Tables {
        /// What LMDB says.
        reason: String,
    },
    /// The file system of the working environment is full.
    #[error("no space is left for the working environment")]
    TablesFull,
    /// A row of the working environment is not what was written.
    #[error("a row of table {} with key {key} fails its checksum", table.0)]
    Row {
        /// The table.
        table: Table,
        /// The key in hexadecimal.
        key: String,
    },
    /// Rows of the working environment are missing, or were added, behind the store's back.
    #[error("table {} of partition {} has {found} rows that do not add up to the {expected} written", table.0, partition.0)]
    Sums {
        /// The table.
        table: Table,
        /// The partition.
        partition: Partition,
        /// Rows found.
        found: u64,
        /// Rows that should be there.
        expected: u64,
    },
    /// An entry of the journal does not fit the rows that it should change.
    #[error("entry {n} of partition {} cannot be folded: {reason}", partition.0)]
    Fold {
        /// The partition.
        partition: Partition,
        /// The entry's position.
        n: u64,
        /// What does not fit.
        reason: String,
    },
    /// A frame came to the follower out of order.
    #[error("frame {found} was given to the follower, which expects frame {expected}")]
    FrameOrder {
        /// The frame given.
        found: u64,
        /// The frame expected.
        expected: u64,
    },
    /// A key or value has a length that the tables do not take.
    #[error("a {what} of {found_bytes} bytes is outside the limits of {least_bytes} to {most_bytes} bytes")]
    RowSize {
        /// Key or value.
        what: &'static str,
        /// Its length.
        found_bytes: usize,
        /// Least length.
        least_bytes: usize,
        /// Greatest length.
        most_bytes: usize,
    },
    /// An option has a value outside its range.
    #[error("{name} is {found}, outside {least}..={most}")]
    OptionRange {
        /// Name of the option.
        name: &'static str,
        /// Its value.
        found: u64,
        /// Least value.
        least: u64,
        /// Greatest value.
        most: u64,
    },
    /// There are more segments than an opening takes in.
    #[error("the journal has {found} segments, more than {limit}")]
    TooManySegments {
        /// Segments found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The working environment is not what folding the journal gives.
    #[error("the working environment does not fit the journal: {reason}")]
    Astray {
        /// In what they differ.
        reason: String,
    },
    /// An entry does not continue the chain of its subject.
    #[error("entry {n} of partition {} does not continue the chain of subject {subject}", partition.0)]
    ChainBroken {
        /// The partition.
        partition: Partition,
        /// The entry's position.
        n: u64,
        /// Whose chain.
        subject: u64,
    },
    /// A history file or snapshot is damaged.
    #[error("a sealed file is damaged at byte {offset} of {}: {reason}", path.display())]
    SealedDamaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Long work was ended before it was done; nothing is left of it.
    #[error("the work was ended because {why}")]
    Ended {
        /// Why.
        why: &'static str,
    },
    /// Nothing of the journal is good, and history or snapshots lie beside it: no repair gives these up.
    #[error("nothing of the journal can be kept, and history or snapshots in {} hold what was before it", state_dir.display())]
    NothingKept {
        /// The state folder.
        state_dir: PathBuf,
        /// What is wrong with the journal.
        source: Box<Error>,
    },
    /// No file that is whole leads to the rows that were folded from frames which left the journal.
    #[error("nothing whole leads to what frames up to {until} came to: neither history, nor the working environment, nor a snapshot in {}", path.display())]
    RowsLost {
        /// The folder of snapshots.
        path: PathBuf,
        /// The last frame that left the journal.
        until: u64,
    },
    /// An archived case is not where it should be.
    #[error("case {case} is archived, and it is not in {}", path.display())]
    ArchiveMissing {
        /// The archive file that should have it.
        path: PathBuf,
        /// The case.
        case: CaseId,
    },
    /// Archived cases cannot be read.
    #[error("{} archived cases cannot be read, because {why}: {}", cases.len(), first_of(cases))]
    ArchivedLost {
        /// What is wrong with their file.
        why: String,
        /// Their ids.
        cases: Vec<CaseId>,
    },
    /// Something was asked that a store of an older format does not take.
    #[error("the store has format {found}, and this takes format {needed}")]
    OldFormat {
        /// Its format.
        found: u32,
        /// The least format that takes it.
        needed: u32,
    },
    /// A row does not fit into a history file or snapshot.
    #[error("a row cannot be put into {}: {reason}", path.display())]
    SealedRow {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// Returns the permanent code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::Io { .. } => 400,
            Self::Locked { .. } => 401,
            Self::Damaged { .. } => 402,
            Self::DamagedCopy { .. } => 403,
            Self::SegmentMissing { .. } => 404,
            Self::Format { .. } => 405,
            Self::Foreign { .. } => 406,
            Self::Tables { .. } => 407,
            Self::TablesFull => 408,
            Self::Row { .. } => 409,
            Self::Sums { .. } => 410,
            Self::Fold { .. } => 411,
            Self::FrameOrder { .. } => 412,
            Self::RowSize { .. } => 413,
            Self::OptionRange { .. } => 414,
            Self::TooManySegments { .. } => 415,
            Self::Astray { .. } => 416,
            Self::ChainBroken { .. } => 417,
            Self::JournalMissing { .. } => 418,
            Self::HistoryMissing { .. } => 419,
            Self::SealedDamaged { .. } => 430,
            Self::SealedRow { .. } => 431,
            Self::Ended { .. } => 432,
            Self::NothingKept { .. } => 433,
            Self::RowsLost { .. } => 434,
            Self::ArchiveMissing { .. } => 440,
            Self::ArchivedLost { .. } => 441,
            Self::OldFormat { .. } => 442,
        })
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } | Self::TablesFull => Kind::Io,
            Self::Locked { .. } | Self::Ended { .. } => Kind::Unavailable,
            Self::Damaged { .. }
            | Self::DamagedCopy { .. }
            | Self::SegmentMissing { .. }
            | Self::JournalMissing { .. }
            | Self::HistoryMissing { .. }
            | Self::Format { .. }
            | Self::Foreign { .. }
            | Self::Tables { .. }
            | Self::Row { .. }
            | Self::Sums { .. }
            | Self::Fold { .. }
            | Self::TooManySegments { .. }
            | Self::Astray { .. }
            | Self::ChainBroken { .. }
            | Self::NothingKept { .. }
            | Self::RowsLost { .. }
            | Self::ArchiveMissing { .. }
            | Self::ArchivedLost { .. }
            | Self::SealedDamaged { .. } => Kind::Corrupt,
            Self::FrameOrder { .. } | Self::SealedRow { .. } => Kind::Internal,
            Self::OldFormat { .. } => Kind::Conflict,
            Self::RowSize { .. } => Kind::TooLarge,
            Self::OptionRange { .. } => Kind::Configuration,
        }
    }

    /// Returns whether discarding the working environment and folding the journal again would help.
    pub fn is_of_tables(&self) -> bool {
        matches!(self, Self::Tables { .. } | Self::Row { .. } | Self::Sums { .. })
    }

    /// Returns whether the journal itself is damaged, which [`repair`](super::repair) can cut off.
    pub fn is_of_journal(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::DamagedCopy { .. }
                | Self::SegmentMissing { .. }
                | Self::JournalMissing { .. }
                | Self::Foreign { .. }
        )
    }

    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// Most cases that an error names one by one.
const NAMED_COUNT_MAX: usize = 100;

fn first_of(cases: &[CaseId]) -> String {
    let mut text = cases.iter().take(NAMED_COUNT_MAX).map(CaseId::to_string).collect::<Vec<_>>().join(", ");
    if cases.len() > NAMED_COUNT_MAX {
        text = format!("{text} and {} more", cases.len() - NAMED_COUNT_MAX);
    }
    text
}

fn process(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |number| format!("process {number}"))
}

/// Why nothing was appended. Whatever it says, nothing of the frame is acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The file system is full; a later append goes on by itself when there is space. The frame may still come
    /// to light at the next opening.
    #[error("no space is left for the journal")]
    Full(#[source] io::Error),
    /// Writing or syncing failed. The frame may still come to light at the next opening.
    #[error("the journal cannot be written")]
    Io(#[source] io::Error),
    /// The frame would be larger than its limit; nothing was written.
    #[error("a frame of {found_bytes} bytes is larger than the limit of {limit_bytes}")]
    TooLarge {
        /// Its size.
        found_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// An entry is not the next of its partition; nothing was written.
    #[error("entry {found} of partition {} was given where entry {expected} is next", partition.0)]
    OutOfOrder {
        /// The partition.
        partition: Partition,
        /// The position given.
        found: u64,
        /// The position expected.
        expected: u64,
    },
    /// The partition is not claimed; nothing was written.
    #[error("partition {} is not claimed", partition.0)]
    NotClaimed {
        /// The partition.
        partition: Partition,
    },
}

impl AppendError {
    /// Returns the permanent code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::Full(_) => 420,
            Self::Io(_) => 421,
            Self::TooLarge { .. } => 422,
            Self::OutOfOrder { .. } => 423,
            Self::NotClaimed { .. } => 424,
        })
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Full(_) | Self::Io(_) => Kind::Unavailable,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::OutOfOrder { .. } | Self::NotClaimed { .. } => Kind::Internal,
        }
    }

    /// Returns what the disk said, in a few words.
    pub fn cause(&self) -> String {
        let text = std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string);
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut letters = text.chars();
        letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
    }

    /// Returns whether the frame may come to light at the next opening, so that its clients must hear "unknown".
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_))
    }
}
