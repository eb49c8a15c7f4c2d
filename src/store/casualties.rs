//! Whom damage concerns: the subjects that have lost an entry, and those that go on behind the damage.
//!
//! Everything that can still be read is read, wherever it lies: in history, block by block, and in segments, frame by
//! frame, also behind what is bad there. A position that nothing readable holds is lost. Whose it was follows from the
//! next entry of the same subject, which names it, or from the subject's row; so nobody's word is needed for what the
//! lost bytes said. Nothing is written, and positions are kept as bits, so that it takes little memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::Options;
use super::beside::{Beside, Depth};
use super::bytes::Fields;
use super::chain::Listing;
use super::cut::{Where, find_good};
use super::disk::{Disk, DiskFile, Stamp};
use super::entry::{Entry, Positions, StoreId};
use super::error::Error;
use super::frame::Tag;
use super::history::{self, HISTORY_FOLDER, History};
use super::identity;
use super::open::JOURNAL_FOLDER;
use super::segment::{End, HEADER_BYTES, Header, Segment, parse_name, readable, tag};
use crate::id::{PARTITION_COUNT, Partition};

/// What a subject has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// It goes on behind the damage of the journal: it is whole, and a repair cuts off what lies there.
    Behind,
    /// One of its entries cannot be read any longer.
    Entry,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Behind => "it goes on behind the damage of the journal, where a repair cuts it off",
            Self::Entry => "a part of its history cannot be read any longer",
        })
    }
}

/// Whom damage concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Casualties {
    /// Subjects, in order.
    pub subjects: BTreeMap<u64, Loss>,
    /// Entries that cannot be read any longer, of whatever subject.
    pub lost_entries: u64,
    /// Whether all subjects that lost an entry are known; otherwise others may be among them.
    pub is_complete: bool,
    /// Whether the journal is damaged, so that an opening refuses.
    pub is_journal_damaged: bool,
}

/// Tells the subjects that rows know, each with the position of its last entry.
pub type Lasts<'a> = dyn FnMut(&mut dyn FnMut(u64, u64)) + 'a;

/// Finds whom damage concerns. `lasts` visits rows that hold all entries up to `rows_at`, if there are any.
///
/// # Errors
/// The folders cannot be read.
pub fn casualties<D: Disk>(
    disk: &D,
    options: &Options,
    rows_at: Option<&Positions>,
    lasts: &mut Lasts<'_>,
) -> Result<Casualties, Error> {
    let wreck = Wreck::survey(disk, options)?;
    let mut found = Found::default();
    for (place, end) in wreck.ends.iter().enumerate() {
        found.reach(place, *end);
    }
    for (place, end) in rows_at.into_iter().flatten().enumerate() {
        found.reach(place, *end);
    }
    wreck.each(disk, &mut |entry| found.add(entry))?;
    for about in &wreck.whole {
        for place in 0..PARTITION_COUNT {
            found.cover(place, about.before.positions[place], about.after.positions[place]);
        }
    }
    let mut out = Casualties {
        lost_entries: found.lost(),
        is_journal_damaged: wreck.is_journal_damaged,
        is_complete: true,
        ..Casualties::default()
    };
    if out.lost_entries == 0 && !wreck.is_journal_damaged {
        return Ok(out);
    }
    let good = &wreck.good;
    let subjects = &mut out.subjects;
    let mut note = |subject: u64, loss: Loss| {
        if subject != 0 {
            let known = subjects.entry(subject).or_insert(loss);
            *known = (*known).max(loss);
        }
    };
    wreck.each(disk, &mut |entry| {
        let place = entry.partition.index();
        if entry.previous.n != 0 && found.is_lost(place, entry.previous.n) {
            note(entry.subject, Loss::Entry);
        } else if wreck.is_journal_damaged && entry.n > good[place] {
            note(entry.subject, Loss::Behind);
        }
    })?;
    lasts(&mut |subject, last_n| {
        let place = crate::id::CaseId(subject).partition().index();
        if found.is_lost(place, last_n) {
            note(subject, Loss::Entry);
        } else if wreck.is_journal_damaged && last_n > good[place] {
            note(subject, Loss::Behind);
        }
    });
    out.is_complete = Partition::all().all(|partition| {
        let place = partition.index();
        let last = found.last_lost(place);
        last == 0 || rows_at.is_some_and(|positions| positions[place] >= last)
    });
    Ok(out)
}

