//! A disk that can lose power: what was written lies in a page cache until it is synced, and a failed sync lies.
//!
//! - Writes that are not synced are lost, or kept, sector by sector: torn and reordered.
//! - Names that are not synced (create, rename, unlink) are lost or kept each by itself.
//! - After a failed sync the pages are clean: they read well, another sync says yes, and without power they are gone.
//! - After a set number of calls that change something, every call fails, until [`SimDisk::restart`] (the process
//!   ends, the pages stay) or [`SimDisk::power_cycle`] (they do not).
//!
//! Everything follows from the seed and the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use knhk::store::{Disk, DiskFile, Lock, Stamp};

const SECTOR_BYTES: usize = 512;

/// How often things go wrong by themselves, in a thousand calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Faults {
    /// Writes that fail.
    pub(crate) write_errors: u64,
    /// Syncs, of files and folders, that fail.
    pub(crate) sync_errors: u64,
    /// Syncs that take long.
    pub(crate) late_syncs: u64,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    random: u64,
    inodes: BTreeMap<u64, Inode>,
    inode_count: u64,
    names: BTreeMap<PathBuf, u64>,
    stable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    calls: u64,
    crash_at: Option<u64>,
    is_crashed: bool,
    budget_bytes: Option<usize>,
    faults: Faults,
    next_sync_fails: bool,
    next_write_fails: bool,
    late_us: u64,
    /// Goes when its folder has been listed next.
    going: Option<PathBuf>,
    /// The process that has every lock alone, if it is another one.
    holder: Option<u32>,
}

#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    stable: Vec<u8>,
    /// Sectors written and not synced.
    dirty: BTreeSet<usize>,
}

