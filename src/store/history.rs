//! History files: the entries of sealed segments, sorted by subject, so that what happened to one lies together.
//!
//! A file holds what some whole segments hold, and says which frame it begins behind and which it ends with; files
//! follow each other by these ends. The link of an entry to its subject's entry before is left out where that entry
//! is the row before. A file that is written anew without subjects that are gone has a higher generation, and the
//! highest counts. Start at [`seal`], then [`History`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::bytes::Fields;
use super::disk::{Disk, DiskFile};
use super::entry::{Entry, Link, StoreId};
use super::error::Error;
use super::reader::Span;
use super::sealed::{self, Kind, Moment, Sealed, Writer};
use super::segment::End;
use crate::id::{PARTITION_COUNT, Partition};

/// The folder in the state folder.
pub(super) const HISTORY_FOLDER: &str = "history";
const KIND: Kind = Kind { name: *b"KNHKHIST", format: 1 };
const NAME_ENDING: &str = ".his";
const KEY_BYTES: usize = 2 + 8 + 8;
/// An entry's link is written out at least once in so many rows of its subject, so that finding one needs few others.
const LINK_ROWS: u8 = 16;
/// About so many bytes of entries are sorted at once; a segment with more is gone through more than once.
const SORT_BYTES: u64 = 16 * 1024 * 1024;

/// Told the bytes that were read or written since it was told last: it may take its time, and ends the work by an
/// error.
pub(super) type Pace<'a> = dyn FnMut(u64) -> Result<(), Error> + 'a;

/// What a history file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    /// How often what it holds was written; the highest counts.
    pub(super) generation: u32,
    /// The end that its first frame continues.
    pub(super) before: End,
    /// The end behind its last frame.
    pub(super) after: End,
    /// When it was written.
    pub(super) sealed: Moment,
    /// Entries that could not be read any longer when a repair wrote it anew. Nothing can be folded from it then.
    pub(super) lost: u64,
    /// Entries that were left out because their subjects are archived: chains may begin late in this file and in those
    /// behind it.
    pub(super) gone: u64,
}

impl About {
    pub(super) fn first_seq(&self) -> u64 {
        self.before.seq + 1
    }

    pub(super) fn name(&self) -> String {
        name(self.first_seq(), self.generation)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.generation.to_le_bytes().to_vec();
        self.sealed.encode(&mut out);
        self.before.encode(&mut out);
        self.after.encode(&mut out);
        if self.lost > 0 || self.gone > 0 {
            out.extend_from_slice(&self.lost.to_le_bytes());
        }
        if self.gone > 0 {
            out.extend_from_slice(&self.gone.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let (generation, sealed) = (fields.u32()?, Moment::decode(&mut fields)?);
        let (before, after) = (End::decode(&mut fields)?, End::decode(&mut fields)?);
        let lost = if fields.left() > 0 { fields.u64()? } else { 0 };
        let gone = if fields.left() > 0 { fields.u64()? } else { 0 };
        let is_possible = before.seq < after.seq
            && before.positions.iter().zip(&after.positions).all(|(before, after)| before <= after);
        (fields.left() == 0 && is_possible).then_some(Self { generation, before, after, sealed, lost, gone })
    }
}

/// Returns a history file's name.
pub(super) fn name(first_seq: u64, generation: u32) -> String {
    format!("{first_seq:020}-{generation:010}{NAME_ENDING}")
}

/// Reads a history file's name; `None` when it is none.
pub(super) fn parse_name(file_name: &str) -> Option<(u64, u32)> {
    let (first_seq, generation) = file_name.strip_suffix(NAME_ENDING)?.split_once('-')?;
    let parsed = (first_seq.parse().ok()?, generation.parse().ok()?);
    (name(parsed.0, parsed.1) == file_name).then_some(parsed)
}

/// Returns the history files of a state folder: by first frame, the generations.
pub(super) fn list<D: Disk>(disk: &D, folder: &Path) -> Result<BTreeMap<u64, Vec<u32>>, Error> {
    let mut out: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (first_seq, generation) in sealed::names(disk, folder)?.iter().filter_map(|name| parse_name(name)) {
        out.entry(first_seq).or_default().push(generation);
    }
    Ok(out)
}

fn key(partition: Partition, subject: u64, n: u64) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    out[..2].copy_from_slice(&partition.0.to_be_bytes());
    out[2..10].copy_from_slice(&subject.to_be_bytes());
    out[10..].copy_from_slice(&n.to_be_bytes());
    out
}

fn parse_key(key: &[u8]) -> Option<(Partition, u64, u64)> {
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    let (partition, rest) = key.split_first_chunk()?;
    let (subject, n) = rest.split_first_chunk()?;
    let partition = Partition(u16::from_be_bytes(*partition));
    let n = u64::from_be_bytes(*n.first_chunk()?);
    (partition.index() < PARTITION_COUNT).then_some((partition, u64::from_be_bytes(*subject), n))
}

/// How an entry's link stands in its row.
const NO_LINK: u8 = 0;
/// It is that of the row before.
const LINK_BEFORE: u8 = 1;
/// It is written out.
const LINK_GIVEN: u8 = 2;

/// Writes entries in the order of their keys.
struct Rows<D: Disk> {
    writer: Writer<D>,
    /// Partition, subject and link of the row before, and how many rows of its subject have no link written out.
    last: Option<(Partition, u64, Link, u8)>,
    value: Vec<u8>,
}

impl<D: Disk> Rows<D> {
    fn begin(disk: &Arc<D>, folder: &Path, store: StoreId, about: &About) -> Result<Self, Error> {
        let writer = Writer::begin(disk, folder, &about.name(), KIND, store, &about.encode())?;
        Ok(Self { writer, last: None, value: Vec::new() })
    }

