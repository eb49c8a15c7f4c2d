//! The working environment: tables in LMDB, the only file that names it.
//!
//! It is derived from the journal and may be thrown away at any time. LMDB's default sync mode is used: a commit is
//! durable and atomic. No read transaction outlives a call, because one that is held makes the file grow without
//! bound; and the map grows only between transactions, which the lock around the environment makes sure of.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use heed::types::Bytes;
use heed::{
    CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, RoTxn,
    WithoutTls,
};

use super::error::Error;
use super::row;
use super::scrub::Counting;
use super::tables::{
    Change, Changes, Compacted, Counted, KEY_BYTES_MAX, Meta, Scrubbed, Sums, TABLE_COUNT_MAX, Table, Tables,
    VisitRow,
};

const FILE_NAME: &str = "live.mdb";
const LOCK_NAME: &str = "live.mdb-lock";
/// What a compacting copy is called until it takes the file's place; one that is left over is ignored and overwritten.
const COPY_NAME: &str = "live.mdb-new";
const META_NAME: &str = "meta";
const META_KEY: &[u8] = b"meta";
/// Address space that a new environment reserves; the file itself grows as rows come.
const MAP_BYTES_START: usize = if cfg!(test) { MAP_BYTES_UNIT } else { 256 * MAP_BYTES_UNIT };
/// Most address space: 16 TiB.
const MAP_BYTES_MAX: usize = 1 << 44;
const MAP_BYTES_UNIT: usize = 1024 * 1024;
/// Most read transactions at once, over all processes.
const READER_COUNT_MAX: u32 = 512;
/// How long clearing waits for readers of this process.
const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// A smaller file is not worth making anew.
const COMPACT_BYTES_MIN: u64 = if cfg!(test) { 1024 * 1024 } else { 64 * 1024 * 1024 };
/// Tables and the meta.
const DATABASE_COUNT: usize = TABLE_COUNT_MAX as usize + 1;

type Rows = Database<'static, Bytes, Bytes>;

struct Inside {
    env: Env<WithoutTls>,
    tables: [Rows; DATABASE_COUNT],
}

/// The working environment on disk.
pub struct LmdbTables {
    folder: PathBuf,
    /// Empty before [`Tables::begin`], and after a clearing that failed.
    inside: RwLock<Option<Inside>>,
    /// A scrub under way; taken before `inside`.
    counting: Mutex<Option<Counting>>,
}

impl LmdbTables {
    /// Returns the environment in `cache_dir`, which is opened or made by [`Tables::begin`]: only who has the lock of
    /// the store may touch it.
    pub fn at(cache_dir: &Path) -> Self {
        Self { folder: cache_dir.to_owned(), inside: RwLock::new(None), counting: Mutex::new(None) }
    }

    /// Opens the environment in `cache_dir`, or makes one; one that cannot be opened is thrown away.
    pub fn open(cache_dir: &Path) -> Result<Self, Error> {
        let tables = Self::at(cache_dir);
        tables.begin()?;
        Ok(tables)
    }

    /// Opens the environment in `cache_dir` for reading, beside a running service or without one; `None` when there
    /// is none. A lock file may come to lie beside it.
    pub fn open_existing(cache_dir: &Path) -> Result<Option<Self>, Error> {
        Self::open_for(cache_dir, Access::Read)
    }

    /// Opens the environment in `cache_dir` for reading while nobody can write to it, and touches no file; `None`
    /// when there is none.
    pub fn open_resting(cache_dir: &Path) -> Result<Option<Self>, Error> {
        Self::open_for(cache_dir, Access::Resting)
    }

    fn open_for(cache_dir: &Path, access: Access) -> Result<Option<Self>, Error> {
        if !cache_dir.join(FILE_NAME).exists() {
            return Ok(None);
        }
        let inside = open_inside(cache_dir, access)?;
        let tables = Self::at(cache_dir);
        *tables.lock_alone() = Some(inside);
        Ok(Some(tables))
    }

