//! What a repair can do without: damage in the journal that history and rows make dispensable, and what is left of a
//! damaged history file. Changes nothing but by [`Replaced::write`].

use std::path::Path;
use std::sync::Arc;

use super::Options;
use super::beside::Beside;
use super::chain::{Found, Listing};
use super::cut::{Where, walk_good};
use super::disk::Disk;
use super::entry::{Entry, StoreId};
use super::error::Error;
use super::history::{self, About, HISTORY_FOLDER, History};
use super::open::{Ends, JOURNAL_FOLDER, disbelief};
use super::reader::{JournalReader, Shared};
use super::sealed::Moment;
use super::segment::{End, parse_name};
use super::tables::Meta;

/// A journal that begins behind its damage.
pub(super) struct Spared {
    pub(super) found: Found,
    pub(super) damage: Error,
    /// Names of the segments that it does without.
    pub(super) names: Vec<String>,
}

/// Finds out whether the journal is good behind its damage, and whole history and rows lead there; `None` when nothing is
/// damaged, or the damage is not dispensable.
pub(super) fn spare<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    listing: &Listing,
    beside: &Beside,
    folded: Option<&Meta>,
) -> Result<Option<Spared>, Error> {
    let mut segments = Vec::new();
    let followed =
        listing.follow_back(&**disk, options, &beside.covered(), listing.highest_n(), &mut segments);
    segments.reverse();
    let mut damage = match followed {
        Ok(()) => None,
        Err(error) if error.is_of_journal() => Some(error),
        Err(error) => return Err(error),
    };
    // Ends: each turn leaves segments out.
    let found = loop {
        let (found, bad) = walk_good(&**disk, segments.clone(), Where::Anywhere, &mut |_| {})?;
        let Some(bad) = bad else { break found };
        let place = place_of(&bad).and_then(|path| segments.iter().position(|segment| segment.path == path));
        // The head is covered by nothing.
        let Some(place) = place.filter(|place| place + 1 < segments.len()) else { return Ok(None) };
        segments.drain(..=place);
        damage.get_or_insert(bad);
    };
    let (Some(found), Some(damage)) = (found, damage) else { return Ok(None) };
    let Some(first) = found.segments.first() else { return Ok(None) };
    let without: Vec<_> = listing.names.range(..first.header.n).map(|(_, name)| name.clone()).collect();
    let firsts = without.iter().filter_map(|name| parse_name(name)).map(|(first_seq, _)| first_seq);
    let before = &first.header.before;
    // What came before them is where it was.
    let from = firsts.min().unwrap_or(1);
    let is_covered = beside.covered().reaches(before) && beside.holds(from, before);
    let is_dispensable = is_covered && leads(disk, options, &found, beside, folded)?;
    Ok(is_dispensable.then_some(Spared { found, damage, names: without }))
}

fn place_of(error: &Error) -> Option<&Path> {
    match error {
        Error::Damaged { path, .. } | Error::DamagedCopy { path, .. } => Some(path),
        _ => None,
    }
}

/// Tells whether the rows can be had: the journal has all frames, or the working environment or a snapshot is of one
/// that it has, or history holds what it does not.
pub(super) fn leads<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    kept: &Found,
    beside: &Beside,
    folded: Option<&Meta>,
) -> Result<bool, Error> {
    let ends = Ends { store: kept.store, seq: kept.end.seq, hash: kept.end.hash };
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let (segments, end) = (kept.segments.clone(), kept.end.clone());
    let shared = Shared::new(Arc::clone(disk), folder, segments, end, kept.format);
    let reader = JournalReader::new(Arc::new(shared));
    for meta in beside.snapshots.values().chain(folded) {
        if disbelief(meta, &reader, &ends)?.is_none() {
            return Ok(true);
        }
    }
    Ok(kept.segments.first().is_none_or(|first| beside.holds(1, &first.header.before)))
}

/// A history file that is written anew in the place of a damaged one, with what can be read of it.
pub(super) struct Replaced {
    about: About,
    /// The damaged file, if it can be opened.
    name: Option<String>,
}

impl Replaced {
    /// Says what is lost.
    pub(super) fn told(&self) -> String {
        let About { before, after, lost, .. } = &self.about;
        format!(
            "the history of frames {} to {} is damaged: {lost} of {} entries cannot be read; what their cases came to \
             is kept, and how is not",
            before.seq + 1,
            after.seq,
            count(before, after)
        )
    }