    fn put(&mut self, entry: &Entry) -> Result<(), Error> {
        let last = self.last.filter(|last| (last.0, last.1) == (entry.partition, entry.subject));
        let mut rows = 0;
        self.value.clear();
        match last {
            Some((_, _, link, since)) if link == entry.previous && since + 1 < LINK_ROWS => {
                rows = since + 1;
                self.value.push(LINK_BEFORE);
            }
            _ if entry.previous == Link::default() => self.value.push(NO_LINK),
            _ => {
                self.value.push(LINK_GIVEN);
                self.value.extend_from_slice(&entry.previous.n.to_le_bytes());
                self.value.extend_from_slice(&entry.previous.hash);
            }
        }
        self.value.extend_from_slice(&entry.payload);
        self.last = Some((entry.partition, entry.subject, entry.link(), rows));
        self.writer.put(&key(entry.partition, entry.subject, entry.n), &self.value)
    }
}

/// Writes the history file of some whole segments that follow each other; returns what it says about itself and its
/// length.
///
/// # Errors
/// The journal cannot be read, or the file not be written; nothing is left of it then.
pub(super) fn seal<D: Disk>(
    disk: &Arc<D>,
    folder: &Path,
    spans: &[Span],
    generation: u32,
    sealed: Moment,
    pace: &mut Pace<'_>,
) -> Result<(About, u64), Error> {
    let (first, last) = match spans {
        [] => panic!("invariant: called with at least one segment"),
        [first, ..] => (first, &spans[spans.len() - 1]),
    };
    let header = &first.segment.header;
    let about = About {
        generation,
        before: header.before.clone(),
        after: last.after.clone(),
        sealed,
        lost: 0,
        gone: 0,
    };
    let mut rows = Rows::begin(disk, folder, header.store, &about)?;
    let mut bytes = 0;
    for span in spans {
        bytes += span.bytes(&**disk)?;
    }
    for (pass, partitions) in shares(&about, bytes).into_iter().enumerate() {
        let mut entries = Vec::new();
        for span in spans {
            let mut told = 0;
            span.walk(&**disk, &mut |offset, frame| {
                let wanted = frame.entries.iter().filter(|entry| partitions.contains(&entry.partition.0));
                entries.extend(wanted.cloned());
                // What is read again comes from memory, most of it: it is not counted, and may be ended.
                pace(if pass == 0 { offset.saturating_sub(told) } else { 0 })?;
                told = told.max(offset);
                Ok(true)
            })?;
        }
        entries.sort_unstable_by_key(|entry| (entry.partition, entry.subject, entry.n));
        put_all(&mut rows, &entries, pace)?;
    }
    let length = rows.writer.finish()?;
    Ok((about, length))
}

fn put_all<D: Disk>(rows: &mut Rows<D>, entries: &[Entry], pace: &mut Pace<'_>) -> Result<(), Error> {
    let mut told = rows.writer.bytes();
    for entry in entries {
        rows.put(entry)?;
        let bytes = rows.writer.bytes();
        if bytes > told {
            pace(0)?;
            told = bytes;
        }
    }
    Ok(())
}

/// Parts the partitions so that about [`SORT_BYTES`] are sorted at once, if their entries are of like size.
fn shares(about: &About, bytes: u64) -> Vec<RangeInclusive<u16>> {
    let counts = about.before.positions.iter().zip(&about.after.positions).map(|(from, to)| to - from);
    let total = counts.clone().sum::<u64>().max(1);
    let mut out: Vec<RangeInclusive<u16>> = Vec::new();
    let mut filled = u64::MAX;
    for (partition, count) in Partition::all().zip(counts) {
        let share =
            u64::try_from(u128::from(bytes) * u128::from(count) / u128::from(total)).unwrap_or(u64::MAX);
        filled = filled.saturating_add(share);
        match out.last_mut() {
            Some(last) if filled <= SORT_BYTES => *last = *last.start()..=partition.0,
            _ => {
                filled = share;
                out.push(partition.0..=partition.0);
            }
        }
    }
    out
}

/// A history file, open for reading.
pub(super) struct History<F: DiskFile> {
    pub(super) about: About,
    pub(super) sealed: Sealed<F>,
}

impl<F: DiskFile> History<F> {
    /// Opens a history file by its name; its header, footer and index are checked, its rows when they are read.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, folder: &Path, file_name: &str) -> Result<Self, Error> {
        let sealed = Sealed::open(disk, &folder.join(file_name), KIND)?;
        let about = About::decode(&sealed.about)
            .ok_or_else(|| sealed.damaged(0, "what it says about itself cannot be read"))?;
        if about.name() == file_name {
            Ok(Self { about, sealed })
        } else {
            Err(sealed.damaged(0, "the file's name is not the one in its header"))
        }
    }

