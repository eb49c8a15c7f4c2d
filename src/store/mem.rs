//! skeleton
use std::collections::BTreeMap;

use super::error::Error;
use super::tables::{Change, Meta, Sum, Sums, Table, Tables, Visit};
use crate::id::Partition;

/// Tables in memory.
#[derive(Debug, Default)]
pub struct MemTables {}

impl Tables for MemTables {
    fn get(&self, _table: Table, _key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        unimplemented!()
    }
    fn scan(&self, _table: Table, _from: &[u8], _visit: &mut Visit<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    fn commit(&self, _changes: &mut dyn Iterator<Item = Change>, _meta: &Meta) -> Result<(), Error> {
        unimplemented!()
    }
    fn meta(&self) -> Result<Option<Meta>, Error> {
        unimplemented!()
    }
    fn sums(&self) -> Result<Sums, Error> {
        unimplemented!()
    }
    fn count(&self, _table: Table) -> Result<BTreeMap<Partition, Sum>, Error> {
        unimplemented!()
    }
    fn clear(&self) -> Result<(), Error> {
        unimplemented!()
    }
}