    /// Takes a row away as damage would, past the sums.
    #[cfg(test)]
    pub(super) fn remove_unseen(&self, table: Table, key: &[u8]) {
        let guard = self.lock();
        let inside = guard.as_ref().expect("invariant: a test has not cleared it");
        let mut transaction = inside.env.write_txn().unwrap();
        assert!(inside.tables[usize::from(table.0)].delete(&mut transaction, key).unwrap());
        transaction.commit().unwrap();
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<Inside>> {
        self.inside.read().expect("invariant: nobody panics with the environment's lock held")
    }

    fn lock_alone(&self) -> RwLockWriteGuard<'_, Option<Inside>> {
        self.inside.write().expect("invariant: nobody panics with the environment's lock held")
    }

    fn counting(&self) -> MutexGuard<'_, Option<Counting>> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R>(
        &self,
        run: impl FnOnce(&Inside, &RoTxn<'_, WithoutTls>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let guard = self.lock();
        let inside = guard.as_ref().ok_or_else(closed)?;
        let transaction = inside.env.read_txn().map_err(lmdb_error)?;
        run(inside, &transaction)
    }

    /// Runs a write, and again with a greater map for as long as it does not fit. Ends: each turn doubles the map, up
    /// to its limit.
    fn write(&self, write: &mut dyn FnMut(&Inside) -> Result<(), Failure>) -> Result<(), Error> {
        loop {
            {
                let guard = self.lock();
                match write(guard.as_ref().ok_or_else(closed)?) {
                    Ok(()) => return Ok(()),
                    Err(Failure::MapFull) => {}
                    Err(Failure::Other(error)) => return Err(error),
                }
            }
            self.grow()?;
        }
    }

    /// Writes a copy without free pages, durable when this returns.
    fn copy(&self, path: &Path) -> Result<(), Error> {
        let guard = self.lock();
        let inside = guard.as_ref().ok_or_else(closed)?;
        let copied = inside.env.copy_to_path(path, CompactionOption::Enabled).map_err(lmdb_error)?;
        copied.sync_all().map_err(Error::io("sync", path))
    }

    /// Puts a copy in the place of the file, which is not open in this process.
    fn swap(&self, copy: &Path, path: &Path) -> Result<Inside, Error> {
        // Who still reads the file of before has its lock as well; the new file begins with one of its own.
        remove_file(&self.folder.join(LOCK_NAME))?;
        std::fs::rename(copy, path).map_err(Error::io("rename", copy))?;
        open_inside(&self.folder, Access::Write)
    }

    /// Doubles the map. No transaction is open in this process meanwhile: each holds the lock for reading.
    fn grow(&self) -> Result<(), Error> {
        let guard = self.lock_alone();
        let inside = guard.as_ref().ok_or_else(closed)?;
        let size = inside.env.info().map_size.saturating_mul(2);
        if size > MAP_BYTES_MAX {
            return Err(Error::TablesFull);
        }
        // SAFETY: the lock is held for writing, so no transaction of this process is active.
        unsafe { inside.env.resize(size) }.map_err(lmdb_error)
    }
}

impl Tables for LmdbTables {
    fn begin(&self) -> Result<Option<String>, Error> {
        let mut guard = self.lock_alone();
        if guard.is_some() {
            return Ok(None);
        }
        std::fs::create_dir_all(&self.folder).map_err(Error::io("make the folder", &self.folder))?;
        let (inside, discarded) = match open_inside(&self.folder, Access::Write) {
            Ok(inside) => (inside, None),
            Err(Error::TablesFull) => return Err(Error::TablesFull),
            Err(error) => {
                remove_files(&self.folder)?;
                (open_inside(&self.folder, Access::Write)?, Some(error.to_string()))
            }
        };
        *guard = Some(inside);
        Ok(discarded)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || table.0 >= TABLE_COUNT_MAX {
            return Ok(None);
        }
        self.read(|inside, transaction| {
            let stored = inside.tables[usize::from(table.0)].get(transaction, key).map_err(lmdb_error)?;
            stored.map(|stored| Ok(row::decode(table, key, stored)?.1.to_vec())).transpose()
        })
    }

    fn rows(&self, table: Table, from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), Error> {
        if table.0 >= TABLE_COUNT_MAX {
            return Ok(());
        }
        self.read(|inside, transaction| each(inside, transaction, table, from, visit))
    }

    fn commit(&self, changes: &dyn Changes, meta: &Meta) -> Result<(), Error> {
        let mut counting = self.counting();
        self.write(&mut |inside| {
            let mut counted = counting.clone();
            commit_once(inside, changes, meta, &mut counted)?;
            *counting = counted;
            Ok(())
        })
    }

