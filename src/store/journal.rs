//! The local journal: appending frames to segments, and going on after errors.
//!
//! One frame is in flight at a time: a frame is written only after the sync of the one before returned. A segment in
//! which a write or a sync failed is never written again; the next one continues from the last durable frame, and
//! what lies beyond it in the old one is void. Segments of earlier processes are only read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::{Found, Listing};
use super::disk::{Disk, DiskFile, Lock};
use super::entry::{Entry, Frame, Positions, StoreId};
use super::error::{AppendError, Error};
use super::frame::{self, FRAME_ALIGN_BYTES, Group, Tag};
use super::log::Log;
use super::reader::{JournalReader, Ready, Shared};
use super::segment::{End, HEADER_BYTES, Header, Segment, TEMPORARY, name, tag};
use super::{Options, PlantedBug};
use crate::id::{PARTITION_COUNT, Partition, Time};

/// Size of a segment of a service that is made when none is ready: small, because an append waits for it.
pub const HURRIED_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Zeros that one step of preparing writes and syncs.
const PREPARE_STEP_BYTES: u64 = 1024 * 1024;

/// The local journal: where entries are appended.
pub struct Journal<D: Disk> {
    shared: Arc<Shared<D>>,
    store: StoreId,
    /// The segment that the first one continues, if there is one: it may have left the journal.
    before_n: u64,
    /// The head, while it may be written to.
    writer: Option<Writer<D::File>>,
    /// The number of the next segment tried.
    next_n: u64,
    segment_bytes: u64,
    hurried_bytes: u64,
    frame_bytes_max: usize,
    epochs: [u64; PARTITION_COUNT],
    claimed: [bool; PARTITION_COUNT],
    appended_bytes: u64,
    /// Keeps the state folder ours.
    lock: Option<Lock>,
    planted: Option<PlantedBug>,
}

/// What a journal goes on from.
struct Parts {
    store: StoreId,
    segments: Vec<Segment>,
    end: End,
    /// The segment that the first of them continues.
    before_n: u64,
    format: u32,
}

struct Writer<F> {
    file: F,
    tag: Tag,
    offset: u64,
    size_bytes: u64,
}

impl<D: Disk> Journal<D> {
    /// Makes the journal of a store that has none, with a first frame of no entries.
    pub(super) fn make(
        disk: &Arc<D>,
        options: &Options,
        store: StoreId,
        listing: &Listing,
        now: Time,
    ) -> Result<Self, Error> {
        let parts =
            Parts { store, segments: Vec::new(), end: End::start(), before_n: 0, format: options.format_max };
        let mut journal = Self::at(disk, options, parts, listing);
        journal.append(now, Vec::new()).map_err(|error| journal.open_error(error))?;
        Ok(journal)
    }

    /// Returns the journal as it was *before* its last good frame, which [`Self::hold`] then holds again.
    pub(super) fn before_last(
        disk: &Arc<D>,
        options: &Options,
        listing: &Listing,
        found: Found,
    ) -> (Self, Held) {
        let Found { store, mut segments, before_last, last, end, end_offset, is_torn, format, .. } = found;
        let before_n = segments.first().map_or(0, |first| first.header.before_n);
        let way = match (options.planted, segments.last()) {
            (Some(PlantedBug::TrustLastFrame), _) => Way::Trust,
            (Some(PlantedBug::SkipTornTailCut), Some(head)) if is_torn => {
                Way::WriteOn { path: head.path.clone(), tag: head.tag, end_offset }
            }
            _ => Way::Again,
        };
        let is_again = matches!(way, Way::Again);
        if is_again {
            // What holds only the last frame is void as soon as another segment holds it.
            segments.retain(|segment| segment.header.before.seq < before_last.seq);
        }
        let held = Held { bytes: last, end: end.clone(), way };
        let start = if is_again { before_last } else { end };
        let parts = Parts { store, segments, end: start, before_n, format };
        (Self::at(disk, options, parts, listing), held)
    }

