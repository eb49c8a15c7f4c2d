//! Backups: making, checking, listing and restoring them, and one case out of one.
//!
//! A backup is a tar file of the state folder, gzipped or not, ours or one that `tar` itself made: nothing is in it that
//! is not in the folder. It may be made beside a running service, because state files are immutable or append-only and
//! none leaves before a grace is over (docs/reference/store.md); so a file that changes or vanishes meanwhile is ordinary,
//! and what was packed is unpacked and verified before it counts. This module copies state files as bytes and knows
//! nothing of what is in them: `store` verifies them, by way of the [`Host`]. It owns no thread and reads no clock.
//! Start at [`create()`], [`check()`] and [`prepare`].

use std::path::PathBuf;

use crate::store::{self, Level, VerifyReport};

mod archive;
mod case;
mod check;
mod create;
mod error;
mod left_out;
mod list;
mod pack;
mod record;
mod restore;
mod room;
mod scratch;

pub use case::case_history;
pub use check::{Checked, check};
pub use create::{Created, EFFORT, To, create};
pub use error::{Error, Finding};
pub use list::{Listed, list, newest};
pub use record::Verdict;
pub use restore::{Ready, Restored, prepare};

/// What backups are told by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The store that is backed up and restored.
    pub store: store::Options,
    /// Where backups lie.
    pub backup_dir: PathBuf,
    /// Age after which a backup is deleted, in microseconds.
    pub retain_us: u64,
    /// Space that must stay free, in bytes: the service takes no changes below it.
    pub reserve_bytes: u64,
}

/// What takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// State files are packed.
    Pack,
    /// An archive is unpacked.
    Unpack,
}

/// Who makes or restores a backup.
pub trait Host {
    /// Verifies a store that nobody has opened.
    fn verify(&mut self, options: &store::Options, level: Level) -> VerifyReport;
    /// Hears how many bytes of `total_bytes` are done; of an archive it is the bytes of the file.
    fn progress(&mut self, work: Work, done_bytes: u64, total_bytes: u64);
}
