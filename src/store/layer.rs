//! Rows that changed, lying over others: how the newest of several is found, singly and in order.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;

use foldhash::HashMap;

use super::error::Error;
use super::tables::{Change, Changes, KEY_BYTES_MAX, TABLE_COUNT_MAX, Table, Tables, Visit};
use crate::id::Partition;

/// Rows read from the tables at once at the most: a read transaction is never open while somebody looks at a row.
const SCAN_BATCH_ROWS_MAX: usize = 256;
/// Rows read at first, and then four times as many each time: many scans want one row or a few.
const SCAN_BATCH_ROWS_START: usize = 4;

/// A row's value as whoever folds thinks of it; it becomes bytes when somebody reads it, or at a checkpoint.
pub trait RowValue: Any + Send + Sync {
    /// Returns the stored form.
    fn to_bytes(&self) -> Vec<u8>;
    /// Returns the bytes of memory that it takes, about.
    fn bytes(&self) -> usize;
}

/// A key as four numbers, which compare as its bytes do: padded with zeros, the length last. The first, which mostly
/// decides, is compared at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(u64, u64, u64, u64);

/// Bytes of one of a key's numbers.
const NUMBER_BYTES: usize = size_of::<u64>();
const NUMBER_COUNT: usize = 4;
const _: () = assert!(NUMBER_COUNT * NUMBER_BYTES == KEY_BYTES_MAX + 1);

impl Key {
    /// Returns the key of these bytes, of which there are at most [`KEY_BYTES_MAX`].
    pub(super) fn new(bytes: &[u8]) -> Self {
        assert!(bytes.len() <= KEY_BYTES_MAX, "invariant: a key's length is checked before");
        let mut numbers = [0; NUMBER_COUNT];
        let mut rest = bytes;
        for number in &mut numbers {
            let Some((whole, behind)) = rest.split_first_chunk() else {
                for (byte, shift) in rest.iter().zip((0..u64::BITS).step_by(8).rev()) {
                    *number |= u64::from(*byte) << shift;
                }
                break;
            };
            *number = u64::from_be_bytes(*whole);
            rest = behind;
        }
        let [first, second, third, fourth] = numbers;
        Self(first, second, third, fourth | bytes.len() as u64)
    }

    fn bytes(self) -> KeyBytes {
        let mut padded = [0; KEY_BYTES_MAX + 1];
        let numbers = [self.0, self.1, self.2, self.3];
        for (place, number) in padded.chunks_exact_mut(NUMBER_BYTES).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        KeyBytes(padded)
    }
}

/// A key's bytes, and behind them its length.
struct KeyBytes([u8; KEY_BYTES_MAX + 1]);

impl KeyBytes {
    fn get(&self) -> &[u8] {
        &self.0[..usize::from(self.0[KEY_BYTES_MAX])]
    }
}

/// A changed value.
pub(super) enum Value {
    Bytes(Vec<u8>),
    Kept(Box<dyn RowValue>),
    /// Whoever folds has it, and puts another.
    Taken,
}

impl Value {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Kept(value) => value.to_bytes(),
            Self::Taken => {
                unreachable!("invariant: a fold that takes a value puts one, or its rows are torn")
            }
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self::Bytes(self.to_bytes())
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken => f.write_str("taken"),
            value => value.to_bytes().fmt(f),
        }
    }
}

/// A changed row; no value when it was deleted.
#[derive(Debug, Clone)]
pub(super) struct Row {
    partition: Partition,
    value: Option<Value>,
    /// Nothing lies under it, so that nothing needs to stay of it when it is deleted.
    is_new: bool,
    /// Bytes that it takes in memory; a value is asked once, when it is put.
    bytes: usize,
}

/// Bytes that a row takes in memory besides its value: key, places in map and order, and what the allocator adds.
const ROW_BYTES: usize = 192;

