//! The machine's disk with two switches, and rows in memory that can be lost.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use knhk::store::{
    Changes, Counted, Disk, DiskFile, Error, Lock, MemTables, Meta, RealDisk, Scrubbed, Stamp, Sums, Table,
    Tables, VisitRow,
};

#[derive(Debug, Default)]
struct Switches {
    fails: AtomicBool,
    hangs: Mutex<bool>,
    moves: Condvar,
}

/// A disk that fails every write, or lets no sync return, while it is told to.
#[derive(Debug, Clone, Default)]
pub(super) struct SwitchDisk(Arc<Switches>);

impl SwitchDisk {
    pub(super) fn fail(&self, is_failing: bool) {
        self.0.fails.store(is_failing, Ordering::Release);
    }

    pub(super) fn hang(&self, is_hanging: bool) {
        *self.0.hangs.lock().unwrap() = is_hanging;
        self.0.moves.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.0.fails.load(Ordering::Acquire) { Err(io::Error::other("told to fail")) } else { Ok(()) }
    }
}

pub(super) struct SwitchFile(SwitchDisk, std::fs::File);

impl Disk for SwitchDisk {
    type File = SwitchFile;

    fn open(&self, path: &Path) -> io::Result<SwitchFile> {
        Ok(SwitchFile(self.clone(), RealDisk.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<SwitchFile> {
        self.check()?;
        Ok(SwitchFile(self.clone(), RealDisk.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        RealDisk.unlink(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(folder)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.create_folder(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        RealDisk.lock(path)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Lock>> {
        RealDisk.lock_shared(path)
    }
}

impl DiskFile for SwitchFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        DiskFile::read_at(&self.1, offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.check()?;
        DiskFile::write_at(&self.1, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut hangs = self.0.0.hangs.lock().unwrap();
        while *hangs {
            hangs = self.0.0.moves.wait(hangs).unwrap();
        }
        drop(hangs);
        self.0.check()?;
        DiskFile::sync(&self.1)
    }

    fn length(&self) -> io::Result<u64> {
        DiskFile::length(&self.1)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        DiskFile::stamp(&self.1)
    }
}

/// Rows in memory that several runs share, whose count can be wrong as if some were lost, whose scrub can have no end, and
/// whose commits can hang.
#[derive(Debug, Clone, Default)]
pub(super) struct LossyTables(Arc<(MemTables, AtomicBool, AtomicBool, AtomicU64)>, Arc<AtomicBool>);

impl LossyTables {
    /// Takes one row away as damage would.
    pub(super) fn remove_unseen(&self, table: Table, key: &[u8]) {
        assert!(self.0.0.remove_unseen(table, key), "there was no such row");
    }

    /// Holds commits back, or lets them go on.
    pub(super) fn hold_commits(&self, is_held: bool) {
        self.1.store(is_held, Ordering::Release);
    }

    pub(super) fn scrub_without_end(&self, is_endless: bool) {
        self.0.2.store(is_endless, Ordering::Release);
    }

    /// Returns how many rows were looked at since this was last asked.
    pub(super) fn looked_at(&self) -> u64 {
        self.0.3.swap(0, Ordering::AcqRel)
    }

    pub(super) fn lose(&self) {
        self.0.1.store(true, Ordering::Release);
    }
}

impl Tables for LossyTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.0.get(table, key)
    }

    fn rows(&self, table: Table, from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), Error> {
        self.0.0.rows(table, from, &mut |key, partition, value| {
            self.0.3.fetch_add(1, Ordering::AcqRel);
            visit(key, partition, value)
        })
    }

    fn commit(&self, changes: &dyn Changes, meta: &Meta) -> Result<(), Error> {
        while self.1.load(Ordering::Acquire) {
            crate::support::wait::pause();
        }
        self.0.0.commit(changes, meta)
    }

    fn fill(&self, rows: &dyn Changes, end: Option<(&Meta, &Sums)>) -> Result<(), Error> {
        self.0.0.fill(rows, end)
    }

    fn meta(&self) -> Result<Option<Meta>, Error> {
        self.0.0.meta()
    }

    fn sums(&self) -> Result<Sums, Error> {
        self.0.0.sums()
    }

    fn count(&self, table: Table) -> Result<Counted, Error> {
        let mut counted = self.0.0.count(table)?;
        if self.0.1.load(Ordering::Acquire) {
            counted.found.clear();
        }
        Ok(counted)
    }

    fn scrub(&self, table: Table, rows_max: usize) -> Result<Scrubbed, Error> {
        if self.0.2.load(Ordering::Acquire) {
            return Ok(Scrubbed::More);
        }
        self.0.0.scrub(table, rows_max)
    }

    fn clear(&self) -> Result<(), Error> {
        self.0.1.store(false, Ordering::Release);
        self.0.0.clear()
    }
}
