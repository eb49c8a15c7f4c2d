//! skeleton
use std::sync::Arc;

use super::disk::Disk;
use super::entry::{Entry, Frame};
use super::error::Error;
use crate::id::Partition;

/// Reads durable frames, from any thread.
pub struct JournalReader<D: Disk> {
    disk: Arc<D>,
}

impl<D: Disk> Clone for JournalReader<D> {
    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk) }
    }
}

impl<D: Disk> JournalReader<D> {
    /// Returns a durable entry with the time of its frame; `None` when the partition has none there.
    pub fn entry(&self, _partition: Partition, _n: u64) -> Result<Option<(crate::id::Time, Entry)>, Error> {
        unimplemented!()
    }
    /// Visits durable frames from `from_seq` on, until `visit` returns false or fails.
    pub fn frames(
        &self,
        _from_seq: u64,
        _visit: &mut dyn FnMut(&Frame) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        unimplemented!()
    }
}