impl Row {
    pub(super) fn new(partition: Partition, value: Option<Value>, is_new: bool) -> Self {
        let of_value = match &value {
            Some(Value::Bytes(bytes)) => bytes.len(),
            Some(Value::Kept(value)) => value.bytes(),
            Some(Value::Taken) | None => 0,
        };
        Self { partition, value, is_new, bytes: ROW_BYTES + of_value }
    }
}

/// Changed rows of a table: each is found at once, and their keys are kept in order beside them. A fold touches the same
/// row again and again, and a search through the order would be most of its work.
#[derive(Debug, Clone, Default)]
struct Changed {
    rows: HashMap<Key, Row>,
    order: BTreeSet<Key>,
}

impl Changed {
    /// Returns the rows in order from `start` on.
    fn range(&self, start: Bound<Key>) -> impl Iterator<Item = (Key, &Row)> {
        let keys = self.order.range((start, Bound::Unbounded));
        keys.map(|key| (*key, self.rows.get(key).expect("invariant: every key in the order has its row")))
    }
}

/// Changed rows by table and key.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    tables: [Changed; TABLE_COUNT_MAX as usize],
    bytes: usize,
}

impl Layer {
    pub(super) fn new() -> Self {
        Self { tables: std::array::from_fn(|_| Changed::default()), bytes: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum()
    }

    /// Returns the bytes that the rows take in memory, as far as they can be told.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn table(&self, table: Table) -> Option<&Changed> {
        self.tables.get(usize::from(table.0))
    }

    pub(super) fn get(&self, table: Table, key: Key) -> Option<&Row> {
        self.table(table)?.rows.get(&key)
    }

    /// Takes the value of a row out, which is to be put again or deleted; `None` when there is no such row.
    #[expect(clippy::option_option, reason = "whether there is a row, and whether it has a value")]
    pub(super) fn take(&mut self, table: Table, key: Key) -> Option<Option<Value>> {
        let row = self.tables.get_mut(usize::from(table.0))?.rows.get_mut(&key)?;
        let value = row.value.take();
        row.value = value.as_ref().map(|_| Value::Taken);
        self.bytes = self.bytes - row.bytes + ROW_BYTES;
        row.bytes = ROW_BYTES;
        Some(value)
    }

    pub(super) fn put(&mut self, table: Table, key: Key, row: Row) {
        let Changed { rows, order } = &mut self.tables[usize::from(table.0)];
        match rows.entry(key) {
            Entry::Occupied(known) if row.value.is_none() && known.get().is_new => {
                self.bytes -= known.remove().bytes;
                order.remove(&key);
            }
            Entry::Occupied(mut known) => {
                let is_new = known.get().is_new;
                self.bytes += row.bytes;
                self.bytes -= known.insert(Row { is_new, ..row }).bytes;
            }
            Entry::Vacant(free) => {
                self.bytes += row.bytes;
                free.insert(row);
                order.insert(key);
            }
        }
    }

    /// Lays a newer layer over this one.
    pub(super) fn cover(&mut self, newer: Self) {
        if self.bytes == 0 {
            *self = newer;
            return;
        }
        for (changed, table) in newer.tables.into_iter().zip(0..) {
            for (key, row) in changed.rows {
                // What lay under the newer one is this one.
                self.put(Table(table), key, Row { is_new: false, ..row });
            }
        }
    }
}

impl Changes for Layer {
    fn each(&self, visit: &mut dyn FnMut(Change<'_>) -> Result<(), Error>) -> Result<(), Error> {
        for (changed, table) in self.tables.iter().zip(0..) {
            for (key, row) in changed.range(Bound::Unbounded) {
                let (key, partition) = (key.bytes(), row.partition);
                let change = |value| Change { table: Table(table), partition, key: key.get(), value };
                match &row.value {
                    None => visit(change(None))?,
                    Some(Value::Bytes(bytes)) => visit(change(Some(bytes)))?,
                    Some(value) => visit(change(Some(&value.to_bytes())))?,
                }
            }
        }
        Ok(())
    }
}

/// Returns the newest value under a key; `layers` begin with the newest.
pub(super) fn get<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
    tables: &dyn Tables,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Ok(None);
    }
    let short = Key::new(key);
    match layers.into_iter().find_map(|layer| layer.get(table, short)) {
        Some(row) => Ok(row.value.as_ref().map(Value::to_bytes)),
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
    fn peek(&mut self) -> Result<Option<Key>, Error> {
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
        Ok(self.batch.front().map(|(key, _)| Key::new(key)))
    }
}

