//! skeleton
use std::collections::BTreeMap;
use std::path::Path;

use super::error::Error;
use super::tables::{Change, Meta, Sum, Sums, Table, Tables, Visit};
use crate::id::Partition;

/// The working environment on disk.
pub struct LmdbTables {}

impl LmdbTables {
    /// Opens the environment in `cache_dir`, or makes one; one that cannot be opened is thrown away.
    pub fn open(_cache_dir: &Path) -> Result<Self, Error> {
        unimplemented!()
    }
}

impl Tables for LmdbTables {
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
