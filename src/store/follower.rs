//! The follower: folds durable frames into rows, and keeps what changed over the working environment.
//!
//! It reads frames, never anybody's memory. A checkpoint moves what changed into the environment, rows and position in
//! one commit, so the environment is always an exact cut of the journal. It has three parts, so that reading and
//! folding go on while it is written: begin and end are quick, and the writing in between needs no lock.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::anew::{Told, anew};
use super::archive::ArchiveId;
use super::beside::{Beside, Depth};
use super::disk::{Disk, DiskFile};
use super::entry::{Entry, Frame, Positions};
use super::error::Error;
use super::history::{About, History};
use super::layer::{self, Key, Layer, Row, RowValue, Span, Value};
use super::reader::JournalReader;
use super::row;
use super::scrub::compare;
use super::tables::{Change, Counted, Meta, Sum, Table, Tables, Visit};
use crate::id::{Partition, Time};

/// While history is folded at an opening, changed rows are put into the environment when they take so many bytes.
const FOLDED_BYTES: usize = 64 * 1024 * 1024;

/// What an entry does to the rows; pure, so that folding the journal again gives the same rows. Rows hang on the entries
/// of their own partition only, in the order of their positions: history keeps no other.
pub trait Fold: Send + Sync {
    /// Changes the rows by one entry.
    ///
    /// # Errors
    /// Says what does not fit; then nothing of the frame is folded.
    fn fold(&self, rows: &mut Rows<'_>, entry: &Entry) -> Result<(), String>;

    /// Tells what an entry says of those of its subject before it.
    fn before(&self, _entry: &Entry) -> Before {
        Before::Needed
    }
}

/// What an entry says of those of its subject before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it is folded into what they came to.
    Needed,
    /// An archive file holds them, and it says all that rows need: they may be gone.
    Archived(ArchiveId),
    /// It holds the whole history by itself: they may be gone.
    Within,
}

/// Which partitions are wanted.
pub(super) type IsWanted<'a> = dyn Fn(Partition) -> bool + 'a;

/// The rows as they stand before an entry, and what it changes. Rows put count for the entry's partition.
pub struct Rows<'a> {
    tables: &'a dyn Tables,
    overlay: &'a mut Layer,
    frozen: Option<&'a Layer>,
    partition: Partition,
    has_gaps: bool,
    failed: Option<Error>,
}

impl Rows<'_> {
    /// Tells whether entries may be gone that a later one makes dispensable: then a chain may begin late.
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// Returns the value under a key.
    pub fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let layers = std::iter::once(&*self.overlay).chain(self.frozen);
        layer::get(layers, self.tables, table, key).map_err(|error| self.fail(error))
    }

    /// Takes the value under a key, which must be put again or deleted before the entry is folded. One that was put
    /// as a value comes back as it is; bytes are read by `read`.
    pub fn take<V: RowValue>(
        &mut self,
        table: Table,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<V, String>,
    ) -> Result<Option<Box<V>>, String> {
        self.check_key(table, key)?;
        let found = match self.overlay.take(table, Key::new(key)) {
            Some(None) => return Ok(None),
            Some(Some(Value::Kept(value))) => match (value as Box<dyn Any>).downcast() {
                Ok(value) => return Ok(Some(value)),
                Err(_) => return Err("a row of another kind".to_owned()),
            },
            Some(Some(Value::Bytes(bytes))) => Some(bytes),
            Some(Some(Value::Taken)) => return Err("a row that was taken already".to_owned()),
            None => self.get(table, key)?,
        };
        found.map(|bytes| read(&bytes).map(Box::new)).transpose()
    }

    /// Puts a value under a key.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), String> {
        let partition = self.partition;
        let checked = row::check(&Change { table, partition, key, value: Some(value) });
        checked.map_err(|error| self.fail(error))?;
        self.change(table, key, Some(Value::Bytes(value.to_vec())), Is::Perhaps)
    }

    /// Puts a value under a key, and keeps it as it is until somebody wants its bytes. `is` says whether there can be
    /// something under this key; there must not be if it says so.
    pub fn keep(&mut self, table: Table, key: &[u8], value: Box<dyn RowValue>, is: Is) -> Result<(), String> {
        self.change(table, key, Some(Value::Kept(value)), is)
    }

    /// Deletes what is under a key, if anything.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), String> {
        self.change(table, key, None, Is::Perhaps)
    }

    /// Visits rows in the order of their keys from `from` on, until `visit` returns false.
    pub fn scan(&mut self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
        self.visit(Span { table, from, prefix: &[] }, visit)
    }

    /// Visits the rows whose keys begin with `prefix`, in order, until `visit` returns false. Costs what it visits.
    pub fn prefix(&mut self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
        self.visit(Span { table, from: prefix, prefix }, visit)
    }

    fn visit(&mut self, span: Span<'_>, visit: &mut Visit<'_>) -> Result<(), String> {
        let layers = std::iter::once(&*self.overlay).chain(self.frozen);
        layer::scan(layers, self.tables, span, visit).map_err(|error| self.fail(error))
    }

    fn change(&mut self, table: Table, key: &[u8], value: Option<Value>, is: Is) -> Result<(), String> {
        self.check_key(table, key)?;
        let partition = self.partition;
        let is_new = is == Is::New;
        debug_assert!(
            !is_new || matches!(self.get(table, key), Ok(None)),
            "invariant: nothing is under a key that is said to be new"
        );
        self.overlay.put(table, Key::new(key), Row::new(partition, value, is_new));
        Ok(())
    }

    fn check_key(&mut self, table: Table, key: &[u8]) -> Result<(), String> {
        let change = Change { table, partition: self.partition, key, value: None };
        row::check(&change).map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: Error) -> String {
        let text = error.to_string();
        self.failed.get_or_insert(error);
        text
    }
}