/// What can be read of a store, whatever is wrong with it.
struct Wreck {
    state_dir: std::path::PathBuf,
    segments: Vec<Salvaged>,
    /// Names of all history files.
    histories: Vec<String>,
    /// What whole history files say about themselves: what they do not hold was taken out on purpose.
    whole: Vec<history::About>,
    /// Positions that there were, as files say that can be read.
    ends: Positions,
    /// Positions up to which the journal is good from its beginning.
    good: Positions,
    is_journal_damaged: bool,
}

/// A segment whose frames can be looked for.
struct Salvaged {
    segment: Segment,
    /// The first frame that a later segment holds: from there on this one is void.
    void_from: u64,
}

impl Wreck {
    fn survey<D: Disk>(disk: &D, options: &Options) -> Result<Self, Error> {
        let beside = Beside::read(disk, &options.state_dir, Depth::Whole)?;
        let listing = Listing::read(disk, options).or_else(|error| match error {
            Error::Damaged { .. } => Ok(Listing::default()),
            error => Err(error),
        })?;
        let found = find_good(disk, options, &listing, &beside.covered(), Where::Anywhere, &mut |_| {});
        let (good, is_journal_damaged) = match found {
            Ok((good, damage)) => (good, damage.is_some()),
            Err(error) if is_unreadable(&error) => return Err(error),
            Err(_) => (None, true),
        };
        let mut ends = [0; PARTITION_COUNT];
        let mut reach =
            |end: &Positions| ends.iter_mut().zip(end).for_each(|(most, n)| *most = (*most).max(*n));
        let whole: Vec<_> = beside.history.values().flatten().map(|file| file.about.clone()).collect();
        for about in &whole {
            reach(&about.after.positions);
        }
        beside.snapshots.values().for_each(|meta| reach(&meta.positions));
        let whole: Vec<_> = whole.into_iter().filter(|about| about.lost == 0).collect();
        let store = store_of(disk, options, good.as_ref().map(|found| found.store));
        let segments = salvage(disk, options, &listing, store);
        for salvaged in &segments {
            reach(&salvaged.segment.header.before.positions);
        }
        let mut histories = Vec::new();
        for (first_seq, generations) in history::list(disk, &options.state_dir.join(HISTORY_FOLDER))? {
            histories.extend(generations.into_iter().map(|generation| history::name(first_seq, generation)));
        }
        let good = good.map_or([0; PARTITION_COUNT], |found| found.end.positions);
        let state_dir = options.state_dir.clone();
        Ok(Self { state_dir, segments, histories, whole, ends, good, is_journal_damaged })
    }

    /// Visits every entry that can be read, some more than once.
    fn each<D: Disk>(&self, disk: &D, visit: &mut dyn FnMut(&Entry)) -> Result<(), Error> {
        let folder = self.state_dir.join(HISTORY_FOLDER);
        for name in &self.histories {
            // One whose index cannot be read tells nothing.
            let Ok(file) = History::open(disk, &folder, name) else { continue };
            file.each_readable(&mut |entry| {
                visit(entry);
                Ok(())
            })?;
        }
        for salvaged in &self.segments {
            salvaged.each(disk, visit);
        }
        Ok(())
    }
}

fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Format { .. } | Error::TooManySegments { .. })
}

fn store_of<D: Disk>(disk: &D, options: &Options, good: Option<StoreId>) -> Option<StoreId> {
    good.or_else(|| identity::read(disk, options).ok().flatten().map(|found| found.store))
}

/// Returns the segments in which frames can be looked for; those of another store are none.
fn salvage<D: Disk>(disk: &D, options: &Options, listing: &Listing, store: Option<StoreId>) -> Vec<Salvaged> {
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let names = listing.names.values();
    let found = names
        .filter_map(|name| Segment::open(disk, name, options).ok().or_else(|| guess(disk, &folder, name)));
    let mut segments: Vec<Segment> = found
        .filter(|segment| store.is_none_or(|store| [store, NOBODYS].contains(&segment.header.store)))
        .collect();
    segments.sort_by_key(|segment| segment.header.n);
    let mut void_from = u64::MAX;
    let mut out: Vec<Salvaged> = segments
        .into_iter()
        .rev()
        .map(|segment| {
            let own = void_from;
            void_from = void_from.min(segment.header.first_seq());
            Salvaged { segment, void_from: own }
        })
        .collect();
    out.reverse();
    out
}

