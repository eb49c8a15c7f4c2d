//! Reading the journal from any thread: whatever is durable, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Options;
use super::archive::{self, ArchiveId, ArchiveWriter, Archives};
use super::disk::{Disk, DiskFile};
use super::entry::{Entry, Frame, Positions, StoreId};
use super::error::Error;
use super::history::HISTORY_FOLDER;
use super::identity::{self, FORMAT, Upgraded};
use super::kept::KeptFrames;
use super::open::Ends;
use super::past::CaseHistory;
use super::sealed::Moment;
use super::segment::{End, Segment, Step, Walk, read_frame, readable};
use super::shelf::{Shelf, is_gone};
use super::unpacking::{Room, UNPACKED_BYTES_MAX, Unpacking};
use crate::id::{CaseId, Partition, Time};

/// Segments whose index is kept besides that of the head. An index holds some 50 bytes for each group of entries.
const INDEX_COUNT_MAX: usize = 8;

/// Where a segment's entries lie: by partition and first position, how many, and the frame's place.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    groups: BTreeMap<(u16, u64), (u32, u64)>,
}

impl Index {
    /// Adds a frame's groups.
    pub(super) fn add(&mut self, frame: &Frame, offset: u64) {
        let mut open: Option<((u16, u64), u32)> = None;
        for entry in &frame.entries {
            open = match open {
                Some(((partition, first), count))
                    if partition == entry.partition.0 && first + u64::from(count) == entry.n =>
                {
                    Some(((partition, first), count + 1))
                }
                done => {
                    if let Some((key, count)) = done {
                        self.groups.insert(key, (count, offset));
                    }
                    Some(((entry.partition.0, entry.n), 1))
                }
            };
        }
        if let Some((key, count)) = open {
            self.groups.insert(key, (count, offset));
        }
    }

    fn find(&self, partition: Partition, n: u64) -> Option<u64> {
        let (&(found, first), &(count, offset)) = self.groups.range(..=(partition.0, n)).next_back()?;
        (found == partition.0 && n - first < u64::from(count)).then_some(offset)
    }
}

/// What writer and readers share.
pub(super) struct State<D: Disk> {
    /// The segments that hold the journal, oldest first; each is void from the first frame of the next on.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The last durable frame.
    pub(super) end: End,
    /// Where the head's entries lie.
    pub(super) head_index: Index,
    /// Indexes of other segments, by number, the last used at the back.
    kept: VecDeque<(u64, Arc<Index>)>,
    /// A segment filled with zeros under a temporary name.
    pub(super) ready: Option<Ready<D::File>>,
    /// Counts temporary names.
    pub(super) temporary_count: u64,
}

/// A file of zeros that waits to become a segment.
pub(super) struct Ready<F> {
    pub(super) path: PathBuf,
    pub(super) file: F,
    pub(super) size_bytes: u64,
}

/// The journal's state behind its lock, which is held for a few instructions only.
pub(super) struct Shared<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) folder: PathBuf,
    state: Mutex<State<D>>,
    /// What the journal no longer has.
    pub(super) shelf: Shelf<D>,
    /// Cases that left it.
    pub(super) archives: Archives<D>,
    /// The store's format, which segments are made in.
    format: AtomicU32,
}

impl<D: Disk> Shared<D> {
    pub(super) fn new(disk: Arc<D>, folder: PathBuf, segments: Vec<Segment>, end: End, format: u32) -> Self {
        let state = State {
            segments: segments.into_iter().map(Arc::new).collect(),
            end,
            head_index: Index::default(),
            kept: VecDeque::new(),
            ready: None,
            temporary_count: 0,
        };
        let shelf = Shelf::new(folder.with_file_name(HISTORY_FOLDER));
        let archives = Archives::new(folder.parent().unwrap_or(&folder).to_owned());
        Self { disk, folder, state: Mutex::new(state), shelf, archives, format: AtomicU32::new(format) }
    }

