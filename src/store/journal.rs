//! skeleton
use std::sync::Arc;

use super::disk::Disk;
use super::entry::{Entry, Frame, Positions, StoreId};
use super::error::{AppendError, Error};
use super::log::Log;
use super::reader::JournalReader;
use crate::id::{Partition, Time};

/// Largest frame in bytes.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The local journal: appends.
pub struct Journal<D: Disk> {
    disk: Arc<D>,
}

impl<D: Disk> Journal<D> {
    /// Returns a reader that sees durable frames, for any thread.
    pub fn reader(&self) -> JournalReader<D> {
        let _ = &self.disk;
        unimplemented!()
    }
    /// Returns what fills the next segment with zeros beforehand, for the `cold` thread.
    pub fn preparer(&self) -> Preparer<D> {
        unimplemented!()
    }
    /// Returns the identity of the store.
    pub fn store(&self) -> StoreId {
        unimplemented!()
    }
    /// Returns the number of the last durable frame.
    pub fn seq(&self) -> u64 {
        unimplemented!()
    }
    /// Returns the time of the last durable frame.
    pub fn time(&self) -> Time {
        unimplemented!()
    }
    /// Returns the bytes appended since the opening.
    pub fn appended_bytes(&self) -> u64 {
        unimplemented!()
    }
}

impl<D: Disk> Log for Journal<D> {
    fn append(&mut self, _time: Time, _entries: Vec<Entry>) -> Result<Arc<Frame>, AppendError> {
        unimplemented!()
    }
    fn read(&self, _p: Partition, _from: u64, _visit: &mut dyn FnMut(&Entry) -> bool) -> Result<(), Error> {
        unimplemented!()
    }
    fn claim(&mut self, _partition: Partition) -> Result<u64, Error> {
        unimplemented!()
    }
    fn release(&mut self, _partition: Partition) -> Result<(), Error> {
        unimplemented!()
    }
    fn positions(&self) -> Positions {
        unimplemented!()
    }
}

/// Fills the next segment with zeros, step by step.
pub struct Preparer<D: Disk> {
    disk: Arc<D>,
}

/// What a step of preparing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// More is to be done.
    More,
    /// A segment is ready; nothing was done.
    Ready,
}

impl<D: Disk> Preparer<D> {
    /// Writes and syncs a bounded number of zeros, if the next segment is not ready.
    pub fn step(&mut self) -> Result<Prepared, Error> {
        let _ = &self.disk;
        unimplemented!()
    }
}