/// The store of a segment whose header cannot be read.
const NOBODYS: StoreId = StoreId([0; 16]);

/// Returns a segment whose header cannot be read, as its name and its first frame tell.
fn guess<D: Disk>(disk: &D, folder: &Path, name: &str) -> Option<Segment> {
    let (first_seq, n) = parse_name(name)?;
    let path = folder.join(name);
    let file = disk.open(&path).ok()?;
    if let Some((header, tag)) = header_of(&file) {
        // Another file has its name.
        return Some(Segment { path, header, tag, is_copy: false, is_fresh_copy: false });
    }
    let mut bytes = [0; 8];
    let count = file.read_at(HEADER_BYTES as u64, &mut bytes).ok()?;
    let tag = Fields::new(&bytes[..count]).array().filter(|tag| *tag != [0; 8])?;
    let before = End { seq: first_seq.saturating_sub(1), ..End::start() };
    let stamp = Stamp { inode: 0, born_ns: 0 };
    let header = Header { format: 0, store: NOBODYS, n, before_n: 0, before, stamp };
    Some(Segment { path, header, tag, is_copy: false, is_fresh_copy: false })
}

fn header_of<F: DiskFile>(file: &F) -> Option<(Header, Tag)> {
    let mut bytes = vec![0; HEADER_BYTES];
    let count = file.read_at(0, &mut bytes).ok()?;
    let (covered, checksum) = bytes.split_at(HEADER_BYTES - 4);
    let is_good = count == HEADER_BYTES && crc32c::crc32c(covered).to_le_bytes() == *checksum;
    is_good.then(|| Header::decode(&bytes)).flatten().map(|header| (header, tag(&bytes)))
}

impl Salvaged {
    /// Visits the entries of every frame that can be read, also behind those that cannot.
    fn each<D: Disk>(&self, disk: &D, visit: &mut dyn FnMut(&Entry)) {
        let Ok(file) = disk.open(&self.segment.path) else { return };
        // Behind what the disk does not give nothing is found.
        drop(readable(&self.segment, &file, &mut |_, frame| {
            if frame.seq < self.void_from {
                frame.entries.iter().for_each(&mut *visit);
            }
        }));
    }
}

/// Positions that were found, a bit each, by partition.
struct Found {
    bits: Vec<Vec<u64>>,
    ends: Positions,
}

impl Default for Found {
    fn default() -> Self {
        Self { bits: vec![Vec::new(); PARTITION_COUNT], ends: [0; PARTITION_COUNT] }
    }
}

impl Found {
    fn reach(&mut self, place: usize, n: u64) {
        self.ends[place] = self.ends[place].max(n);
    }

    fn add(&mut self, entry: &Entry) {
        let place = entry.partition.index();
        self.reach(place, entry.n);
        self.reach(place, entry.previous.n);
        self.set(place, entry.n);
    }

    /// Takes all positions behind `from` up to `to` as found.
    fn cover(&mut self, place: usize, from: u64, to: u64) {
        (from + 1..=to).for_each(|n| self.set(place, n));
    }

    fn set(&mut self, place: usize, n: u64) {
        let (word, bit) = Self::at(n);
        let bits = &mut self.bits[place];
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << bit;
    }

    fn at(n: u64) -> (usize, u64) {
        (usize::try_from(n / 64).expect("invariant: positions are read from files that fit the disk"), n % 64)
    }

    fn is_lost(&self, place: usize, n: u64) -> bool {
        let (word, bit) = Self::at(n);
        n != 0 && n <= self.ends[place] && self.bits[place].get(word).is_none_or(|bits| bits >> bit & 1 == 0)
    }

    fn lost(&self) -> u64 {
        let found = |bits: &Vec<u64>| bits.iter().map(|bits| u64::from(bits.count_ones())).sum::<u64>();
        self.ends.iter().zip(&self.bits).map(|(end, bits)| end.saturating_sub(found(bits))).sum()
    }

    /// Returns the last position of a partition that is lost; 0 when none is.
    fn last_lost(&self, place: usize) -> u64 {
        (1..=self.ends[place]).rev().find(|n| self.is_lost(place, *n)).unwrap_or(0)
    }
}