    /// Returns the folder in which the journal's folder lies.
    pub(super) fn state_dir(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    pub(super) fn format(&self) -> u32 {
        self.format.load(Ordering::Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().expect("invariant: nobody panics with the journal's lock held")
    }
}

/// Reads durable frames, from any thread; cheap to clone.
pub struct JournalReader<D: Disk> {
    pub(super) shared: Arc<Shared<D>>,
    /// Frames that were read before, if any are kept.
    kept: Option<Arc<Mutex<KeptFrames>>>,
    /// Bounds what all who read unpack together.
    room: Option<Arc<dyn Room>>,
}

impl<D: Disk> Clone for JournalReader<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), kept: self.kept.clone(), room: self.room.clone() }
    }
}

/// A segment with the end of what holds in it.
struct Part {
    segment: Arc<Segment>,
    last_seq: u64,
    last_hash: [u8; 32],
    is_head: bool,
}

impl<D: Disk> JournalReader<D> {
    pub(super) fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared, kept: None, room: None }
    }

    /// Returns a reader that keeps frames which it has read, for one who looks up many entries at a time. It does not see
    /// what becomes of them on the disk after that.
    #[must_use]
    pub fn keeping(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), kept: Some(Arc::default()), room: self.room.clone() }
    }

    /// Returns the number of the last durable frame.
    pub fn seq(&self) -> u64 {
        self.shared.lock().end.seq
    }

    /// Returns the position of the last durable entry of each partition.
    pub fn positions(&self) -> Positions {
        self.shared.lock().end.positions
    }

    /// Returns the store's format.
    pub fn format(&self) -> u32 {
        self.shared.format()
    }

    /// Raises the store to the newest format, durably; segments made from then on say so.
    ///
    /// # Errors
    /// The file that names the store cannot be read or written; then its format is as before, or the next opening says
    /// the new one.
    pub fn upgrade(&self, options: &Options) -> Result<Upgraded, Error> {
        let upgraded = identity::raise(&*self.shared.disk, options, self.format())?;
        self.shared.format.fetch_max(upgraded.to, Ordering::AcqRel);
        Ok(upgraded)
    }

    /// Returns the number of the first frame that the journal still has; what was before lies in history.
    pub fn first_seq(&self) -> u64 {
        self.shared.lock().segments.first().map_or(1, |first| first.header.first_seq())
    }

    /// Returns the durable entry of a subject at a position, from the journal or from history; `None` when there is
    /// none. Reads one frame or block of rows; the first time in an older segment, the whole segment.
    pub fn entry(&self, partition: Partition, subject: u64, n: u64) -> Result<Option<Entry>, Error> {
        let last = self.shared.lock().end.positions.get(partition.index()).copied();
        if n == 0 || last.is_none_or(|last| n > last) {
            return Ok(None);
        }
        if let Some(part) = self.part_of_entry(partition, n) {
            match self.entry_of_part(&part, partition, n) {
                // It has left the journal just now.
                Err(error) if is_gone(&error) => {}
                // History may hold it too.
                Err(error) if error.is_of_journal() => {
                    let found = self.shared.shelf.entry(&self.shared.disk, partition, subject, n);
                    return found.ok().flatten().map_or(Err(error), |entry| Ok(Some(entry)));
                }
                found => return found.map(|entry| Some(entry).filter(|entry| entry.subject == subject)),
            }
        }
        self.shared.shelf.entry(&self.shared.disk, partition, subject, n)
    }

    fn entry_of_part(&self, part: &Part, partition: Partition, n: u64) -> Result<Entry, Error> {
        let known = if part.is_head { self.find_in_head(part, partition, n) } else { None };
        let offset = match known {
            Some(offset) => Some(offset),
            None => self.index(part)?.find(partition, n),
        };
        let segment = &part.segment;
        let Some(offset) = offset else {
            let reason = format!("entry {n} of partition {} should be in this segment", partition.0);
            return Err(segment.damaged(0, reason));
        };
        let frame = self.frame(segment, offset)?;
        let found = frame.entries.iter().find(|entry| entry.partition == partition && entry.n == n);
        found.cloned().ok_or_else(|| {
            segment.damaged(offset, format!("entry {n} of partition {} is not here", partition.0))
        })
    }

    fn frame(&self, segment: &Segment, offset: u64) -> Result<Arc<Frame>, Error> {
        let place = (segment.header.n, offset);
        let kept = self.kept.as_ref();
        let kept = kept.map(|kept| kept.lock().expect("invariant: nobody panics with kept frames locked"));
        if let Some(frame) = kept.as_ref().and_then(|kept| kept.get(place)) {
            return Ok(frame);
        }
        let file = self.open(segment)?;
        let read = read_frame(segment, &file, offset)?.map_err(|reason| segment.damaged(offset, reason))?;
        let frame = Arc::new(read.frame);
        if let Some(mut kept) = kept {
            kept.put(place, &frame, read.length_bytes);
        }
        Ok(frame)
    }

    /// Begins an archive file, with the rows of the specifications that its cases run, by their numbers.
    ///
    /// # Errors
    /// The store has a format whose release does not know archives, or the file cannot be written.
    pub fn begin_archive(
        &self,
        now: Time,
        sealed: Moment,
        specifications: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<ArchiveWriter<D>, Error> {
        if self.format() < FORMAT {
            return Err(Error::OldFormat { found: self.format(), needed: FORMAT });
        }
        let (disk, state_dir) = (&self.shared.disk, self.shared.state_dir());
        let least = self.archives()?.last().map_or(0, |last| last.0 + 1);
        let store = self.shared.lock().segments.last().map(|head| head.header.store);
        let store = store.expect("invariant: an open journal has a head");
        ArchiveWriter::begin(disk, state_dir, store, ArchiveId(now.0.max(least)), sealed, specifications)
    }

    /// Returns the archive files, oldest first.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub fn archives(&self) -> Result<Vec<ArchiveId>, Error> {
        archive::list(&*self.shared.disk, self.shared.state_dir())
    }

    /// Returns the bytes of all archive files; what cannot be looked at counts nothing.
    pub fn archive_bytes(&self) -> u64 {
        let (disk, state_dir) = (&self.shared.disk, self.shared.state_dir());
        let ids = self.archives().unwrap_or_default();
        ids.iter().filter_map(|id| disk.open(&id.path(state_dir)).ok()?.length().ok()).sum()
    }

    /// Returns a case as an archive file has it. Reads a block of rows.
    ///
    /// # Errors
    /// The file is missing or damaged, or the case is not in it.
    pub fn archived(&self, id: ArchiveId, case: CaseId) -> Result<CaseHistory, Error> {
        self.shared.archives.case(&self.shared.disk, id, case)
    }

    /// Returns how many bytes of memory [`Self::archived`] takes, at most; 0 where it fails.
    pub fn archived_bytes(&self, id: ArchiveId, case: CaseId) -> usize {
        self.shared.archives.case_bytes(&self.shared.disk, id, case)
    }

    /// Returns what counts the bytes that one request unpacks of what is read here.
    pub fn unpacking(&self) -> Unpacking {
        match &self.room {
            Some(room) => Unpacking::within(UNPACKED_BYTES_MAX, &**room),
            None => Unpacking::alone(UNPACKED_BYTES_MAX),
        }
    }

    /// Returns this reader with a bound on what all requests unpack together.
    #[must_use]
    pub fn within(self, room: Arc<dyn Room>) -> Self {
        Self { room: Some(room), ..self }
    }

    /// Takes an archive file away of which nothing in the journal speaks, and never will.
    ///
    /// # Errors
    /// It cannot be taken away.
    pub fn remove_archive(&self, id: ArchiveId) -> Result<(), Error> {
        let (disk, state_dir) = (&self.shared.disk, self.shared.state_dir());
        self.shared.archives.close(id);
        let (path, folder) = (id.path(state_dir), id.folder(state_dir));
        match disk.unlink(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => disk.sync_folder(&folder).map_err(Error::io("sync", &folder)),
        }
    }

    /// Learns where the entries of the head lie, which a writer knows as it writes: without it, each of them is searched
    /// for by reading the whole head.
    pub fn index_head(&self) -> Result<(), Error> {
        let Some(part) = self.parts(|_| true).pop() else { return Ok(()) };
        let index = self.index(&part)?;
        self.shared.lock().head_index = Arc::unwrap_or_clone(index);
        Ok(())
    }

    /// Returns the journal's end as an opening knows it.
    pub(super) fn ends(&self, store: StoreId) -> Ends {
        let state = self.shared.lock();
        Ends { store, seq: state.end.seq, hash: state.end.hash }
    }

    /// Returns the frame that the first one of the journal continues, and its hash: what came before lies in history.
    pub(super) fn before(&self) -> (u64, [u8; 32]) {
        let state = self.shared.lock();
        let before = state.segments.first().map_or(&state.end, |first| &first.header.before);
        (before.seq, before.hash)
    }

    /// Visits durable frames from `from_seq` on, or from the first that the journal still has, until `visit` returns
    /// false or fails.
    pub fn frames(
        &self,
        from_seq: u64,
        visit: &mut dyn FnMut(&Frame) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        for part in self.parts(|segment| segment.header.first_seq() <= from_seq) {
            let is_wanted = self.walk(&part, &mut |_, frame| {
                if frame.seq < from_seq { Ok(true) } else { visit(frame) }
            })?;
            if !is_wanted {
                break;
            }
        }
        Ok(())
    }

    /// Visits the durable entries of a partition from position `from` on, until `visit` returns false: what history
    /// holds in the place of segments, then the journal's.
    pub fn entries(
        &self,
        partition: Partition,
        from: u64,
        visit: &mut dyn FnMut(&Entry) -> bool,
    ) -> Result<(), Error> {
        let place = partition.index();
        let parts = self.parts(|segment| segment.header.before.positions[place] < from);
        let last = parts.first().map_or(0, |part| part.segment.header.before.positions[place]);
        let shelf = &self.shared.shelf;
        let is_wanted = from > last
            || shelf.entries(&self.shared.disk, partition, (from, last), &mut |entry| Ok(visit(entry)))?;
        for part in parts.iter().take_while(|_| is_wanted) {
            let is_wanted = self.walk(part, &mut |_, frame| {
                let mut wanted = frame.entries.iter().filter(|e| e.partition == partition && e.n >= from);
                Ok(wanted.all(&mut *visit))
            })?;
            if !is_wanted {
                break;
            }
        }
        Ok(())
    }

    /// Returns the parts of the journal from the last segment on that can be the start.
    fn parts(&self, can_start: impl Fn(&Segment) -> bool) -> Vec<Part> {
        let state = self.shared.lock();
        let start = state.segments.partition_point(|segment| can_start(segment)).saturating_sub(1);
        let segments = &state.segments[start.min(state.segments.len())..];
        let part = |(place, segment): (usize, &Arc<Segment>)| {
            let next = segments.get(place + 1);
            let end = next.map_or(&state.end, |next| &next.header.before);
            let is_head = next.is_none();
            Part { segment: Arc::clone(segment), last_seq: end.seq, last_hash: end.hash, is_head }
        };
        segments.iter().enumerate().map(part).collect()
    }

    /// Returns the part that holds an entry which is durable; `None` when it has left the journal.
    fn part_of_entry(&self, partition: Partition, n: u64) -> Option<Part> {
        let before = |segment: &Segment| segment.header.before.positions[partition.index()];
        let part = self.parts(|segment| before(segment) < n).into_iter().next()?;
        (before(&part.segment) < n).then_some(part)
    }

    fn find_in_head(&self, part: &Part, partition: Partition, n: u64) -> Option<u64> {
        let state = self.shared.lock();
        let is_still_head = state.segments.last().is_some_and(|head| head.header.n == part.segment.header.n);
        if is_still_head { state.head_index.find(partition, n) } else { None }
    }

    fn index(&self, part: &Part) -> Result<Arc<Index>, Error> {
        let n = part.segment.header.n;
        {
            let mut state = self.shared.lock();
            if let Some(place) = state.kept.iter().position(|kept| kept.0 == n)
                && let Some(found) = state.kept.remove(place)
            {
                let index = Arc::clone(&found.1);
                state.kept.push_back(found);
                return Ok(index);
            }
        }
        let mut index = Index::default();
        let walked = self.walk(part, &mut |offset, frame| {
            index.add(frame, offset);
            Ok(true)
        });
        match walked {
            // What lies behind the damage is found all the same: an entry is proven by whoever refers to it.
            Err(error) if error.is_of_journal() => {
                let file = self.open(&part.segment)?;
                readable(&part.segment, &file, &mut |offset, frame| {
                    if frame.seq <= part.last_seq {
                        index.add(frame, offset);
                    }
                })?;
            }
            walked => drop(walked?),
        }
        let index = Arc::new(index);
        if !part.is_head {
            self.shared.lock().keep(n, Arc::clone(&index));
        }
        Ok(index)
    }

    fn open(&self, segment: &Segment) -> Result<D::File, Error> {
        self.shared.disk.open(&segment.path).map_err(Error::io("open", &segment.path))
    }

    fn walk(&self, part: &Part, visit: &mut VisitFrame<'_>) -> Result<bool, Error> {
        walk(&*self.shared.disk, &part.segment, (part.last_seq, &part.last_hash), visit)
    }

    /// Returns the segments before the head, oldest first, from that on whose first frame is `from_seq` or later.
    pub(super) fn spans(&self, from_seq: u64) -> Vec<Span> {
        let state = self.shared.lock();
        let pairs = state.segments.windows(2).filter(|pair| pair[0].header.first_seq() >= from_seq);
        let span = |pair: &[Arc<Segment>]| Span {
            segment: Arc::clone(&pair[0]),
            after: pair[1].header.before.clone(),
        };
        pairs.map(span).collect()
    }

    /// Forgets the oldest segment, if it has this number and is not the head: it is about to be taken away.
    pub(super) fn forget(&self, n: u64) -> bool {
        let mut state = self.shared.lock();
        let is_it = state.segments.len() > 1 && state.segments[0].header.n == n;
        if is_it {
            state.segments.remove(0);
            state.kept.retain(|kept| kept.0 != n);
        }
        is_it
    }

    /// Returns the numbers of the segments that hold the journal.
    pub(super) fn segment_numbers(&self) -> Vec<u64> {
        self.shared.lock().segments.iter().map(|segment| segment.header.n).collect()
    }
}