/// Whether something can be under a key before a row is put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Nothing is, and never was.
    New,
    /// Perhaps.
    Perhaps,
}

/// Folds durable frames, and answers what the rows are now.
pub struct Follower<T: Tables> {
    tables: Arc<T>,
    fold: Arc<dyn Fold>,
    /// Up to where it has folded.
    meta: Meta,
    /// What changed since the checkpoint, or since the one under way began.
    overlay: Layer,
    /// What the checkpoint under way writes.
    frozen: Option<Arc<Layer>>,
    /// The last frame that the environment, or the checkpoint under way, holds.
    frozen_seq: u64,
    checkpoint_seq: u64,
    /// A frame was folded by half: nothing is to be seen of it, so nothing can be seen.
    is_torn: bool,
    /// History was folded that archived subjects were left out of.
    has_gaps: bool,
}

impl<T: Tables> Follower<T> {
    /// Returns a follower that goes on from `meta`, which the tables hold, or which is empty as they are.
    pub(super) fn new(tables: Arc<T>, fold: Arc<dyn Fold>, meta: Meta) -> Self {
        let seq = meta.seq;
        Self {
            tables,
            fold,
            meta,
            overlay: Layer::new(),
            frozen: None,
            frozen_seq: seq,
            checkpoint_seq: seq,
            is_torn: false,
            has_gaps: false,
        }
    }