    /// Returns whether it covers a position of a partition.
    pub(super) fn covers(&self, partition: Partition, n: u64) -> bool {
        let (before, after) = (&self.about.before.positions, &self.about.after.positions);
        before[partition.index()] < n && n <= after[partition.index()]
    }

    /// Returns the entry of a subject at a position; `None` when there is none here.
    pub(super) fn entry(&self, partition: Partition, subject: u64, n: u64) -> Result<Option<Entry>, Error> {
        let wanted = key(partition, subject, n);
        let Some(last) = self.sealed.block_of(&wanted) else { return Ok(None) };
        let subject_from = key(partition, subject, 0);
        let least = self.sealed.block_of(&subject_from).unwrap_or(0);
        // Rows of the subject from one whose link is known up to the one that is wanted.
        for first in (least..=last).rev() {
            let mut chain = Chain::default();
            let mut found = None;
            for block in first..=last {
                self.sealed.rows(block, &mut |key, value| {
                    if *key < subject_from[..] {
                        return Ok(true);
                    }
                    if *key > wanted[..] {
                        return Ok(false);
                    }
                    let entry = chain.next(self, key, value)?;
                    if *key == wanted[..] {
                        found = Some(entry);
                    }
                    Ok(true)
                })?;
            }
            match found {
                None => return Ok(None),
                Some(Some(entry)) => return Ok(Some(entry)),
                // Its link is that of a row in a block before.
                Some(None) => {}
            }
        }
        Err(self.damaged_at(&subject_from, "the first row of a subject continues one before it"))
    }

    /// Visits all entries by partition, subject and position, until `visit` returns false or fails.
    pub(super) fn each(&self, visit: &mut dyn FnMut(&Entry) -> Result<bool, Error>) -> Result<(), Error> {
        self.each_from(&[], visit)
    }

