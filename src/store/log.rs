//! The log that a store writes to, whatever holds it: the local [`Journal`](super::Journal) now, a shared one later.

use std::sync::Arc;

use super::entry::{Entry, Frame, Positions};
use super::error::{AppendError, Error};
use crate::id::{Partition, Time};

/// Partitions' entries, appended all or nothing under an epoch of ownership, and read back in order.
pub trait Log: Send {
    /// Makes entries durable as one frame; returns when they are.
    ///
    /// # Errors
    /// Nothing is acknowledged. The next call goes on from the last durable frame.
    fn append(&mut self, time: Time, entries: Vec<Entry>) -> Result<Arc<Frame>, AppendError>;

    /// Visits the durable entries of a partition from position `from` on, until `visit` returns false.
    fn read(
        &self,
        partition: Partition,
        from: u64,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<(), Error>;

    /// Makes this process the owner of a partition; returns the epoch, greater than any before.
    fn claim(&mut self, partition: Partition) -> Result<u64, Error>;

    /// Gives a partition up.
    fn release(&mut self, partition: Partition) -> Result<(), Error>;

    /// Returns the position of the last durable entry of each partition.
    fn positions(&self) -> Positions;
}
