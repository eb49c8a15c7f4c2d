//! A count of a table's rows that goes on between commits, a piece at a time, and is exact nevertheless: what a commit
//! changes among the rows that were counted already changes the count in the same way as the sums kept.

use super::error::Error;
use super::row;
use super::tables::{Change, Sum, Sums, Table};
use crate::id::Partition;

/// How far a count has come.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    pub(super) table: Table,
    /// The first key that is not counted yet; all are when it is empty and nothing was counted.
    next: Vec<u8>,
    counted: Sums,
}

impl Counting {
    /// Returns the count of a table that was under way, or one that begins.
    pub(super) fn of(table: Table, under_way: Option<Self>) -> Self {
        let fresh = || Self { table, next: Vec::new(), counted: Sums::new() };
        under_way.filter(|counting| counting.table == table).unwrap_or_else(fresh)
    }

    /// Returns where to go on.
    pub(super) fn from(&self) -> &[u8] {
        &self.next
    }

    pub(super) fn add(&mut self, partition: Partition, key: &[u8], value: &[u8]) {
        let sum = self.counted.entry((self.table, partition)).or_default();
        row::add(sum, self.table, partition, key, value);
    }

    /// Rests before a key.
    pub(super) fn rest(&mut self, key: &[u8]) {
        self.next = key.to_vec();
    }

    /// Follows a change that is being committed; `before` is the row as it was stored.
    pub(super) fn follow(&mut self, change: &Change<'_>, before: Option<&[u8]>) -> Result<(), Error> {
        if change.table == self.table && change.key < self.next.as_slice() {
            row::count(&mut self.counted, change, before)?;
        }
        Ok(())
    }

    /// Compares a count that came to its end with the sums kept.
    pub(super) fn check(&self, kept: &Sums) -> Result<(), Error> {
        let of = |sums: &Sums, partition| sums.get(&(self.table, partition)).copied().unwrap_or_default();
        for partition in Partition::all() {
            compare(self.table, partition, of(&self.counted, partition), of(kept, partition))?;
        }
        Ok(())
    }
}

/// Compares what was counted with the sum kept.
pub(super) fn compare(table: Table, partition: Partition, found: Sum, expected: Sum) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Sums { table, partition, found: found.rows, expected: expected.rows })
}
