//! One file of the journal: its name, its header, and walking over its frames.
//!
//! A segment appears complete with its first frame, made durable under a temporary name before. So a segment whose
//! header or first frame is bad was damaged later, whatever the crash.

use std::path::PathBuf;

use super::Options;
use super::bytes::Fields;
use super::disk::{Disk, DiskFile, Stamp};
use super::entry::{Frame, Positions, StoreId};
use super::error::Error;
use super::frame::{self, Decoded, FRAME_ALIGN_BYTES, Tag};
use super::identity::check_format;
use super::open::JOURNAL_FOLDER;
use crate::id::{PARTITION_COUNT, Time};

/// Bytes of the header; the first frame begins here.
pub(super) const HEADER_BYTES: usize = 4096;
const KIND: &[u8; 8] = b"KNHKJRNL";
const ENDING: &str = ".jnl";
/// The ending of names that an opening ignores.
pub(super) const TEMPORARY: &str = ".tmp";
/// How much is read at once when looking at one frame.
const READ_BYTES: usize = 16 * 1024;
/// How much is read at once when walking.
const WALK_BYTES: usize = 256 * 1024;
/// How much is read at once when looking for a good frame behind a bad one.
const SEARCH_BYTES: usize = 1024 * 1024;
const _: () =
    assert!(HEADER_BYTES.is_multiple_of(FRAME_ALIGN_BYTES) && SEARCH_BYTES.is_multiple_of(FRAME_ALIGN_BYTES));

/// The end of a chain of frames: what the next frame continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
    pub(super) time: Time,
    pub(super) positions: Positions,
    pub(super) epochs: [u64; PARTITION_COUNT],
}

impl End {
    /// Returns where a store begins.
    pub(super) fn start() -> Self {
        let none = [0; PARTITION_COUNT];
        Self { seq: 0, hash: [0; 32], time: Time::default(), positions: none, epochs: none }
    }

    /// Returns it as bytes: seq, hash, time, positions, epochs.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.time.0.to_le_bytes());
        for number in self.positions.iter().chain(&self.epochs) {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let (seq, hash, time) = (fields.u64()?, fields.array()?, Time(fields.u64()?));
        Some(Self { seq, hash, time, positions: fields.u64s()?, epochs: fields.u64s()? })
    }

    /// Moves over a frame, or says why the frame does not continue this end.
    pub(super) fn follow(&mut self, decoded: &Decoded) -> Result<(), String> {
        let frame = &decoded.frame;
        if frame.seq != self.seq + 1 {
            return Err(format!("frame {} follows frame {}", frame.seq, self.seq));
        }
        if frame.before != self.hash {
            return Err(format!("frame {} does not carry the hash of the frame before", frame.seq));
        }
        let mut positions = self.positions;
        for group in &decoded.groups {
            let position = &mut positions[group.partition.index()];
            if group.first_n != *position + 1 {
                return Err(format!(
                    "entry {} of partition {} follows entry {position}",
                    group.first_n, group.partition.0
                ));
            }
            *position += u64::from(group.count);
        }
        for group in &decoded.groups {
            let epoch = &mut self.epochs[group.partition.index()];
            *epoch = (*epoch).max(group.epoch);
        }
        *self = Self {
            seq: frame.seq,
            hash: frame.hash,
            time: self.time.max(frame.time),
            positions,
            epochs: self.epochs,
        };
        Ok(())
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The format of the store when the segment was made.
    pub(super) format: u32,
    pub(super) store: StoreId,
    /// Counts segments as they are made; a later one makes void what earlier ones hold from its first frame on.
    pub(super) n: u64,
    /// The segment that holds the frame before the first; 0 for none.
    pub(super) before_n: u64,
    /// The end that the first frame continues.
    pub(super) before: End,
    pub(super) stamp: Stamp,
}

impl Header {
    pub(super) fn first_seq(&self) -> u64 {
        self.before.seq + 1
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(KIND);
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        for number in [self.n, self.before_n, self.before.seq] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.before.hash);
        for number in [self.before.time.0, self.stamp.inode, self.stamp.born_ns] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in self.before.positions.iter().chain(&self.before.epochs) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.resize(HEADER_BYTES - 4, 0);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        fields.take(KIND.len())?;
        let format = fields.u32()?;
        let store = StoreId(fields.array()?);
        let (n, before_n, seq) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let hash = fields.array()?;
        let time = Time(fields.u64()?);
        let stamp = Stamp { inode: fields.u64()?, born_ns: fields.u64()? };
        let before = End { seq, hash, time, positions: fields.u64s()?, epochs: fields.u64s()? };
        (seq < u64::MAX).then_some(Self { format, store, n, before_n, before, stamp })
    }
}