    fn fill(&self, rows: &dyn Changes, end: Option<(&Meta, &Sums)>) -> Result<(), Error> {
        self.write(&mut |inside| fill_once(inside, rows, end))
    }

    fn meta(&self) -> Result<Option<Meta>, Error> {
        self.read(|inside, transaction| Ok(read_meta(inside, transaction)?.map(|(meta, _)| meta)))
    }

    fn sums(&self) -> Result<Sums, Error> {
        self.read(read_sums)
    }

    fn count(&self, table: Table) -> Result<Counted, Error> {
        let mut out = BTreeMap::new();
        self.read(|inside, transaction| {
            let rows = &inside.tables[usize::from(table.0)];
            let mut lost = None;
            each(inside, transaction, table, &[], &mut |key, partition, value| {
                row::add(out.entry(partition).or_default(), table, partition, key, value);
                if !leads_to(rows, transaction, key, value) {
                    lost = Some(key.to_vec());
                }
                lost.is_none()
            })?;
            not_lost(table, lost)?;
            Ok(Counted::new(table, out, &read_sums(inside, transaction)?))
        })
    }

    fn scrub(&self, table: Table, rows_max: usize) -> Result<Scrubbed, Error> {
        let mut under_way = self.counting();
        let mut counting = Counting::of(table, under_way.take());
        let from = counting.from().to_vec();
        let mut left = rows_max;
        let mut scrubbed = Scrubbed::Whole;
        self.read(|inside, transaction| {
            let rows = &inside.tables[usize::from(table.0)];
            let mut lost = None;
            each(inside, transaction, table, &from, &mut |key, partition, value| {
                if left == 0 {
                    counting.rest(key);
                    scrubbed = Scrubbed::More;
                    return false;
                }
                left -= 1;
                counting.add(partition, key, value);
                if !leads_to(rows, transaction, key, value) {
                    lost = Some(key.to_vec());
                }
                lost.is_none()
            })?;
            not_lost(table, lost)?;
            if scrubbed == Scrubbed::Whole {
                counting.check(&read_sums(inside, transaction)?)
            } else {
                Ok(())
            }
        })?;
        *under_way = (scrubbed == Scrubbed::More).then_some(counting);
        Ok(scrubbed)
    }

    fn compact(&self) -> Result<Option<Compacted>, Error> {
        let path = self.folder.join(FILE_NAME);
        let copy = self.folder.join(COPY_NAME);
        let before_bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        let used_bytes = self.read(used_bytes)?;
        if before_bytes < COMPACT_BYTES_MIN || used_bytes > before_bytes / 2 {
            return Ok(None);
        }
        let copied = self.copy(&copy);
        if copied.is_err() {
            // What is left of it is overwritten by the next.
            let _ = std::fs::remove_file(&copy);
        }
        copied?;
        let mut guard = self.lock_alone();
        let held = guard.as_ref().map(stored_meta).transpose()?;
        if let Some(inside) = guard.take()
            && !inside.env.prepare_for_closing().wait_timeout(CLOSE_WAIT)
        {
            return Err(Error::Tables { reason: "somebody else in this process has it open".to_owned() });
        }
        let swapped = self.swap(&copy, &path);
        let inside = swapped.map_err(|error| Error::Tables { reason: error.to_string() })?;
        if Some(stored_meta(&inside)?) != held {
            return Err(Error::Tables { reason: "its copy is not what was copied".to_owned() });
        }
        *guard = Some(inside);
        let after_bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        Ok(Some(Compacted { before_bytes, after_bytes }))
    }

    fn clear(&self) -> Result<(), Error> {
        *self.counting() = None;
        let mut guard = self.lock_alone();
        if let Some(inside) = guard.take()
            && !inside.env.prepare_for_closing().wait_timeout(CLOSE_WAIT)
        {
            return Err(Error::Tables { reason: "somebody else in this process has it open".to_owned() });
        }
        remove_files(&self.folder)?;
        *guard = Some(open_inside(&self.folder, Access::Write)?);
        Ok(())
    }
}

/// Tells whether a row's key leads to it. Pages that lead to a row have no checksum: a damaged one hides from its key
/// what going through all rows still finds.
fn leads_to(rows: &Rows, transaction: &RoTxn<'_, WithoutTls>, key: &[u8], value: &[u8]) -> bool {
    rows.get(transaction, key).is_ok_and(|stored| stored.is_some_and(|stored| stored.ends_with(value)))
}

