//! skeleton
use std::sync::Arc;

use super::Options;
use super::disk::Disk;
use super::entry::StoreId;
use super::error::Error;
use super::follower::{Fold, Follower};
use super::journal::Journal;
use super::tables::Tables;
use crate::id::Time;

/// What an opening cannot know by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The clock.
    pub now: Time,
    /// Identity for the store if it is new: random bytes.
    pub fresh_id: StoreId,
}

/// How far a long fold has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The frame just folded.
    pub seq: u64,
    /// The last frame to fold.
    pub end_seq: u64,
}

/// What an opening found and did; each line is for the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Whether the store is new.
    pub is_new: bool,
    /// Frames folded.
    pub folded_frames: u64,
    /// Why the working environment was discarded, if it was.
    pub discarded: Option<String>,
    /// What else a person may want to know, one sentence each.
    pub notes: Vec<String>,
}

/// An open store.
pub struct Opened<D: Disk, T: Tables> {
    /// Where entries go.
    pub journal: Journal<D>,
    /// Where rows come from; it has folded everything in the journal.
    pub follower: Follower<T>,
    /// Remembers how this run ends.
    pub marker: Marker<D>,
    /// What was found and done.
    pub report: OpenReport,
}

/// Remembers in the cache folder how a run ends, so that an environment that kills the service is discarded.
pub struct Marker<D: Disk> {
    disk: Arc<D>,
}

impl<D: Disk> Marker<D> {
    /// Notes that the service has run for a minute.
    pub fn settled(&mut self) -> Result<(), Error> {
        let _ = &self.disk;
        unimplemented!()
    }
    /// Notes a clean end.
    pub fn stopped(&mut self) -> Result<(), Error> {
        unimplemented!()
    }
}

/// Opens a store, or makes one.
pub fn open<D: Disk, T: Tables>(
    _disk: Arc<D>,
    _tables: Arc<T>,
    _fold: Arc<dyn Fold>,
    _options: &Options,
    _start: Start,
    _progress: &mut dyn FnMut(Progress),
) -> Result<Opened<D, T>, Error> {
    unimplemented!()
}
