//! Rows that changed, lying over others: how the newest of several is found, singly and in order.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;

use super::error::Error;
use super::tables::{Change, Changes, KEY_BYTES_MAX, TABLE_COUNT_MAX, Table, Tables, Visit};
use crate::id::Partition;

/// Rows read from the tables at once at the most: a read transaction is never open while somebody looks at a row.
const SCAN_BATCH_ROWS_MAX: usize = 256;
/// Rows read at first, and then four times as many each time: many scans want one row or a few.
const SCAN_BATCH_ROWS_START: usize = 4;

/// A changed row; no value when it was deleted.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) partition: Partition,
    pub(super) value: Option<Vec<u8>>,
}

/// Bytes that a row takes in memory besides key and value: its place in the tree, and what the allocator adds.
const ROW_BYTES: usize = 128;

impl Row {
    fn bytes(&self, key_bytes: usize) -> usize {
        ROW_BYTES + key_bytes + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// Changed rows by table and key.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    tables: [BTreeMap<Vec<u8>, Row>; TABLE_COUNT_MAX as usize],
    bytes: usize,
}

impl Layer {
    pub(super) fn new() -> Self {
        Self { tables: std::array::from_fn(|_| BTreeMap::new()), bytes: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Returns the bytes that the rows take in memory, as far as they can be told.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<&Row> {
        self.tables.get(usize::from(table.0))?.get(key)
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, row: Row) {
        let key_bytes = key.len();
        self.bytes += row.bytes(key_bytes);
        if let Some(before) = self.tables[usize::from(table.0)].insert(key, row) {
            self.bytes -= before.bytes(key_bytes);
        }
    }

    /// Lays a newer layer over this one.
    pub(super) fn cover(&mut self, newer: Self) {
        if self.bytes == 0 {
            *self = newer;
            return;
        }
        for (table, rows) in (0..).zip(newer.tables) {
            for (key, row) in rows {
                self.put(Table(table), key, row);
            }
        }
    }
}

impl Changes for Layer {
    fn each(&self, visit: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        for (rows, table) in self.tables.iter().zip(0..) {
            for (key, row) in rows {
                let value = row.value.as_deref();
                visit(Change { table: Table(table), partition: row.partition, key, value })?;
            }
        }
        Ok(())
    }
}

/// Returns the newest value under a key; `layers` begin with the newest.
pub(super) fn get(
    layers: &[&Layer],
    tables: &dyn Tables,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    match layers.iter().find_map(|layer| layer.get(table, key)) {
        Some(row) => Ok(row.value.clone()),
        None => tables.get(table, key),
    }
}

/// Rows of the tables in order, read in batches.
struct Below<'a> {
    tables: &'a dyn Tables,
    table: Table,
    prefix: &'a [u8],
    batch: VecDeque<(Vec<u8>, Vec<u8>)>,
    batch_rows: usize,
    /// Where the next batch begins; `None` after the last.
    next: Option<Vec<u8>>,
}

impl Below<'_> {
    fn peek(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.batch.is_empty()
            && let Some(from) = self.next.take()
        {
            let (batch, rows, prefix) = (&mut self.batch, self.batch_rows, self.prefix);
            self.tables.scan(self.table, &from, &mut |key, value| {
                if !key.starts_with(prefix) {
                    return false;
                }
                batch.push_back((key.to_vec(), value.to_vec()));
                batch.len() < rows
            })?;
            if let Some((key, _)) = batch.back().filter(|_| batch.len() == rows) {
                // The least key behind this one.
                self.next = Some([key.as_slice(), &[0]].concat());
            }
            self.batch_rows = (rows * 4).min(SCAN_BATCH_ROWS_MAX);
        }
        Ok(self.batch.front().map(|(key, _)| key.as_slice()))
    }
}

/// Which rows of a table a scan visits.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) table: Table,
    /// The first key, if it is there.
    pub(super) from: &'a [u8],
    /// What all keys begin with.
    pub(super) prefix: &'a [u8],
}

/// Visits the newest rows in the order of their keys; `layers` begin with the newest.
pub(super) fn scan(
    layers: &[&Layer],
    tables: &dyn Tables,
    span: Span<'_>,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let Span { table, from, prefix } = span;
    // No key is longer, so none lies between the two.
    let from = &from[..from.len().min(KEY_BYTES_MAX + 1)];
    let batch_rows = SCAN_BATCH_ROWS_START;
    let mut below =
        Below { tables, table, prefix, batch: VecDeque::new(), batch_rows, next: Some(from.to_vec()) };
    let start = || (Bound::Included(from), Bound::Unbounded);
    let mut above: Vec<Peekable<_>> = layers
        .iter()
        .filter_map(|layer| layer.tables.get(usize::from(table.0)))
        .map(|rows| rows.range::<[u8], _>(start()).peekable())
        .collect();
    loop {
        let least_below = below.peek()?.map(<[u8]>::to_vec);
        let least_above = above.iter_mut().filter_map(|rows| rows.peek().map(|&(key, _)| key)).min().cloned();
        let key = match (least_above, least_below.clone()) {
            (Some(above), Some(below)) => above.min(below),
            (Some(key), None) | (None, Some(key)) => key,
            (None, None) => return Ok(()),
        };
        if !key.starts_with(prefix) {
            return Ok(());
        }
        let mut newest: Option<&Row> = None;
        for rows in &mut above {
            if let Some((_, row)) = rows.next_if(|&(found, _)| *found == key) {
                newest = newest.or(Some(row));
            }
        }
        let lowest = if least_below.as_ref() == Some(&key) { below.batch.pop_front() } else { None };
        let value = match (newest, &lowest) {
            (Some(row), _) => row.value.as_deref(),
            (None, Some((_, value))) => Some(value.as_slice()),
            (None, None) => None,
        };
        if value.is_some_and(|value| !visit(&key, value)) {
            return Ok(());
        }
    }
}