    fn at(disk: &Arc<D>, options: &Options, parts: Parts, listing: &Listing) -> Self {
        let Parts { store, segments, end, before_n, format } = parts;
        let epochs = end.epochs;
        let folder = options.state_dir.join(super::open::JOURNAL_FOLDER);
        Self {
            shared: Arc::new(Shared::new(Arc::clone(disk), folder, segments, end, format)),
            store,
            before_n,
            writer: None,
            next_n: listing.highest_n() + 1,
            segment_bytes: options.segment_bytes,
            hurried_bytes: options.hurried_bytes,
            frame_bytes_max: options.frame_bytes_max,
            epochs,
            claimed: [false; PARTITION_COUNT],
            appended_bytes: 0,
            lock: None,
            planted: options.planted,
        }
    }

    /// Holds the last good frame again, in a segment of this process, synced: its own sync may have failed, and its
    /// pages may be readable only until the power is lost.
    pub(super) fn hold(&mut self, held: Held) -> Result<(), Error> {
        let Held { mut bytes, end, way } = held;
        match way {
            Way::Again => {}
            Way::Trust => return Ok(()),
            Way::WriteOn { path, tag, end_offset } => {
                let file = self.shared.disk.open(&path).map_err(Error::io("open", &path))?;
                let size_bytes = file.length().map_err(Error::io("read", &path))?;
                let offset = end_offset + FRAME_ALIGN_BYTES as u64;
                self.writer = Some(Writer { file, tag, offset, size_bytes });
                return Ok(());
            }
        }
        let (segment, writer) =
            self.make_segment(&mut bytes).map_err(|error| self.open_error(error_of(error)))?;
        self.writer = Some(writer);
        self.epochs = end.epochs;
        let decoded = frame::decode(&bytes, segment.tag)
            .map_err(|reason| segment.damaged(HEADER_BYTES as u64, reason))?;
        let mut state = self.shared.lock();
        state.push(segment);
        state.end = end;
        state.head_index.add(&decoded.frame, HEADER_BYTES as u64);
        Ok(())
    }

    /// Keeps the lock of the state folder for as long as there is this journal.
    pub(super) fn keep_lock(&mut self, lock: Lock) {
        self.lock = Some(lock);
    }

    fn open_error(&self, error: AppendError) -> Error {
        let source = match error {
            AppendError::Full(source) | AppendError::Io(source) => source,
            other => io::Error::other(other.to_string()),
        };
        Error::Io { what: "write the journal in", path: self.shared.folder.clone(), source }
    }

    /// Returns a reader that sees durable frames, for any thread.
    pub fn reader(&self) -> JournalReader<D> {
        JournalReader::new(Arc::clone(&self.shared))
    }

    /// Returns what fills the next segment with zeros beforehand, for the `cold` thread.
    pub fn preparer(&self) -> Preparer<D> {
        Preparer { shared: Arc::clone(&self.shared), size_bytes: self.segment_bytes, filling: None }
    }

    /// Returns the identity of the store.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Returns the number of the last durable frame.
    pub fn seq(&self) -> u64 {
        self.shared.lock().end.seq
    }

    /// Returns the time of the last durable frame.
    pub fn time(&self) -> Time {
        self.shared.lock().end.time
    }

    /// Returns the bytes appended since the opening.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Returns whether the last append failed, so that the next one begins a new segment.
    pub fn is_failing(&self) -> bool {
        self.writer.is_none()
    }