enum NameChange {
    Set { from: Option<PathBuf>, to: PathBuf, inode: u64 },
    Remove(PathBuf),
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        let (Self::Set { to: path, .. } | Self::Remove(path)) = self;
        path.parent() == Some(folder)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Set { from, to, inode } => {
                if let Some(from) = from
                    && names.get(from) == Some(inode)
                {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

impl State {
    fn random(&mut self) -> u64 {
        // SplitMix64: every seed is good.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random() % 1000 < per_mille
    }

    /// Counts a call that changes something.
    fn call(&mut self) -> io::Result<()> {
        self.alive()?;
        self.calls += 1;
        if self.crash_at.is_some_and(|at| self.calls > at) {
            self.is_crashed = true;
            return Err(crashed());
        }
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_crashed { Err(crashed()) } else { Ok(()) }
    }

    fn sync_fails(&mut self) -> bool {
        let per_mille = self.faults.late_syncs;
        if self.happens(per_mille) {
            self.late_us += 1_000 + self.random() % 2_000_000;
        }
        let per_mille = self.faults.sync_errors;
        std::mem::take(&mut self.next_sync_fails) || self.happens(per_mille)
    }

    fn used_bytes(&self) -> usize {
        self.names.values().map(|inode| self.inodes[inode].live.len()).sum()
    }

    fn drop_nameless(&mut self) {
        let named: BTreeSet<u64> = self.names.values().chain(self.stable_names.values()).copied().collect();
        let pending: BTreeSet<u64> = self
            .pending
            .iter()
            .filter_map(|change| match change {
                NameChange::Set { inode, .. } => Some(*inode),
                NameChange::Remove(_) => None,
            })
            .collect();
        self.inodes.retain(|inode, _| named.contains(inode) || pending.contains(inode));
    }
}

impl SimDisk {
    /// Returns an empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            inodes: BTreeMap::new(),
            inode_count: 0,
            names: BTreeMap::new(),
            stable_names: BTreeMap::new(),
            pending: Vec::new(),
            calls: 0,
            crash_at: None,
            is_crashed: false,
            budget_bytes: None,
            going: None,
            holder: None,
            faults: Faults::default(),
            next_sync_fails: false,
            next_write_fails: false,
            late_us: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Returns another empty disk, on which no inode has the number of one here.
    pub(crate) fn with_inodes_from(seed: u64, inode: u64) -> Self {
        let disk = Self::new(seed);
        disk.lock().inode_count = inode;
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns how many calls changed something since the disk was made.
    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Crashes after that many calls in all; `None` never does.
    pub(crate) fn crash_at(&self, calls: Option<u64>) {
        self.lock().crash_at = calls;
    }

    /// Returns whether it has crashed.
    pub(crate) fn is_crashed(&self) -> bool {
        self.lock().is_crashed
    }

    /// Sets how often things go wrong.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Makes the next sync of a file or folder fail.
    pub(crate) fn fail_next_sync(&self) {
        self.lock().next_sync_fails = true;
    }

    /// Makes the next write fail.
    pub(crate) fn fail_next_write(&self) {
        self.lock().next_write_fails = true;
    }

    /// Sets how many bytes all files may have together; `None` is without end.
    pub(crate) fn set_budget(&self, bytes: Option<usize>) {
        self.lock().budget_bytes = bytes;
    }

    /// Returns the bytes of all files together.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lock().used_bytes()
    }

    /// Returns and forgets by how much late syncs moved the clock.
    pub(crate) fn take_late_us(&self) -> u64 {
        std::mem::take(&mut self.lock().late_us)
    }

    /// Ends the process: the page cache stays as it is, what failed to sync included.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        state.is_crashed = false;
        state.crash_at = None;
        state.drop_nameless();
    }

    /// Loses power, and gets it back.
    pub(crate) fn power_cycle(&self) {
        let mut state = self.lock();
        state.is_crashed = false;
        state.crash_at = None;
        for change in std::mem::take(&mut state.pending) {
            if state.happens(500) {
                change.apply(&mut state.stable_names);
            }
        }
        state.names = state.stable_names.clone();
        let keys: Vec<u64> = state.inodes.keys().copied().collect();
        for key in keys {
            let sectors = std::mem::take(&mut state.inodes.get_mut(&key).unwrap().dirty);
            // Some losses are total and some partial: each kind of disk is met.
            let kept_per_mille = [0, 500, 900, 1000][usize::try_from(state.random() % 4).unwrap()];
            for sector in sectors {
                if state.happens(kept_per_mille) {
                    state.inodes.get_mut(&key).unwrap().keep(sector);
                }
            }
            let inode = state.inodes.get_mut(&key).unwrap();
            inode.live = inode.stable.clone();
        }
        state.drop_nameless();
    }

    /// Copies a file as `cp` would: other inode, other birth time.
    pub(crate) fn copy(&self, from: &Path, to: &Path) {
        let mut state = self.lock();
        let bytes = state.inodes[&state.names[from]].live.clone();
        state.inode_count += 1;
        let inode = state.inode_count;
        state.inodes.insert(inode, Inode { live: bytes.clone(), stable: bytes, dirty: BTreeSet::new() });
        state.names.insert(to.to_owned(), inode);
        state.stable_names.insert(to.to_owned(), inode);
    }

    /// Changes bytes of a file behind everybody's back, for good.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let inode = state.names[path];
        let inode = state.inodes.get_mut(&inode).unwrap();
        change(&mut inode.live);
        inode.stable = inode.live.clone();
        inode.dirty.clear();
    }

    /// Returns what a file holds.
    pub(crate) fn contents(&self, path: &Path) -> Vec<u8> {
        let state = self.lock();
        state.inodes[&state.names[path]].live.clone()
    }

    /// Takes a file away behind everybody's back, for good.
    pub(crate) fn lose(&self, path: &Path) {
        let mut state = self.lock();
        state.names.remove(path).unwrap();
        state.stable_names.remove(path);
    }

    /// Takes a file away as soon as somebody has seen its name.
    pub(crate) fn take_away_when_listed(&self, path: PathBuf) {
        self.lock().going = Some(path);
    }

    /// Lets another process have every lock alone from now on.
    pub(crate) fn hold(&self, process: u32) {
        self.lock().holder = Some(process);
    }

    /// Returns the paths of all files below a folder.
    pub(crate) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        self.lock().names.keys().filter(|path| path.starts_with(folder)).cloned().collect()
    }
}

impl Inode {
    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = self.live.len().min(start + SECTOR_BYTES);
        if start < end {
            if self.stable.len() < end {
                self.stable.resize(end, 0);
            }
            self.stable[start..end].copy_from_slice(&self.live[start..end]);
        }
    }
}