/// Returns what the frames of a segment with this header begin with.
pub(super) fn tag(header_bytes: &[u8]) -> Tag {
    let mut tag = [0; 8];
    tag.copy_from_slice(&blake3::hash(header_bytes).as_bytes()[..8]);
    // Zeros are what an empty place reads as.
    if tag == [0; 8] { [1; 8] } else { tag }
}

/// Returns a segment's file name.
pub(super) fn name(first_seq: u64, n: u64) -> String {
    format!("{first_seq:020}-{n:010}{ENDING}")
}

/// Reads a segment's file name; `None` when it is none.
pub(super) fn parse_name(file_name: &str) -> Option<(u64, u64)> {
    let (first_seq, n) = file_name.strip_suffix(ENDING)?.split_once('-')?;
    let parsed = (first_seq.parse().ok()?, n.parse().ok()?);
    (name(parsed.0, parsed.1) == file_name).then_some(parsed)
}

/// A segment whose header was read.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    pub(super) tag: Tag,
    /// Whether the file is not the one that the header was written to.
    pub(super) is_copy: bool,
    /// Whether all later segments are copies too: nothing was written here since the copying. Only then can the
    /// copying be what is wrong with it.
    pub(super) is_fresh_copy: bool,
}

impl Segment {
    /// Reads the header of the segment under a name.
    pub(super) fn open<D: Disk>(disk: &D, file_name: &str, options: &Options) -> Result<Self, Error> {
        let path = options.state_dir.join(JOURNAL_FOLDER).join(file_name);
        let file = disk.open(&path).map_err(Error::io("open", &path))?;
        let mut bytes = vec![0; HEADER_BYTES];
        let count = file.read_at(0, &mut bytes).map_err(Error::io("read", &path))?;
        let stamp = file.stamp().map_err(Error::io("read", &path))?;
        let damaged =
            |reason: &str| Error::Damaged { path: path.clone(), offset: 0, reason: reason.to_owned() };
        if count < HEADER_BYTES || bytes[..KIND.len()] != *KIND {
            return Err(damaged("this is not the header of a segment"));
        }
        let (covered, checksum) = bytes.split_at(HEADER_BYTES - 4);
        let format = Fields::new(&bytes[KIND.len()..]).u32().unwrap_or_default();
        if format != 0 {
            check_format(&path, format, options)?;
        }
        if crc32c::crc32c(covered).to_le_bytes() != *checksum {
            return Err(damaged("the header's checksum does not match"));
        }
        let header = Header::decode(&bytes).ok_or_else(|| damaged("the header cannot be read"))?;
        if name(header.first_seq(), header.n) != file_name {
            return Err(damaged("the file's name is not the one in its header"));
        }
        let tag = tag(&bytes);
        let is_copy = stamp != header.stamp;
        Ok(Self { path, header, tag, is_copy, is_fresh_copy: is_copy })
    }

    /// Returns the error for damage here.
    pub(super) fn damaged(&self, offset: u64, reason: impl Into<String>) -> Error {
        let (path, reason) = (self.path.clone(), reason.into());
        if self.is_fresh_copy {
            Error::DamagedCopy { path, offset, reason }
        } else {
            Error::Damaged { path, offset, reason }
        }
    }
}

/// What lies at a place of a segment.
pub(super) enum Step {
    /// A good frame that continues the one before, and where it begins.
    Frame { offset: u64, decoded: Box<Decoded> },
    /// No such frame, and why.
    Bad { offset: u64, reason: String },
}

/// Walks over the frames of a segment.
pub(super) struct Walk<'a, F> {
    pub(super) segment: &'a Segment,
    pub(super) file: &'a F,
    offset: u64,
    /// The end after the frames walked over.
    pub(super) end: End,
    window: Window,
    /// Where in the window the last frame lies.
    frame_at: usize,
}

impl<'a, F: DiskFile> Walk<'a, F> {
    pub(super) fn new(segment: &'a Segment, file: &'a F) -> Self {
        let end = segment.header.before.clone();
        let window = Window { at: 0, bytes: Vec::new(), filled: 0, read_bytes: WALK_BYTES };
        Self { segment, file, offset: HEADER_BYTES as u64, end, window, frame_at: 0 }
    }

    /// Returns what comes next; after something bad, the same again, read anew.
    pub(super) fn step(&mut self) -> Result<Step, Error> {
        let offset = self.offset;
        let decoded = match self.window.frame(self.segment, self.file, offset)? {
            Ok(decoded) => decoded,
            Err(reason) => return Ok(Step::Bad { offset, reason: reason.to_owned() }),
        };
        self.frame_at =
            usize::try_from(offset - self.window.at).expect("invariant: the frame is in the window");
        if let Err(reason) = self.end.follow(&decoded) {
            return Ok(Step::Bad { offset, reason });
        }
        self.offset += decoded.length_bytes.next_multiple_of(FRAME_ALIGN_BYTES) as u64;
        Ok(Step::Frame { offset, decoded: Box::new(decoded) })
    }

