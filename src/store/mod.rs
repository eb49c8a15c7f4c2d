//! The state on disk: the journal, the working environment, and how one follows the other.
//!
//! It sees partitions, tables, keys and bytes, and knows no cases or events; what an entry does to rows is the
//! [`Fold`] that it is given. It owns no thread and reads no clock: `engine` calls it. Start at [`open()`], then
//! [`Journal`] for what is written and [`Follower`] for what is read; docs/reference/store.md has the formats.

use std::path::PathBuf;

mod anew;
mod archive;
mod aside;
mod beside;
mod bytes;
mod casualties;
mod chain;
mod chains;
mod compare;
mod cut;
mod disk;
mod entry;
mod error;
mod folders;
mod follower;
mod frame;
mod history;
mod identity;
mod info;
mod journal;
mod keeper;
mod kept;
mod layer;
mod leave;
mod lmdb;
mod log;
mod look;
mod marker;
mod mem;
mod mend;
mod names;
mod open;
mod past;
mod reader;
mod recall;
mod repair;
mod retention;
mod row;
mod scrub;
mod sealed;
mod segment;
mod shelf;
mod snapshot;
mod tables;
mod unpacking;
mod verify;

#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod sealed_tests;
#[cfg(test)]
mod tests;

pub use archive::{
    ARCHIVE_BYTES, ARCHIVE_CASES_MAX, ARCHIVED_CASE_BYTES_MAX, Archive, ArchiveId, ArchiveWriter,
    archived_memory_bytes,
};
pub use aside::{ASIDE_PREFIX, ASIDE_TOLD_US, SetAside, asides, delete_aside, is_aside, list_asides};
pub use casualties::{Casualties, Lasts, Loss, casualties};
pub use disk::{Disk, DiskFile, Lock, RealDisk, Stamp};
pub use entry::{Entry, Frame, Link, Positions, StoreId};
pub use error::{AppendError, Error};
pub use folders::retention;
pub use follower::{Before, Checkpoint, Fold, Follower, Is, Rows};
pub use frame::FRAME_BYTES_MAX;
pub use identity::{FORMAT, FORMAT_OLDEST, Upgraded, format};
pub use info::{Info, SegmentInfo, info};
pub use journal::{HURRIED_SEGMENT_BYTES, Journal, Prepared, Preparer};
pub use keeper::{Gone, Keeper, Kept, Now, Owner, Sealed};
pub use layer::RowValue;
pub use lmdb::LmdbTables;
pub use log::Log;
pub use look::{Looked, ReadTables, exists, look, look_before_damage};
pub use marker::Marker;
pub use mem::MemTables;
pub use names::{LOCK_NAME, Name, known_end, name_of};
pub use open::{OpenReport, Opened, Progress, Start, Work, open};
pub use past::{CASE_HISTORY_BYTES_MAX, CaseHistory, memory_bytes, packed_bytes};
pub use reader::JournalReader;
pub use recall::recall;
pub use repair::{Act, RepairReport, repair};
pub use retention::{FileKind, FileRow, Trim, Until, When};
pub use sealed::{Moment, SEALED_COMPRESSION_LEVEL};
pub use tables::{
    Change, Changes, Compacted, Counted, KEY_BYTES_MAX, Meta, Scrubbed, Sum, Sums, TABLE_COUNT_MAX, Table,
    Tables, VALUE_BYTES_MAX, Visit, VisitRow,
};
pub use unpacking::{Held, NotUnpacked, Room, UNPACKED_BYTES_MAX, Unpacking};
pub use verify::{Level, PASS_ROWS, Part, VerifyReport, verify, walk};

/// What a store is told by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The folder of the truth: journal and lock.
    pub state_dir: PathBuf,
    /// The folder of what is derived and may be deleted: the working environment.
    pub cache_dir: PathBuf,
    /// Size of a journal segment in bytes.
    pub segment_bytes: u64,
    /// Size of a segment that is made when none is ready, as at every opening; more where a frame needs it.
    pub hurried_bytes: u64,
    /// Largest frame in bytes, at most [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// How long a file stays after what takes its place was sealed, in microseconds: copies that are being made stay
    /// whole.
    pub grace_us: u64,
    /// How long frames stay in the journal in any case, in microseconds.
    pub keep_us: u64,
    /// The newest format of a store that is read here, and that new stores get; [`FORMAT`], unless the release before
    /// is to be imitated.
    pub format_max: u32,
    /// A bug put in for the simulator's own proof; `None` everywhere else.
    pub planted: Option<PlantedBug>,
}

/// A bug that the simulator must find, for the simulator's own proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// A frame is acknowledged before its sync.
    AcknowledgeBeforeSync,
    /// A failed sync is tried again, and the segment written on.
    WriteOnAfterFailedSync,
    /// The last good frame found at opening is not held again.
    TrustLastFrame,
    /// An opening writes on behind a torn tail.
    SkipTornTailCut,
    /// An opening of a copy takes it for the original.
    NoMercyForCopies,
    /// A segment goes as soon as history and a snapshot cover it.
    DropBeforeGrace,
    /// An opening takes a snapshot that is beyond the journal's end.
    SnapshotBeyondJournal,
    /// Files go from a store that the release before still reads.
    TrimBeforeUpgrade,
}