fn not_lost(table: Table, lost: Option<Vec<u8>>) -> Result<(), Error> {
    let Some(key) = lost else { return Ok(()) };
    let reason = format!("the row of table {} with key {key:02x?} is not found by its key", table.0);
    Err(Error::Tables { reason })
}

enum Failure {
    MapFull,
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<heed::Error> for Failure {
    fn from(error: heed::Error) -> Self {
        match error {
            heed::Error::Mdb(MdbError::MapFull) => Self::MapFull,
            other => Self::Other(lmdb_error(other)),
        }
    }
}

fn commit_once(
    inside: &Inside,
    changes: &dyn Changes,
    meta: &Meta,
    counting: &mut Option<Counting>,
) -> Result<(), Failure> {
    let mut transaction = inside.env.write_txn()?;
    let mut sums = read_sums(inside, &transaction)?;
    each_change(changes, &mut |change| {
        let rows = &inside.tables[usize::from(change.table.0)];
        let before = rows.get(&transaction, change.key)?;
        if let Some(counting) = counting {
            counting.follow(&change, before)?;
        }
        match row::change(&mut sums, &change, before)? {
            Some(stored) => rows.put(&mut transaction, change.key, &stored)?,
            None => drop(rows.delete(&mut transaction, change.key)?),
        }
        Ok(())
    })?;
    inside.tables[DATABASE_COUNT - 1].put(&mut transaction, META_KEY, &row::encode_meta(meta, &sums))?;
    transaction.commit()?;
    Ok(())
}

fn fill_once(inside: &Inside, rows: &dyn Changes, end: Option<(&Meta, &Sums)>) -> Result<(), Failure> {
    let mut transaction = inside.env.write_txn()?;
    each_change(rows, &mut |row| {
        let Some(value) = row.value else { return Ok(()) };
        let table = &inside.tables[usize::from(row.table.0)];
        // Appending fills pages; LMDB refuses a key that is not the greatest.
        table.put_with_flags(&mut transaction, PutFlags::APPEND, row.key, &row::encode(&row, value))?;
        Ok(())
    })?;
    if let Some((meta, sums)) = end {
        inside.tables[DATABASE_COUNT - 1].put(&mut transaction, META_KEY, &row::encode_meta(meta, sums))?;
    }
    transaction.commit()?;
    Ok(())
}

/// Gives each change to `put`, checked.
fn each_change(
    changes: &dyn Changes,
    put: &mut dyn FnMut(Change<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut is_map_full = false;
    let gone_through = changes.each(&mut |change| {
        row::check(&change)?;
        put(change).map_err(|failure| match failure {
            Failure::Other(error) => error,
            Failure::MapFull => {
                is_map_full = true;
                Error::TablesFull
            }
        })
    });
    if is_map_full { Err(Failure::MapFull) } else { Ok(gone_through?) }
}

fn read_meta(inside: &Inside, transaction: &RoTxn<'_, WithoutTls>) -> Result<Option<(Meta, Sums)>, Error> {
    let stored = inside.tables[DATABASE_COUNT - 1].get(transaction, META_KEY).map_err(lmdb_error)?;
    stored.map(row::decode_meta).transpose()
}

fn stored_meta(inside: &Inside) -> Result<Option<(Meta, Sums)>, Error> {
    read_meta(inside, &inside.env.read_txn().map_err(lmdb_error)?)
}

/// Returns how many bytes of the file hold rows.
fn used_bytes(inside: &Inside, transaction: &RoTxn<'_, WithoutTls>) -> Result<u64, Error> {
    let mut bytes = 0;
    for rows in &inside.tables {
        bytes += rows.stat(transaction).map_err(lmdb_error)?.non_free_page_size() as u64;
    }
    Ok(bytes)
}

fn read_sums(inside: &Inside, transaction: &RoTxn<'_, WithoutTls>) -> Result<Sums, Error> {
    Ok(read_meta(inside, transaction)?.map(|(_, sums)| sums).unwrap_or_default())
}

fn each(
    inside: &Inside,
    transaction: &RoTxn<'_, WithoutTls>,
    table: Table,
    from: &[u8],
    visit: &mut VisitRow<'_>,
) -> Result<(), Error> {
    // LMDB takes no empty key, even to begin at.
    let start = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
    let rows = &inside.tables[usize::from(table.0)];
    for found in rows.range(transaction, &(start, Bound::Unbounded)).map_err(lmdb_error)? {
        let (key, stored) = found.map_err(lmdb_error)?;
        let (partition, value) = row::decode(table, key, stored)?;
        if !visit(key, partition, value) {
            break;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    /// Nobody writes meanwhile, so nobody needs to know who reads.
    Resting,
    Write,
}

fn open_inside(folder: &Path, access: Access) -> Result<Inside, Error> {
    let path = folder.join(FILE_NAME);
    let length = std::fs::metadata(&path).map_or(0, |found| found.len());
    let wanted = usize::try_from(length).unwrap_or(MAP_BYTES_MAX).saturating_mul(2);
    let map_size = wanted.clamp(MAP_BYTES_START, MAP_BYTES_MAX).next_multiple_of(MAP_BYTES_UNIT);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_size).max_dbs(u32::from(TABLE_COUNT_MAX) + 1).max_readers(READER_COUNT_MAX);
    let flags = match access {
        Access::Read => EnvFlags::NO_SUB_DIR | EnvFlags::READ_ONLY,
        Access::Resting => EnvFlags::NO_SUB_DIR | EnvFlags::READ_ONLY | EnvFlags::NO_LOCK,
        Access::Write => EnvFlags::NO_SUB_DIR,
    };
    // SAFETY: NO_SUB_DIR only says that the path is the file itself, and READ_ONLY only takes away. NO_LOCK comes
    // with READ_ONLY and while the store's lock keeps every writer out.
    unsafe { options.flags(flags) };
    // SAFETY: the file is touched through LMDB only, in a folder that is the service's own.
    let env = unsafe { options.open(&path) }.map_err(lmdb_error)?;
    env.clear_stale_readers().map_err(lmdb_error)?;
    let tables = if access == Access::Write { create_tables(&env)? } else { find_tables(&env)? };
    Ok(Inside { env, tables })
}

fn table_name(place: usize) -> String {
    if place == DATABASE_COUNT - 1 { META_NAME.to_owned() } else { format!("t{place:02}") }
}

fn create_tables(env: &Env<WithoutTls>) -> Result<[Rows; DATABASE_COUNT], Error> {
    let transaction = env.write_txn().map_err(lmdb_error)?;
    let created = env.create_databases_and_commit(transaction, |creator, transaction| {
        let mut out = Vec::with_capacity(DATABASE_COUNT);
        for place in 0..DATABASE_COUNT {
            out.push(creator.create_database::<Bytes, Bytes>(transaction, Some(&table_name(place)))?);
        }
        let out: [_; DATABASE_COUNT] = out.try_into().expect("invariant: one for each place");
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(out))
    });
    created.map_err(lmdb_error)?.commit().ok_or_else(closed)
}

fn find_tables(env: &Env<WithoutTls>) -> Result<[Rows; DATABASE_COUNT], Error> {
    let transaction = env.read_txn().map_err(lmdb_error)?;
    let found = env.open_databases_and_commit(transaction, |opener, transaction| {
        let mut out = Vec::with_capacity(DATABASE_COUNT);
        for place in 0..DATABASE_COUNT {
            match opener.open_database::<Bytes, Bytes>(transaction, Some(&table_name(place)))? {
                Some(found) => out.push(found),
                None => return Ok(CommitOrAbort::Abort(())),
            }
        }
        let out: [_; DATABASE_COUNT] = out.try_into().expect("invariant: one for each place");
        Ok::<_, heed::Error>(CommitOrAbort::Commit(out))
    });
    let missing = || Error::Tables { reason: "tables are missing in it".to_owned() };
    found.map_err(lmdb_error)?.commit().ok_or_else(missing)
}

fn remove_files(folder: &Path) -> Result<(), Error> {
    [FILE_NAME, LOCK_NAME, COPY_NAME].iter().try_for_each(|name| remove_file(&folder.join(name)))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn closed() -> Error {
    Error::Tables { reason: "it could not be made anew".to_owned() }
}

fn lmdb_error(error: heed::Error) -> Error {
    match error {
        heed::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Error::TablesFull,
        other => Error::Tables { reason: other.to_string() },
    }
}