    fn check(&self, end: &End, entries: &[Entry]) -> Result<(), AppendError> {
        let mut positions = end.positions;
        for entry in entries {
            let partition = entry.partition;
            if !self.claimed.get(partition.index()).is_some_and(|&claimed| claimed) {
                return Err(AppendError::NotClaimed { partition });
            }
            let position = &mut positions[partition.index()];
            *position += 1;
            if entry.n != *position {
                let (found, expected) = (entry.n, *position);
                return Err(AppendError::OutOfOrder { partition, found, expected });
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &mut [u8]) -> Result<Written, io::Error> {
        let padded = bytes.len().next_multiple_of(FRAME_ALIGN_BYTES) as u64;
        let planted = self.planted;
        if let Some(writer) = self.writer.as_mut().filter(|w| w.offset + padded <= w.size_bytes) {
            frame::seal(bytes, writer.tag);
            writer.file.write_at(writer.offset, bytes)?;
            match planted {
                Some(PlantedBug::AcknowledgeBeforeSync) => {}
                Some(PlantedBug::WriteOnAfterFailedSync) => {
                    writer.file.sync().or_else(|_| writer.file.sync())?;
                }
                _ => writer.file.sync()?,
            }
            let offset = writer.offset;
            writer.offset += padded;
            return Ok(Written { offset, segment: None });
        }
        let (segment, writer) = self.make_segment(bytes)?;
        self.writer = Some(writer);
        Ok(Written { offset: HEADER_BYTES as u64, segment: Some(segment) })
    }

    /// Makes the next segment, with its first frame in it; it has its name only when both are durable.
    fn make_segment(&mut self, bytes: &mut [u8]) -> Result<(Segment, Writer<D::File>), io::Error> {
        let disk = Arc::clone(&self.shared.disk);
        let (end, before_n, ready, temporary) = {
            let mut state = self.shared.lock();
            let before_n = state.segments.last().map_or(self.before_n, |before| before.header.n);
            let ready = state.ready.take();
            let temporary = temporary_name(&mut state.temporary_count);
            (state.end.clone(), before_n, ready, temporary)
        };
        let filled_bytes = HEADER_BYTES + bytes.len().next_multiple_of(FRAME_ALIGN_BYTES);
        let needed = filled_bytes as u64;
        let (file, from, size_bytes, zeros) = match ready {
            Some(Ready { path, file, size_bytes }) if size_bytes >= needed => {
                (file, path, size_bytes, filled_bytes)
            }
            _ => {
                let path = self.shared.folder.join(temporary);
                let size = self.segment_bytes.min(self.hurried_bytes).max(needed);
                let zeros = usize::try_from(size).expect("invariant: a hurried segment fits memory");
                (disk.create(&path)?, path, size, zeros)
            }
        };
        let n = self.next_n;
        self.next_n += 1;
        let filled = file.stamp().and_then(|stamp| {
            let header =
                Header { format: self.shared.format(), store: self.store, n, before_n, before: end, stamp };
            let (tag, path) = self.fill_and_name(&file, &from, &header, bytes, zeros)?;
            Ok(Segment { path, header, tag, is_copy: false, is_fresh_copy: false })
        });
        match filled {
            Ok(segment) => {
                let writer = Writer { file, tag: segment.tag, offset: needed, size_bytes };
                Ok((segment, writer))
            }
            Err(error) => {
                // Its space may be what is needed next. If it has its name already, this does nothing.
                let _ = disk.unlink(&from);
                Err(error)
            }
        }
    }

    fn fill_and_name(
        &self,
        file: &D::File,
        from: &Path,
        header: &Header,
        bytes: &mut [u8],
        zeros: usize,
    ) -> Result<(Tag, PathBuf), io::Error> {
        let (disk, folder) = (&*self.shared.disk, &self.shared.folder);
        let encoded = header.encode();
        let tag = tag(&encoded);
        frame::seal(bytes, tag);
        let mut contents = vec![0; zeros];
        contents[..HEADER_BYTES].copy_from_slice(&encoded);
        contents[HEADER_BYTES..HEADER_BYTES + bytes.len()].copy_from_slice(bytes);
        file.write_at(0, &contents)?;
        file.sync()?;
        let path = folder.join(name(header.first_seq(), header.n));
        disk.rename(from, &path)?;
        disk.sync_folder(folder)?;
        Ok((tag, path))
    }
}

/// The last good frame that an opening found.
pub(super) struct Held {
    bytes: Vec<u8>,
    end: End,
    way: Way,
}

/// What becomes of the last good frame.
enum Way {
    /// It is held again.
    Again,
    /// A planted bug: it is believed.
    Trust,
    /// A planted bug: its segment is written on behind the torn tail.
    WriteOn { path: PathBuf, tag: Tag, end_offset: u64 },
}

struct Written {
    offset: u64,
    segment: Option<Segment>,
}

fn temporary_name(count: &mut u64) -> String {
    *count += 1;
    format!("{count}{TEMPORARY}")
}

fn error_of(error: io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::Full(error),
        _ => AppendError::Io(error),
    }
}

impl<D: Disk> Log for Journal<D> {
    fn append(&mut self, time: Time, entries: Vec<Entry>) -> Result<Arc<Frame>, AppendError> {
        let end = self.shared.lock().end.clone();
        self.check(&end, &entries)?;
        let groups: Vec<Group> = frame::groups(&entries, &self.epochs);
        let found_bytes = frame::encoded_bytes(&groups, &entries);
        if found_bytes > self.frame_bytes_max {
            return Err(AppendError::TooLarge { found_bytes, limit_bytes: self.frame_bytes_max });
        }
        let time = time.max(end.time);
        let seq = end.seq + 1;
        let mut bytes = frame::encode(seq, &end.hash, time, &groups, &entries);
        let hash = frame::hash(&bytes);
        let written = self.write(&mut bytes).map_err(|error| {
            self.writer = None;
            error_of(error)
        })?;
        self.appended_bytes += bytes.len().next_multiple_of(FRAME_ALIGN_BYTES) as u64;
        let mut positions = end.positions;
        for entry in &entries {
            positions[entry.partition.index()] = entry.n;
        }
        let frame = Arc::new(Frame { seq, before: end.hash, hash, time, entries });
        let mut state = self.shared.lock();
        if let Some(segment) = written.segment {
            state.push(segment);
        }
        state.head_index.add(&frame, written.offset);
        state.end = End { seq, hash, time, positions, epochs: self.epochs };
        Ok(frame)
    }