/// Returns where a scan from these bytes on begins: no key is longer than [`KEY_BYTES_MAX`].
fn start(from: &[u8]) -> Bound<Key> {
    match from.get(..KEY_BYTES_MAX) {
        Some(longest) if from.len() > KEY_BYTES_MAX => Bound::Excluded(Key::new(longest)),
        _ => Bound::Included(Key::new(from)),
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
pub(super) fn scan<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
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
    let mut above: Vec<Peekable<_>> = layers
        .into_iter()
        .filter_map(|layer| layer.table(table))
        .map(|rows| rows.range(start(from)).peekable())
        .collect();
    loop {
        let least_below = below.peek()?;
        let least_above = above.iter_mut().filter_map(|rows| rows.peek().map(|&(key, _)| key)).min();
        let Some(key) = least_above.into_iter().chain(least_below).min() else { return Ok(()) };
        if !key.bytes().get().starts_with(prefix) {
            return Ok(());
        }
        let mut newest: Option<&Row> = None;
        for rows in &mut above {
            if let Some((_, row)) = rows.next_if(|&(found, _)| found == key) {
                newest = newest.or(Some(row));
            }
        }
        let lowest = if least_below == Some(key) { below.batch.pop_front() } else { None };
        let bytes;
        let value = match (newest.map(|row| &row.value), &lowest) {
            (Some(None), _) | (None, None) => None,
            (Some(Some(Value::Bytes(bytes))), _) => Some(bytes.as_slice()),
            (Some(Some(value)), _) => {
                bytes = value.to_bytes();
                Some(bytes.as_slice())
            }
            (None, Some((_, value))) => Some(value.as_slice()),
        };
        if value.is_some_and(|value| !visit(key.bytes().get(), value)) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_their_bytes_do() {
        let keys: [&[u8]; 8] =
            [b"a", b"a\0", b"a\0\0", b"ab", b"b", &[0], &[255; KEY_BYTES_MAX], &[255; KEY_BYTES_MAX - 1]];
        let counted: Vec<u8> = (1..).take(KEY_BYTES_MAX).collect();
        let of_each_length = (1..=KEY_BYTES_MAX).map(|length| &counted[..length]);
        let keys: Vec<&[u8]> = keys.into_iter().chain(of_each_length).collect();
        for &one in &keys {
            assert_eq!(Key::new(one).bytes().get(), one);
            for &other in &keys {
                assert_eq!(Key::new(one).cmp(&Key::new(other)), one.cmp(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn of_a_new_row_nothing_stays_and_of_another_that_it_was_deleted() {
        let row = |value: Option<&[u8]>, is_new| {
            Row::new(Partition(0), value.map(|bytes| Value::Bytes(bytes.to_vec())), is_new)
        };
        let (table, key) = (Table(1), Key::new(b"k"));
        for (is_new, rows) in [(true, 0), (false, 1)] {
            let mut layer = Layer::new();
            layer.put(table, key, row(Some(b"1"), is_new));
            layer.put(table, key, row(Some(b"2"), false));
            layer.put(table, key, row(None, false));
            assert_eq!(layer.rows(), rows);
        }
        // A row that is new over an older layer is not new over what lies under both.
        let (mut older, mut newer) = (Layer::new(), Layer::new());
        older.put(table, key, row(None, false));
        newer.put(table, key, row(Some(b"1"), true));
        older.cover(newer);
        older.put(table, key, row(None, false));
        assert_eq!(older.rows(), 1);
    }
}