/// An open file of a simulated disk.
pub(crate) struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let state = self.lock();
        state.alive()?;
        let inode = *state.names.get(path).ok_or_else(missing)?;
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut state = self.lock();
        state.call()?;
        state.inode_count += 1;
        let inode = state.inode_count;
        state.inodes.insert(inode, Inode::default());
        state.names.insert(path.to_owned(), inode);
        state.pending.push(NameChange::Set { from: None, to: path.to_owned(), inode });
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let inode = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), inode);
        state.pending.push(NameChange::Set { from: Some(from.to_owned()), to: to.to_owned(), inode });
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        state.names.remove(path).ok_or_else(missing)?;
        state.pending.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.alive()?;
        // Folders are there as long as something is in them.
        let inside = state.names.keys().filter_map(|path| path.strip_prefix(folder).ok()?.iter().next());
        let mut names: Vec<String> = inside.map(|name| name.to_string_lossy().into_owned()).collect();
        names.dedup();
        if let Some(path) = state.going.take_if(|path| path.parent() == Some(folder)) {
            state.names.remove(&path);
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.lock();
        state.alive()?;
        // A folder is there as soon as a file is in it.
        Ok(state.names.keys().any(|name| name.starts_with(path)))
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        self.lock().call()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let fails = state.sync_fails();
        let (inside, other): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending).into_iter().partition(|change| change.is_in(folder));
        state.pending = other;
        if fails {
            // The names stay to be seen, and are gone without power.
            return Err(io::Error::other("sync of a folder failed"));
        }
        for change in inside {
            change.apply(&mut state.stable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        let state = self.lock();
        state.alive()?;
        Ok(state.budget_bytes.map_or(u64::MAX, |budget| budget.saturating_sub(state.used_bytes()) as u64))
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Lock>> {
        let state = self.lock();
        state.alive()?;
        Ok(state.holder.is_none().then(|| Box::new(()) as Lock))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Lock>> {
        Disk::lock(self, path)
    }

    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        self.lock().holder
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.lock();
        state.alive()?;
        let live = &state.inodes.get(&self.inode).ok_or_else(missing)?.live;
        let start = live.len().min(usize::try_from(offset).unwrap());
        let count = into.len().min(live.len() - start);
        into[..count].copy_from_slice(&live[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.call()?;
        let start = usize::try_from(offset).unwrap();
        let grown = (start + bytes.len())
            .saturating_sub(state.inodes.get(&self.inode).ok_or_else(missing)?.live.len());
        if state.budget_bytes.is_some_and(|budget| grown > 0 && state.used_bytes() + grown > budget) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
        }
        let per_mille = state.faults.write_errors;
        let fails = std::mem::take(&mut state.next_write_fails) || state.happens(per_mille);
        // A write that fails may have done a part of its work.
        let count = if fails {
            usize::try_from(state.random() % (bytes.len() as u64 + 1)).unwrap()
        } else {
            bytes.len()
        };
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(missing)?;
        if inode.live.len() < start + count {
            inode.live.resize(start + count, 0);
        }
        inode.live[start..start + count].copy_from_slice(&bytes[..count]);
        inode.dirty.extend(start / SECTOR_BYTES..(start + count).div_ceil(SECTOR_BYTES));
        if fails { Err(io::Error::other("write failed")) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.call()?;
        let fails = state.sync_fails();
        let sectors = std::mem::take(&mut state.inodes.get_mut(&self.inode).ok_or_else(missing)?.dirty);
        for sector in sectors {
            // A sync that fails has written some of it; the rest reads well, and is gone without power.
            if !fails || state.happens(300) {
                state.inodes.get_mut(&self.inode).ok_or_else(missing)?.keep(sector);
            }
        }
        if fails { Err(io::Error::other("sync failed")) } else { Ok(()) }
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        state.alive()?;
        Ok(state.inodes.get(&self.inode).ok_or_else(missing)?.live.len() as u64)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        self.disk.lock().alive()?;
        Ok(Stamp { inode: self.inode, born_ns: self.inode })
    }
}
