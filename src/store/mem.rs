//! Tables in memory, for tests and the simulator: what was committed outlives a crash, as it would on disk.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use super::error::Error;
use super::row;
use super::tables::{Changes, Meta, Sum, Sums, Table, Tables, VisitRow};
use crate::id::Partition;

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
}

impl MemTables {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: nobody panics with the tables' lock held")
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
        let mut stored = Vec::new();
        changes.each(&mut |change| {
            row::check(&change)?;
            let before = state.rows.get(&change.table).and_then(|rows| rows.get(change.key));
            let after = row::change(&mut sums, &change, before.map(Vec::as_slice))?;
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

    fn count(&self, table: Table) -> Result<BTreeMap<Partition, Sum>, Error> {
        let state = self.lock();
        let mut out = BTreeMap::new();
        for (key, stored) in state.rows.get(&table).into_iter().flatten() {
            let (partition, value) = row::decode(table, key, stored)?;
            row::add(out.entry(partition).or_default(), table, partition, key, value);
        }
        Ok(out)
    }

    fn clear(&self) -> Result<(), Error> {
        *self.lock() = State::default();
        Ok(())
    }
}
