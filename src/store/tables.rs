//! The tables that rows live in: what a working environment must be able to do.
//!
//! A row is bytes under a key of a table; it counts for one partition's sums. [`LmdbTables`](super::LmdbTables) keeps
//! rows on disk, [`MemTables`](super::MemTables) in memory for tests and the simulator.

use std::collections::BTreeMap;

use super::entry::{Positions, StoreId};
use super::error::Error;
use crate::id::{PARTITION_COUNT, Partition, Time};

/// Most tables there may be; a table's number is below it.
pub const TABLE_COUNT_MAX: u8 = 16;
/// Longest key in bytes: one less than LMDB takes, so that the place behind a key can be named too.
pub const KEY_BYTES_MAX: usize = 510;
/// Longest value in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Number of a table, below [`TABLE_COUNT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u8);

/// A row that is put or, without a value, deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The table.
    pub table: Table,
    /// The partition that the row counts for.
    pub partition: Partition,
    /// The key; rows of a table are read in the order of their keys.
    pub key: &'a [u8],
    /// The new value; `None` deletes.
    pub value: Option<&'a [u8]>,
}

/// Changes that can be gone through more than once; no key appears twice.
pub trait Changes {
    /// Gives each change to `visit` until it fails.
    fn each(&self, visit: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error>;
}

impl Changes for Vec<Change<'_>> {
    fn each(&self, visit: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.iter().try_for_each(|&change| visit(change))
    }
}

/// How many rows a partition has in a table, and the sum of their hashes, which no order changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Rows.
    pub rows: u64,
    /// Sum of their hashes.
    pub hashes: u64,
}

/// Sums by table and partition; what is not there is zero.
pub type Sums = BTreeMap<(Table, Partition), Sum>;

/// Up to where rows have been folded; committed together with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The store that the rows belong to.
    pub store: StoreId,
    /// The last frame folded; 0 for none.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Its time.
    pub time: Time,
    /// The last entry folded of each partition.
    pub positions: Positions,
}

impl Meta {
    /// Returns what holds before the first frame of a store.
    pub fn empty(store: StoreId) -> Self {
        Self { store, seq: 0, hash: [0; 32], time: Time::default(), positions: [0; PARTITION_COUNT] }
    }
}

/// Whether a scan wants more.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// Whether a scan wants more; it is told the partition that a row counts for too.
pub type VisitRow<'a> = dyn FnMut(&[u8], Partition, &[u8]) -> bool + 'a;

/// A place for rows, committed all at once.
pub trait Tables: Send + Sync + 'static {
    /// Makes them ready; an opening calls it as soon as nobody else can have them. Returns why what was there was
    /// thrown away, if it was.
    fn begin(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }
    /// Returns the value under a key, checked.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Visits rows, checked, in the order of their keys from `from` on, until `visit` returns false. `visit` must not
    /// call the tables: a read transaction may be open around it.
    fn rows(&self, table: Table, from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), Error>;
    /// Visits rows as [`Self::rows`] does, without their partitions.
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.rows(table, from, &mut |key, _, value| visit(key, value))
    }
    /// Puts and deletes rows and replaces the meta, all or nothing.
    fn commit(&self, changes: &dyn Changes, meta: &Meta) -> Result<(), Error>;
    /// Puts rows into tables that were cleared and have no meta, table by table in the order of their keys, behind
    /// those put before. With the last of them come meta and sums; before that nobody believes what is there.
    fn fill(&self, rows: &dyn Changes, end: Option<(&Meta, &Sums)>) -> Result<(), Error>;
    /// Returns the meta of the last commit; `None` when there was none.
    fn meta(&self) -> Result<Option<Meta>, Error>;
    /// Returns the sums of the last commit.
    fn sums(&self) -> Result<Sums, Error>;
    /// Counts the rows of a table anew.
    fn count(&self, table: Table) -> Result<BTreeMap<Partition, Sum>, Error>;
    /// Throws all rows and the meta away.
    fn clear(&self) -> Result<(), Error>;
}