/// What holds in a segment that is not the head: it never changes.
pub(super) struct Span {
    pub(super) segment: Arc<Segment>,
    /// The end behind its last frame.
    pub(super) after: End,
}

impl Span {
    /// Returns the file's length.
    pub(super) fn bytes<D: Disk>(&self, disk: &D) -> Result<u64, Error> {
        let path = &self.segment.path;
        disk.open(path).and_then(|file| file.length()).map_err(Error::io("look at", path))
    }

    /// Visits its frames with their places, until `visit` returns false or fails; returns whether it wants more.
    pub(super) fn walk<D: Disk>(&self, disk: &D, visit: &mut VisitFrame<'_>) -> Result<bool, Error> {
        walk(disk, &self.segment, (self.after.seq, &self.after.hash), visit)
    }
}

type VisitFrame<'a> = dyn FnMut(u64, &Frame) -> Result<bool, Error> + 'a;

/// Walks over what holds in a segment up to the last frame; returns whether `visit` wants more. That it ends early is
/// damage.
fn walk<D: Disk>(
    disk: &D,
    segment: &Segment,
    (last_seq, last_hash): (u64, &[u8; 32]),
    visit: &mut VisitFrame<'_>,
) -> Result<bool, Error> {
    let file = disk.open(&segment.path).map_err(Error::io("open", &segment.path))?;
    let mut walk = Walk::new(segment, &file);
    while walk.end.seq < last_seq {
        match walk.step()? {
            Step::Frame { offset, decoded } => {
                if !visit(offset, &decoded.frame)? {
                    return Ok(false);
                }
            }
            Step::Bad { offset, reason } => {
                let reason = format!("{reason}, and frames up to {last_seq} must be here");
                return Err(segment.damaged(offset, reason));
            }
        }
    }
    if walk.end.hash == *last_hash {
        return Ok(true);
    }
    Err(segment.damaged(0, format!("frame {last_seq} is not the one that was continued")))
}

impl<D: Disk> State<D> {
    /// Makes a segment the head; what is known of the one before is kept.
    pub(super) fn push(&mut self, segment: Segment) {
        let index = std::mem::take(&mut self.head_index);
        if let Some(before) = self.segments.last() {
            let n = before.header.n;
            // A head opened by an earlier process was never indexed from its start.
            if !index.groups.is_empty() {
                self.keep(n, Arc::new(index));
            }
        }
        self.segments.push(Arc::new(segment));
    }

    fn keep(&mut self, n: u64, index: Arc<Index>) {
        if self.kept.len() >= INDEX_COUNT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((n, index));
    }
}