    /// Returns the bytes of the frame that the last step gave.
    pub(super) fn frame_bytes(&self, length_bytes: usize) -> &[u8] {
        &self.window.bytes[self.frame_at..self.frame_at + length_bytes]
    }
}

/// Bytes of a segment that were read at once.
struct Window {
    at: u64,
    bytes: Vec<u8>,
    /// How many of the bytes were read.
    filled: usize,
    /// How much is read at once, unless a frame needs more.
    read_bytes: usize,
}

impl Window {
    /// Returns the frame at a place; what the window holds is believed only if it makes a good frame, because a
    /// running service may have written since. The inner error says why there is none.
    fn frame<F: DiskFile>(
        &mut self,
        segment: &Segment,
        file: &F,
        offset: u64,
    ) -> Result<Result<Decoded, &'static str>, Error> {
        let held = offset.checked_sub(self.at).and_then(|place| usize::try_from(place).ok());
        if let Some(bytes) = held.and_then(|place| self.bytes[..self.filled].get(place..))
            && let Ok(decoded) = frame::decode(bytes, segment.tag)
        {
            return Ok(Ok(decoded));
        }
        self.read(segment, file, offset, self.read_bytes)?;
        match frame::length(&self.bytes[..self.filled], segment.tag) {
            Ok(length) if length > self.read_bytes => self.read(segment, file, offset, length)?,
            Ok(_) => {}
            Err(reason) => return Ok(Err(reason)),
        }
        Ok(frame::decode(&self.bytes[..self.filled], segment.tag))
    }

    fn read<F: DiskFile>(
        &mut self,
        segment: &Segment,
        file: &F,
        offset: u64,
        count: usize,
    ) -> Result<(), Error> {
        self.at = offset;
        if self.bytes.len() < count {
            self.bytes = vec![0; count];
        }
        self.filled =
            file.read_at(offset, &mut self.bytes[..count]).map_err(Error::io("read", &segment.path))?;
        Ok(())
    }
}

/// Reads the frame at a place; the inner error says why there is none.
pub(super) fn read_frame<F: DiskFile>(
    segment: &Segment,
    file: &F,
    offset: u64,
) -> Result<Result<Decoded, &'static str>, Error> {
    Window { at: 0, bytes: Vec::new(), filled: 0, read_bytes: READ_BYTES }.frame(segment, file, offset)
}

/// What lies behind the last frame of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing but zeros.
    Empty,
    /// Something, but no good frame: an append that did not come to its end.
    Torn,
    /// A good frame begins here.
    Good(u64),
}

/// Visits the frames of a damaged segment that can be read, also behind those that cannot, with their places. What they
/// say is proven by nothing but their checksums.
pub(super) fn readable<F: DiskFile>(
    segment: &Segment,
    file: &F,
    visit: &mut dyn FnMut(u64, &Frame),
) -> Result<(), Error> {
    let mut offset = HEADER_BYTES as u64;
    // Ends: each round goes on behind a frame, or is the last.
    loop {
        if let Ok(decoded) = read_frame(segment, file, offset)? {
            visit(offset, &decoded.frame);
            offset += decoded.length_bytes.next_multiple_of(FRAME_ALIGN_BYTES) as u64;
            continue;
        }
        match tail(segment, file, offset)? {
            Tail::Good(next) if next > offset => offset = next,
            _ => return Ok(()),
        }
    }
}

const ZEROS: [u8; FRAME_ALIGN_BYTES] = [0; FRAME_ALIGN_BYTES];

/// Looks at everything from `from` on, where a walk found something bad.
pub(super) fn tail<F: DiskFile>(segment: &Segment, file: &F, from: u64) -> Result<Tail, Error> {
    let mut chunk = vec![0; SEARCH_BYTES];
    let mut found = Tail::Empty;
    let mut offset = from;
    loop {
        let count = file.read_at(offset, &mut chunk).map_err(Error::io("read", &segment.path))?;
        for place in (0..count).step_by(FRAME_ALIGN_BYTES) {
            let sector = &chunk[place..count.min(place + FRAME_ALIGN_BYTES)];
            if *sector == ZEROS[..sector.len()] {
                continue;
            }
            found = Tail::Torn;
            let at = offset + place as u64;
            if sector.starts_with(&segment.tag) && read_frame(segment, file, at)?.is_ok() {
                return Ok(Tail::Good(at));
            }
        }
        if count < SEARCH_BYTES {
            return Ok(found);
        }
        offset += SEARCH_BYTES as u64;
    }
}