    /// Writes it.
    pub(super) fn write<D: Disk>(
        &self,
        disk: &Arc<D>,
        options: &Options,
        store: StoreId,
    ) -> Result<(), Error> {
        let folder = options.state_dir.join(HISTORY_FOLDER);
        let each =
            |put: &mut dyn FnMut(&Entry) -> Result<(), Error>| self.each_readable(&**disk, &folder, put);
        history::write(disk, &folder, store, &self.about, each).map(|_| ())
    }

    /// Visits what can be read of the damaged file, in the order of keys, each entry once.
    fn each_readable<D: Disk>(
        &self,
        disk: &D,
        folder: &Path,
        visit: &mut dyn FnMut(&Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(name) = &self.name else { return Ok(()) };
        let history = History::open(disk, folder, name)?;
        let (before, after) = (&self.about.before.positions, &self.about.after.positions);
        let mut last = None;
        history.each_readable(&mut |entry| {
            let at = entry.partition.index();
            let key = (entry.partition, entry.subject, entry.n);
            if entry.n <= before[at] || entry.n > after[at] || last.is_some_and(|last| key <= last) {
                return Ok(());
            }
            last = Some(key);
            visit(entry)
        })
    }
}

/// Returns what is to be written in the place of damaged history whose frames are no longer in a journal that begins
/// behind `journal`.
///
/// # Errors
/// Nobody knows which frames a damaged file held, because those before it are missing too.
pub(super) fn replaced<D: Disk>(
    disk: &D,
    options: &Options,
    beside: &Beside,
    journal: &End,
) -> Result<Vec<Replaced>, Error> {
    let folder = options.state_dir.join(HISTORY_FOLDER);
    let mut out: Vec<Replaced> = Vec::new();
    let mut end = End::start();
    for (&first_seq, file) in beside.history.range(..=journal.seq) {
        if let Some(file) = file {
            end = file.about.after.clone();
            continue;
        }
        if first_seq <= end.seq {
            // The one before takes its place too.
            continue;
        }
        if first_seq != end.seq + 1 {
            return Err(Error::HistoryMissing { path: folder, seq: end.seq + 1, until: first_seq - 1 });
        }
        let opened = open(disk, &folder, beside, first_seq);
        let after = match &opened {
            Some(file) => Some(file.about.after.clone()),
            None => begin_of_next(disk, &folder, beside, first_seq),
        };
        let after = after.filter(|after| after.seq <= journal.seq).unwrap_or_else(|| journal.clone());
        let highest = beside.names_of(first_seq).last().and_then(|name| history::parse_name(name));
        let generation = highest.map_or(1, |(_, generation)| generation.saturating_add(1));
        let sealed = Moment { boot: [0; 16], us: 0 };
        // What was left out on purpose is not lost.
        let gone = opened.as_ref().map_or(0, |file| file.about.gone);
        let about = About { generation, before: end, after: after.clone(), sealed, lost: 0, gone };
        let mut replaced = Replaced { about, name: opened.map(|file| file.about.name()) };
        let mut found = 0;
        replaced.each_readable(disk, &folder, &mut |_| {
            found += 1;
            Ok(())
        })?;
        let about = &mut replaced.about;
        about.lost = count(&about.before, &about.after).saturating_sub(found + gone);
        out.push(replaced);
        end = after;
    }
    Ok(out)
}

/// Opens the damaged history file that begins with a frame, if its header can be read.
fn open<D: Disk>(disk: &D, folder: &Path, beside: &Beside, first_seq: u64) -> Option<History<D::File>> {
    beside.names_of(first_seq).iter().rev().find_map(|name| History::open(disk, folder, name).ok())
}

/// Returns the end that the next history file continues whose header can be read.
fn begin_of_next<D: Disk>(disk: &D, folder: &Path, beside: &Beside, first_seq: u64) -> Option<End> {
    beside.history.range(first_seq + 1..).find_map(|(&next, file)| match file {
        Some(file) => Some(file.about.before.clone()),
        None => open(disk, folder, beside, next).map(|file| file.about.before),
    })
}

fn count(before: &End, after: &End) -> u64 {
    let pairs = after.positions.iter().zip(&before.positions);
    pairs.map(|(after, before)| after.saturating_sub(*before)).sum()
}