    pub(super) fn folds(&self) -> Arc<dyn Fold> {
        Arc::clone(&self.fold)
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.overlay).chain(self.frozen.as_deref())
    }

    fn check_whole(&self) -> Result<(), Error> {
        if self.is_torn {
            return Err(Error::Tables { reason: "a frame was folded by half".to_owned() });
        }
        Ok(())
    }

    /// Folds the next frame. After an error that is not about the order of frames nothing can be read before
    /// [`Self::rebuild`].
    pub fn apply(&mut self, frame: &Frame) -> Result<(), Error> {
        if frame.seq != self.meta.seq + 1 || frame.before != self.meta.hash {
            return Err(Error::FrameOrder { found: frame.seq, expected: self.meta.seq + 1 });
        }
        self.check_whole()?;
        self.is_torn = true;
        for entry in &frame.entries {
            self.fold_entry(entry)?;
        }
        self.is_torn = false;
        for entry in &frame.entries {
            self.meta.positions[entry.partition.index()] = entry.n;
        }
        (self.meta.seq, self.meta.hash, self.meta.time) = (frame.seq, frame.hash, frame.time);
        Ok(())
    }

    /// Folds the wanted entries of frames that follow each other, those of each partition in their order; `after` is where
    /// the last of these frames ends.
    pub(super) fn apply_held<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e Entry>,
        after: Meta,
    ) -> Result<(), Error> {
        self.check_whole()?;
        self.is_torn = true;
        for entry in entries {
            self.fold_entry(entry)?;
        }
        self.is_torn = false;
        self.meta = after;
        Ok(())
    }

    /// Changes the rows by one entry, and leaves them torn when that fails.
    fn fold_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let (tables, partition) = (&*self.tables, entry.partition);
        let (overlay, frozen) = (&mut self.overlay, self.frozen.as_deref());
        let mut rows = Rows { tables, overlay, frozen, partition, has_gaps: self.has_gaps, failed: None };
        let folded = self.fold.fold(&mut rows, entry);
        if let Some(error) = rows.failed {
            return Err(error);
        }
        folded.map_err(|reason| Error::Fold { partition, n: entry.n, reason })
    }

    /// Folds all that a history file holds, which goes on where the rows stand. When it fails, the rows are to be
    /// thrown away.
    pub(super) fn apply_history<F: DiskFile>(&mut self, history: &History<F>) -> Result<(), Error> {
        self.apply_history_of(history, &|_| true, &mut |_| {})
    }

    /// Folds what a history file holds of some partitions, and gives each entry to `visit`.
    pub(super) fn apply_history_of<F: DiskFile>(
        &mut self,
        history: &History<F>,
        is_wanted: &IsWanted<'_>,
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<(), Error> {
        let About { before, after, .. } = &history.about;
        if (before.seq, before.hash) != (self.meta.seq, self.meta.hash) {
            return Err(Error::FrameOrder { found: before.seq + 1, expected: self.meta.seq + 1 });
        }
        self.check_whole()?;
        self.is_torn = true;
        self.has_gaps |= history.about.gone > 0;
        for partition in Partition::all().filter(|&partition| is_wanted(partition)) {
            let from = before.positions[partition.index()];
            if after.positions[partition.index()] > from {
                history.by_position(partition, from + 1, &mut |entry| {
                    visit(entry);
                    self.fold_entry(entry)?;
                    Ok(true)
                })?;
            }
        }
        self.is_torn = false;
        let (store, positions) = (self.meta.store, after.positions);
        self.meta = Meta { store, seq: after.seq, hash: after.hash, time: after.time, positions };
        self.pack()
    }

    /// Puts what changed into the environment when it is much.
    fn pack(&mut self) -> Result<(), Error> {
        if self.overlay.bytes() >= FOLDED_BYTES { self.checkpoint() } else { Ok(()) }
    }

    /// Returns the value under a key.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.check_whole()?;
        layer::get(self.layers(), &*self.tables, table, key)
    }

    /// Visits rows in the order of their keys from `from` on, until `visit` returns false. No read transaction is
    /// open around `visit`.
    pub fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.visit(Span { table, from, prefix: &[] }, visit)
    }

    /// Visits the rows whose keys begin with `prefix`, as [`Follower::scan`] does. Costs what it visits.
    pub fn prefix(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.visit(Span { table, from: prefix, prefix }, visit)
    }

    fn visit(&self, span: Span<'_>, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.check_whole()?;
        layer::scan(self.layers(), &*self.tables, span, visit)
    }

    /// Returns the working environment, for what needs nothing of what lies over it.
    pub fn tables(&self) -> Arc<T> {
        Arc::clone(&self.tables)
    }

    /// Returns up to where it has folded.
    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns the number of the last frame folded.
    pub fn seq(&self) -> u64 {
        self.meta.seq
    }

    /// Returns the time of the last frame folded.
    pub fn time(&self) -> Time {
        self.meta.time
    }

    /// Returns the hash of the last frame folded.
    pub fn hash(&self) -> [u8; 32] {
        self.meta.hash
    }

    /// Returns the position of the last entry folded of each partition.
    pub fn positions(&self) -> Positions {
        self.meta.positions
    }

    /// Returns the last frame that the environment holds.
    pub fn checkpoint_seq(&self) -> u64 {
        self.checkpoint_seq
    }

    /// Returns how many rows lie over the environment: the memory that a checkpoint would free.
    pub fn changed_rows(&self) -> usize {
        self.layers().map(Layer::rows).sum()
    }

    /// Returns the bytes of memory that these rows take, as far as they can be told.
    pub fn changed_bytes(&self) -> usize {
        self.layers().map(Layer::bytes).sum()
    }

    /// Freezes what changed; `None` when nothing did or a checkpoint is under way.
    pub fn begin_checkpoint(&mut self) -> Option<Checkpoint<T>> {
        if self.frozen.is_some() || self.frozen_seq == self.meta.seq || self.is_torn {
            return None;
        }
        let changes = Arc::new(std::mem::replace(&mut self.overlay, Layer::new()));
        self.frozen = Some(Arc::clone(&changes));
        self.frozen_seq = self.meta.seq;
        Some(Checkpoint { tables: Arc::clone(&self.tables), changes, meta: self.meta.clone() })
    }

    /// Forgets what a written checkpoint holds. Whoever keeps the checkpoint until after this call frees its memory
    /// outside of the lock around the follower.
    pub fn end_checkpoint(&mut self) {
        self.frozen = None;
        self.checkpoint_seq = self.frozen_seq;
    }

    /// Takes back what a failed checkpoint was to hold; nothing is lost, and another may begin.
    pub fn abort_checkpoint(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            let newer = std::mem::replace(&mut self.overlay, Arc::unwrap_or_clone(frozen));
            self.overlay.cover(newer);
            self.frozen_seq = self.checkpoint_seq;
        }
    }

    /// Begins, writes and ends a checkpoint at once.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        let Some(checkpoint) = self.begin_checkpoint() else { return Ok(()) };
        let written = checkpoint.write();
        drop(checkpoint);
        match written {
            Ok(()) => self.end_checkpoint(),
            Err(_) => self.abort_checkpoint(),
        }
        written
    }

    /// Counts the rows of a table in the environment anew and compares with the sums kept, of one partition or of
    /// all.
    pub fn check_sums(&self, table: Table, partition: Option<Partition>) -> Result<(), Error> {
        check_sums(&*self.tables, table, partition)
    }

    /// Throws the environment away and makes the rows anew, from the newest good snapshot, or from the first frame on.
    /// Returns what a person should know, one sentence each.
    ///
    /// # Errors
    /// No way leads to the rows, or they cannot be written.
    pub fn rebuild<D: Disk>(&mut self, journal: &JournalReader<D>) -> Result<Vec<String>, Error> {
        let beside = Beside::read(&*journal.shared.disk, journal.shared.state_dir(), Depth::Headers)?;
        let ends = journal.ends(self.meta.store);
        let mut silent = |_| {};
        let mut told = Told::new(&mut silent);
        let parts = (Arc::clone(&self.tables), Arc::clone(&self.fold));
        *self = anew(parts, journal, &ends, &beside, &mut told)?;
        Ok(told.warnings)
    }

    /// Folds everything durable that it has not folded yet, and tells `progress` the number of each frame.
    pub(super) fn catch_up<D: Disk>(
        &mut self,
        journal: &JournalReader<D>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        journal.frames(self.meta.seq + 1, &mut |frame| {
            self.apply(frame)?;
            self.pack()?;
            progress(frame.seq);
            Ok(true)
        })
    }
}

/// Counts the rows of a table anew and compares with the sums kept.
pub(super) fn check_sums(
    tables: &dyn Tables,
    table: Table,
    partition: Option<Partition>,
) -> Result<(), Error> {
    let Counted { found, kept } = tables.count(table)?;
    for partition in Partition::all().filter(|&each| partition.is_none_or(|wanted| wanted == each)) {
        let of = |sums: &BTreeMap<Partition, Sum>| sums.get(&partition).copied().unwrap_or_default();
        compare(table, partition, of(&found), of(&kept))?;
    }
    Ok(())
}

/// What a checkpoint writes; it needs no lock around it.
pub struct Checkpoint<T: Tables> {
    tables: Arc<T>,
    changes: Arc<Layer>,
    meta: Meta,
}

impl<T: Tables> Checkpoint<T> {
    /// Commits rows and position; readers go on meanwhile.
    pub fn write(&self) -> Result<(), Error> {
        self.tables.commit(&*self.changes, &self.meta)
    }
}
