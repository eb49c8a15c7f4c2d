//! skeleton
use std::sync::Arc;

use super::disk::Disk;
use super::entry::{Entry, Frame, Positions};
use super::error::Error;
use super::reader::JournalReader;
use super::tables::{Table, Tables, Visit};
use crate::id::{Partition, Time};

/// What an entry does to the rows; pure, so that folding the journal again gives the same rows.
pub trait Fold: Send + Sync {
    /// Changes the rows by one entry, all or nothing.
    ///
    /// # Errors
    /// Says what does not fit; the frame is not folded then.
    fn fold(&self, rows: &mut Rows<'_>, time: Time, entry: &Entry) -> Result<(), String>;
}

/// The rows as they stand before an entry, and what it changes. Rows put count for the entry's partition.
pub struct Rows<'a> {
    tables: &'a dyn Tables,
}

impl Rows<'_> {
    /// Returns the value under a key.
    pub fn get(&mut self, _table: Table, _key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let _ = self.tables;
        unimplemented!()
    }
    /// Puts a value under a key.
    pub fn put(&mut self, _table: Table, _key: &[u8], _value: &[u8]) -> Result<(), String> {
        unimplemented!()
    }
    /// Deletes what is under a key, if anything.
    pub fn delete(&mut self, _table: Table, _key: &[u8]) -> Result<(), String> {
        unimplemented!()
    }
    /// Visits rows in the order of their keys from `from` on, until `visit` returns false.
    pub fn scan(&mut self, _table: Table, _from: &[u8], _visit: &mut Visit<'_>) -> Result<(), String> {
        unimplemented!()
    }
}

/// Folds durable frames, and keeps what changed since the checkpoint over the working environment.
pub struct Follower<T: Tables> {
    tables: Arc<T>,
}

impl<T: Tables> Follower<T> {
    /// Folds the next frame, all or nothing.
    pub fn apply(&mut self, _frame: &Frame) -> Result<(), Error> {
        let _ = &self.tables;
        unimplemented!()
    }
    /// Returns the value under a key.
    pub fn get(&self, _table: Table, _key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        unimplemented!()
    }
    /// Visits rows in the order of their keys from `from` on, until `visit` returns false.
    pub fn scan(&self, _table: Table, _from: &[u8], _visit: &mut Visit<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Returns the number of the last frame folded.
    pub fn seq(&self) -> u64 {
        unimplemented!()
    }
    /// Returns the position of the last entry folded of each partition.
    pub fn positions(&self) -> Positions {
        unimplemented!()
    }
    /// Returns how many rows lie over the environment: the memory that a checkpoint would free.
    pub fn changed_rows(&self) -> usize {
        unimplemented!()
    }
    /// Freezes what changed; `None` when nothing did or a checkpoint is under way.
    pub fn begin_checkpoint(&mut self) -> Option<Checkpoint<T>> {
        unimplemented!()
    }
    /// Forgets what a written checkpoint holds.
    pub fn end_checkpoint(&mut self) {
        unimplemented!()
    }
    /// Takes back what a failed checkpoint was to hold.
    pub fn abort_checkpoint(&mut self) {
        unimplemented!()
    }
    /// Counts the rows of a table in the environment anew and compares with the sums kept.
    pub fn check_sums(&self, _table: Table, _partition: Option<Partition>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Throws the environment away and folds the journal from its start.
    pub fn rebuild<D: Disk>(&mut self, _journal: &JournalReader<D>) -> Result<(), Error> {
        unimplemented!()
    }
}

/// What a checkpoint writes; it needs no lock around it.
pub struct Checkpoint<T: Tables> {
    tables: Arc<T>,
}

impl<T: Tables> Checkpoint<T> {
    /// Commits rows and position; readers go on meanwhile.
    pub fn write(&self) -> Result<(), Error> {
        let _ = &self.tables;
        unimplemented!()
    }
}