    /// Visits the entries that can be read in a damaged file, until `visit` fails.
    pub(super) fn each_readable(
        &self,
        visit: &mut dyn FnMut(&Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut chain = Chain::default();
        for block in 0..self.sealed.block_count() {
            let visited = self.sealed.rows(block, &mut |key, value| {
                match chain.next(self, key, value) {
                    Ok(Some(entry)) => visit(&entry)?,
                    // It continues one that cannot be read.
                    Ok(None) | Err(Error::SealedDamaged { .. }) => {}
                    Err(error) => return Err(error),
                }
                Ok(true)
            });
            match visited {
                Err(Error::SealedDamaged { .. } | Error::Io { what: "read", .. }) => chain = Chain::default(),
                visited => visited?,
            }
        }
        Ok(())
    }

    fn each_from(
        &self,
        from: &[u8],
        visit: &mut dyn FnMut(&Entry) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut chain = Chain::default();
        self.sealed.scan(from, &mut |key, value| match chain.next(self, key, value)? {
            Some(entry) => visit(&entry),
            None => Err(self.damaged_at(key, "the first row of a subject continues one before it")),
        })
    }

    fn damaged_at(&self, key: &[u8], reason: &str) -> Error {
        let block = self.sealed.block_of(key).unwrap_or(0);
        self.sealed.damaged(self.sealed.offset_of(block), reason)
    }

    /// Visits the entries of a partition by position from `from` on, until `visit` returns false or fails. They are
    /// sorted in memory.
    pub(super) fn by_position(
        &self,
        partition: Partition,
        from: u64,
        visit: &mut dyn FnMut(&Entry) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut entries = Vec::new();
        self.each_from(&key(partition, 0, 0), &mut |entry| {
            if entry.partition != partition {
                return Ok(false);
            }
            if entry.n >= from {
                entries.push(entry.clone());
            }
            Ok(true)
        })?;
        entries.sort_unstable_by_key(|entry| entry.n);
        for entry in &entries {
            if !visit(entry)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes the file anew without the `gone` entries that `is_gone` tells, under the next generation; returns its
    /// length.
    ///
    /// # Errors
    /// It cannot be read, or the new one not be written; nothing is left of that then.
    pub(super) fn rewrite<D: Disk<File = F>>(
        &self,
        disk: &Arc<D>,
        folder: &Path,
        (gone, is_gone): (u64, &dyn Fn(&Entry) -> bool),
        sealed: Moment,
        pace: &mut Pace<'_>,
    ) -> Result<(About, u64), Error> {
        let generation = self.about.generation.saturating_add(1);
        let gone = self.about.gone + gone;
        let about = About { generation, sealed, gone, ..self.about.clone() };
        let mut rows = Rows::begin(disk, folder, self.sealed.store, &about)?;
        self.each(&mut |entry| {
            if !is_gone(entry) {
                put_all(&mut rows, std::slice::from_ref(entry), pace)?;
            }
            Ok(true)
        })?;
        let length = rows.writer.finish()?;
        Ok((about, length))
    }
}

/// Writes a history file of entries that are given in the order of their keys; returns its length.
///
/// # Errors
/// `each` fails, or the file cannot be written; nothing is left of it then.
pub(super) fn write<D: Disk>(
    disk: &Arc<D>,
    folder: &Path,
    store: StoreId,
    about: &About,
    each: impl FnOnce(&mut dyn FnMut(&Entry) -> Result<(), Error>) -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut rows = Rows::begin(disk, folder, store, about)?;
    each(&mut |entry| rows.put(entry))?;
    rows.writer.finish()
}

/// Gives rows their links back.
#[derive(Default)]
struct Chain {
    /// Partition, subject and link of the row before, from the first row on whose link is known.
    known: Option<(Partition, u64, Link)>,
}

impl Chain {
    /// Returns the entry of the next row; `None` as long as rows continue one that was not seen.
    fn next<F: DiskFile>(
        &mut self,
        history: &History<F>,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Entry>, Error> {
        let decoded = self.decode(key, value);
        let decoded = decoded
            .filter(|entry| entry.as_ref().is_none_or(|entry| history.covers(entry.partition, entry.n)));
        let entry = decoded.ok_or_else(|| history.damaged_at(key, "a row is no entry"))?;
        if let Some(entry) = &entry {
            self.known = Some((entry.partition, entry.subject, entry.link()));
        }
        Ok(entry)
    }

    /// The outer `None` says that this is no entry, the inner that its link is not known.
    #[expect(clippy::option_option, reason = "it may be no entry, or one whose link is not known")]
    fn decode(&self, key: &[u8], value: &[u8]) -> Option<Option<Entry>> {
        let (partition, subject, n) = parse_key(key)?;
        let mut fields = Fields::new(value);
        let previous = match fields.take(1)? {
            [NO_LINK] => Some(Link::default()),
            [LINK_GIVEN] => Some(Link { n: fields.u64()?, hash: fields.array()? }),
            [LINK_BEFORE] => match self.known {
                Some((other, of, link)) if (other, of) == (partition, subject) => Some(link),
                Some(_) => return None,
                None => None,
            },
            _ => return None,
        };
        let payload = fields.take(fields.left())?;
        Some(previous.map(|previous| Entry::new(partition, n, subject, previous, payload.to_vec())))
    }
}