    fn read(
        &self,
        partition: Partition,
        from: u64,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<(), Error> {
        self.reader().entries(partition, from, visit)
    }

    fn claim(&mut self, partition: Partition) -> Result<u64, Error> {
        let epoch = &mut self.epochs[partition.index()];
        if !std::mem::replace(&mut self.claimed[partition.index()], true) {
            *epoch += 1;
        }
        Ok(*epoch)
    }

    fn release(&mut self, partition: Partition) -> Result<(), Error> {
        self.claimed[partition.index()] = false;
        Ok(())
    }

    fn positions(&self) -> Positions {
        self.shared.lock().end.positions
    }
}

/// Fills the next segment with zeros, step by step, so that an append never waits for it.
pub struct Preparer<D: Disk> {
    shared: Arc<Shared<D>>,
    size_bytes: u64,
    filling: Option<Filling<D::File>>,
}

struct Filling<F> {
    path: PathBuf,
    file: F,
    done_bytes: u64,
}

/// What a step of preparing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// More is to be done.
    More,
    /// A segment is ready.
    Ready,
}

impl<D: Disk> Preparer<D> {
    /// Writes and syncs at most a mebibyte of zeros, if the next segment is not ready. After an error the next step
    /// begins anew.
    pub fn step(&mut self) -> Result<Prepared, Error> {
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None => match self.begin()? {
                Some(filling) => filling,
                None => return Ok(Prepared::Ready),
            },
        };
        let count = PREPARE_STEP_BYTES.min(self.size_bytes - filling.done_bytes);
        let zeros = vec![0; usize::try_from(count).expect("invariant: a step fits memory")];
        let written = filling.file.write_at(filling.done_bytes, &zeros).and_then(|()| filling.file.sync());
        if let Err(error) = written {
            // Frees what was written: the disk may be full.
            let _ = self.shared.disk.unlink(&filling.path);
            return Err(Error::io("write", &filling.path)(error));
        }
        filling.done_bytes += count;
        if filling.done_bytes < self.size_bytes {
            self.filling = Some(filling);
            return Ok(Prepared::More);
        }
        let Filling { path, file, .. } = filling;
        self.shared.lock().ready = Some(Ready { path, file, size_bytes: self.size_bytes });
        Ok(Prepared::Ready)
    }

    fn begin(&self) -> Result<Option<Filling<D::File>>, Error> {
        let name = {
            let mut state = self.shared.lock();
            if state.ready.is_some() {
                return Ok(None);
            }
            temporary_name(&mut state.temporary_count)
        };
        let path = self.shared.folder.join(name);
        let file = self.shared.disk.create(&path).map_err(Error::io("create", &path))?;
        Ok(Some(Filling { path, file, done_bytes: 0 }))
    }
}
