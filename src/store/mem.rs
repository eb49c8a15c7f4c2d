//! Tables in memory, for tests and the simulator: what was committed outlives a crash, as it would on disk.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use super::error::Error;
use super::row;
use super::scrub::Counting;
use super::tables::{Changes, Counted, Meta, Scrubbed, Sums, Table, Tables, VisitRow};

/// An ordered map with atomic commits.
#[derive(Debug, Default)]
pub struct MemTables {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
    meta: Option<Meta>,
    sums: Sums,
    counting: Option<Counting>,
}

impl MemTables {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: nobody panics with the tables' lock held")
    }

    /// Takes a row away as damage would, past the sums; tells whether it was there. For tests.
    pub fn remove_unseen(&self, table: Table, key: &[u8]) -> bool {
        self.lock().rows.get_mut(&table).is_some_and(|rows| rows.remove(key).is_some())
    }
}

impl Tables for MemTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let state = self.lock();
        let Some(stored) = state.rows.get(&table).and_then(|rows| rows.get(key)) else { return Ok(None) };
        Ok(Some(row::decode(table, key, stored)?.1.to_vec()))
    }

    fn rows(&self, table: Table, from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), Error> {
        let state = self.lock();
        let Some(rows) = state.rows.get(&table) else { return Ok(()) };
        for (key, stored) in rows.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            let (partition, value) = row::decode(table, key, stored)?;
            if !visit(key, partition, value) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, changes: &dyn Changes, meta: &Meta) -> Result<(), Error> {
        let mut state = self.lock();
        let mut sums = state.sums.clone();
        let mut counting = state.counting.clone();
        let mut stored = Vec::new();
        changes.each(&mut |change| {
            row::check(&change)?;
            let before = state.rows.get(&change.table).and_then(|rows| rows.get(change.key));
            let before = before.map(Vec::as_slice);
            if let Some(counting) = &mut counting {
                counting.follow(&change, before)?;
            }
            let after = row::change(&mut sums, &change, before)?;
            stored.push((change.table, change.key.to_vec(), after));
            Ok(())
        })?;
        for (table, key, value) in stored {
            let rows = state.rows.entry(table).or_default();
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        state.sums = sums;
        state.counting = counting;
        state.meta = Some(meta.clone());
        Ok(())
    }

    fn fill(&self, rows: &dyn Changes, end: Option<(&Meta, &Sums)>) -> Result<(), Error> {
        let mut state = self.lock();
        rows.each(&mut |row| {
            row::check(&row)?;
            let Some(value) = row.value else { return Ok(()) };
            let stored = row::encode(&row, value);
            state.rows.entry(row.table).or_default().insert(row.key.to_vec(), stored);
            Ok(())
        })?;
        if let Some((meta, sums)) = end {
            state.meta = Some(meta.clone());
            state.sums = sums.clone();
        }
        Ok(())
    }

    fn meta(&self) -> Result<Option<Meta>, Error> {
        Ok(self.lock().meta.clone())
    }

    fn sums(&self) -> Result<Sums, Error> {
        Ok(self.lock().sums.clone())
    }

    fn count(&self, table: Table) -> Result<Counted, Error> {
        let state = self.lock();
        let mut out = BTreeMap::new();
        for (key, stored) in state.rows.get(&table).into_iter().flatten() {
            let (partition, value) = row::decode(table, key, stored)?;
            row::add(out.entry(partition).or_default(), table, partition, key, value);
        }
        Ok(Counted::new(table, out, &state.sums))
    }

    fn scrub(&self, table: Table, rows_max: usize) -> Result<Scrubbed, Error> {
        let mut state = self.lock();
        let state = &mut *state;
        let mut counting = Counting::of(table, state.counting.take());
        let from = counting.from().to_vec();
        let rows = state.rows.entry(table).or_default();
        let mut left = rows_max;
        for (key, stored) in rows.range::<[u8], _>((Bound::Included(from.as_slice()), Bound::Unbounded)) {
            if left == 0 {
                counting.rest(key);
                state.counting = Some(counting);
                return Ok(Scrubbed::More);
            }
            left -= 1;
            let (partition, value) = row::decode(table, key, stored)?;
            counting.add(partition, key, value);
        }
        counting.check(&state.sums).map(|()| Scrubbed::Whole)
    }

    fn clear(&self) -> Result<(), Error> {
        *self.lock() = State::default();
        Ok(())
    }
}
