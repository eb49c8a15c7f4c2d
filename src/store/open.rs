//! Opening a store: what is found, what is cut, and how the rows come to be those of the journal's end.
//!
//! Nothing is written to a segment of an earlier process, and its last good frame is not trusted. Everything that can
//! refuse an opening refuses it before anything is written.

use std::sync::Arc;

use super::anew::{Told, anew, catch_up, is_of_rows};
use super::aside::Aside;
use super::beside::{Beside, Seams, Strangers};
use super::chain::{Covered, Found, Listing, find_end};
use super::cut::find_in_copy;
use super::disk::{Disk, Lock};
use super::entry::StoreId;
use super::error::Error;
use super::follower::{Fold, Follower};
use super::frame::{FRAME_ALIGN_BYTES, FRAME_BYTES_MAX};
use super::identity::{FORMAT, FORMAT_OLDEST, Identity};
use super::journal::Journal;
use super::keeper::Keeper;
use super::marker::Marker;
use super::reader::JournalReader;
use super::segment::HEADER_BYTES;
use super::tables::{Meta, Tables};
use super::{Options, PlantedBug, identity};
use crate::id::Time;

pub(super) const JOURNAL_FOLDER: &str = "journal";
pub(super) const LOCK_NAME: &str = "lock";
/// Least size of the largest frame: enough for one command of an ordinary case.
const FRAME_BYTES_LEAST: u64 = 16 * 1024;
/// Greatest size of a segment.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What an opening cannot know by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The clock.
    pub now: Time,
    /// Identity for the store if it is new: random bytes.
    pub fresh_id: StoreId,
}

/// What an opening is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It looks how far a copy is whole.
    CheckCopies,
    /// It loads a snapshot.
    LoadSnapshot,
    /// It folds what no longer lies in the journal.
    FoldHistory,
    /// It folds the journal.
    FoldJournal,
}

/// How far something long has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is.
    pub work: Work,
    /// The frame just done.
    pub seq: u64,
    /// The last frame to do, as far as it is known.
    pub end_seq: u64,
}

/// What an opening found and did; each line is for the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Whether the store is new.
    pub is_new: bool,
    /// Frames folded.
    pub folded_frames: u64,
    /// Why the working environment was discarded, if it was.
    pub discarded: Option<String>,
    /// What a person should know, and may have to act on, one sentence each.
    pub warnings: Vec<String>,
    /// What else a person may want to know, one sentence each.
    pub notes: Vec<String>,
}

/// An open store.
pub struct Opened<D: Disk, T: Tables> {
    /// Where entries go; it keeps the state folder locked.
    pub journal: Journal<D>,
    /// Where rows come from; it has folded everything in the journal.
    pub follower: Follower<T>,
    /// Writes history and snapshots, and takes away what they replace.
    pub keeper: Keeper<D>,
    /// Remembers how this run ends.
    pub marker: Marker<D>,
    /// What was found and done.
    pub report: OpenReport,
}

/// Opens a store, or makes one where there is none.
///
/// # Errors
/// A journal that is damaged, or belongs to others: nothing was written then, and the page of the code says what
/// to do. Whatever is wrong with the working environment is not an error: it is made again from the journal.
pub fn open<D: Disk, T: Tables>(
    disk: Arc<D>,
    tables: Arc<T>,
    fold: Arc<dyn Fold>,
    options: &Options,
    start: Start,
    progress: &mut dyn FnMut(Progress),
) -> Result<Opened<D, T>, Error> {
    check_options(options)?;
    let lock = take_folders(&*disk, options)?;
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let mut report = OpenReport::default();
    let listing = Listing::read(&*disk, options)?;
    let beside = Beside::of_format(&*disk, options)?;
    let found = find(&*disk, &listing, &beside.covered(), options, &mut report, progress)?;
    let (marker, is_suspicious) = Marker::start(Arc::clone(&disk), options.cache_dir.clone());
    for name in &listing.temporary {
        // Left by an append or a preparation that did not come to its end; what stays is ignored again.
        let _ = disk.unlink(&folder.join(name));
    }
    let suspicion = is_suspicious.then(|| "two runs ended within a minute of starting".to_owned());
    let suspicion = suspicion.or(tables.begin()?);
    // One that cannot be read says nothing.
    if let (Some(found), Ok(Some(meta))) = (&found, tables.meta())
        && let Some(lost) = found.lost(&meta)
    {
        return Err(lost);
    }
    let mut opening = Opening { tables, fold, beside, suspicion, report, progress };
    let (mut journal, follower) = match found {
        Some(mut found) => {
            let wanted = Identity { store: found.store, format: found.format };
            let (seq, cut) = (found.end.seq, found.cut.take());
            let (made, strangers) = opening.go_on(&disk, options, &listing, found)?;
            // The new head is durable, and what is cut off void.
            let aside = Aside::new(options, start.now);
            if let Some(cut) = cut {
                aside.take(&*disk, JOURNAL_FOLDER, &cut.moved)?;
                opening.report.warnings.push(cut.told(seq, Some(&aside)));
            }
            opening.report.warnings.extend(strangers.move_aside(&*disk, &aside)?);
            // Only now is a segment surely durable; the file must never outlive the journal.
            identity::ensure(&*disk, options, wanted, &mut opening.report)?;
            made
        }
        None => opening.make(&disk, options, &listing, start)?,
    };
    journal.keep_lock(lock);
    let keeper = Keeper::new(disk, journal.reader(), options);
    Ok(Opened { journal, keeper, follower, marker, report: opening.report })
}

fn check_options(options: &Options) -> Result<(), Error> {
    let range = |name, found, least, most| {
        if (least..=most).contains(&found) {
            Ok(())
        } else {
            Err(Error::OptionRange { name, found, least, most })
        }
    };
    range("format_max", options.format_max.into(), FORMAT_OLDEST.into(), FORMAT.into())?;
    range("frame_bytes_max", options.frame_bytes_max as u64, FRAME_BYTES_LEAST, FRAME_BYTES_MAX as u64)?;
    let least = HEADER_BYTES + options.frame_bytes_max.next_multiple_of(FRAME_ALIGN_BYTES);
    range("segment_bytes", options.segment_bytes, least as u64, SEGMENT_BYTES_MAX)
}

/// Makes the folders where they are missing, and takes the lock.
pub(super) fn take_folders<D: Disk>(disk: &D, options: &Options) -> Result<Lock, Error> {
    let journal = options.state_dir.join(JOURNAL_FOLDER);
    for folder in [&journal, &options.cache_dir] {
        disk.create_folder(folder).map_err(Error::io("make the folder", folder))?;
    }
    disk.sync_folder(&options.state_dir).map_err(Error::io("sync", &options.state_dir))?;
    let path = options.state_dir.join(LOCK_NAME);
    let lock = disk.lock(&path).map_err(Error::io("lock", &path))?;
    lock.ok_or_else(|| Error::Locked { holder: disk.lock_holder(&path), path })
}

/// Finds the journal's end; `None` when there is no journal, and should be none.
pub(super) fn find<D: Disk>(
    disk: &D,
    listing: &Listing,
    covered: &Covered,
    options: &Options,
    report: &mut OpenReport,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Found>, Error> {
    // A later format comes before damage: what looks like damage may be what that format is about.
    if let Err(error @ Error::Format { .. }) = identity::read(disk, options) {
        return Err(error);
    }
    let Some(head) = listing.head(disk, options)? else {
        return match identity::read(disk, options)? {
            Some(_) => Err(Error::JournalMissing { path: options.state_dir.join(JOURNAL_FOLDER) }),
            None => Ok(None),
        };
    };
    let is_lenient = head.is_copy && options.planted != Some(PlantedBug::NoMercyForCopies);
    let mut found = if is_lenient {
        find_in_copy(disk, options, listing, covered, progress)?
    } else {
        find_end(disk, listing.chain(disk, options, covered, head.header.n)?)?
    };
    let (segments, copies) = (&found.segments, found.segments.iter().filter(|segment| segment.is_copy));
    let copies = copies.count();
    if copies > 0 {
        report.notes.push(format!("{copies} of {} journal segments are copies", segments.len()));
    }
    let format = identity::check(disk, options, found.store)?;
    found.format = found.format.max(format.unwrap_or_default());
    if found.is_torn {
        let seq = found.end.seq;
        report.notes.push(format!("an unfinished append behind frame {seq} was cut off"));
    }
    Ok(Some(found))
}

struct Opening<'a, T> {
    tables: Arc<T>,
    fold: Arc<dyn Fold>,
    beside: Beside,
    /// Why the environment is not to be believed, whatever it holds.
    suspicion: Option<String>,
    report: OpenReport,
    progress: &'a mut dyn FnMut(Progress),
}

impl<T: Tables> Opening<'_, T> {
    fn make<D: Disk>(
        &mut self,
        disk: &Arc<D>,
        options: &Options,
        listing: &Listing,
        start: Start,
    ) -> Result<(Journal<D>, Follower<T>), Error> {
        self.report.is_new = true;
        let store = start.fresh_id;
        let journal = Journal::make(disk, options, store, listing, start.now)?;
        let wanted = Identity { store, format: options.format_max };
        identity::ensure(&**disk, options, wanted, &mut self.report)?;
        self.tables.clear()?;
        let mut follower = self.follower(Meta::empty(store));
        follower.catch_up(&journal.reader(), &mut |_| {})?;
        Ok((journal, follower))
    }

    /// Folds up to the frame before the last, holds the last again, and then folds it too.
    #[expect(clippy::type_complexity, reason = "it is what an opening is made of, in one place")]
    fn go_on<D: Disk>(
        &mut self,
        disk: &Arc<D>,
        options: &Options,
        listing: &Listing,
        found: Found,
    ) -> Result<((Journal<D>, Follower<T>), Strangers), Error> {
        let ends = Ends { store: found.store, seq: found.end.seq, hash: found.end.hash };
        let seams = Seams::of(&found);
        let (mut journal, held) = Journal::before_last(disk, options, listing, found);
        let reader = journal.reader();
        let mut in_chain = |meta: &Meta| Ok(disbelief(meta, &reader, &ends)?.is_none());
        let strangers = self.beside.take_strangers(&seams, &mut in_chain)?;
        let bad = self.beside.bad.iter().map(|bad| format!("{} is left out: {}", bad.name, bad.error));
        self.report.warnings.extend(bad);
        let believed = self.believed(&reader, &ends)?.map(|meta| self.follower(meta));
        let follower = self.fold_to(&reader, &ends, believed)?;
        journal.hold(held)?;
        let follower = self.fold_to(&reader, &ends, Some(follower))?;
        Ok(((journal, follower), strangers))
    }

    fn follower(&self, meta: Meta) -> Follower<T> {
        Follower::new(Arc::clone(&self.tables), Arc::clone(&self.fold), meta)
    }

    /// Returns the environment's meta, if it is found in the journal's chain.
    fn believed<D: Disk>(&mut self, reader: &JournalReader<D>, ends: &Ends) -> Result<Option<Meta>, Error> {
        let reason = match (self.suspicion.take(), self.tables.meta()) {
            (Some(reason), _) => reason,
            (None, Err(error)) => error.to_string(),
            (None, Ok(None)) => "there is none".to_owned(),
            (None, Ok(Some(meta))) => match disbelief(&meta, reader, ends)? {
                None => return Ok(Some(meta)),
                Some(reason) => reason,
            },
        };
        self.report.discarded = Some(reason);
        Ok(None)
    }

    /// Folds what is durable; a bad environment is discarded, and none is made anew.
    fn fold_to<D: Disk>(
        &mut self,
        reader: &JournalReader<D>,
        ends: &Ends,
        believed: Option<Follower<T>>,
    ) -> Result<Follower<T>, Error> {
        let mut told = Told::new(self.progress);
        let mut wanted = None;
        if let Some(mut follower) = believed {
            match catch_up(&mut follower, reader, ends, &mut told) {
                Ok(()) => wanted = Some(follower),
                // A fold that fails over believed rows may fail because of them.
                Err(error) if is_of_rows(&error) && self.report.discarded.is_none() => {
                    self.report.discarded = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let parts = (Arc::clone(&self.tables), Arc::clone(&self.fold));
        let follower = match wanted {
            Some(follower) => follower,
            None => anew(parts, reader, ends, &self.beside, &mut told)?,
        };
        self.report.folded_frames += told.folded_frames;
        self.report.warnings.append(&mut told.warnings);
        self.report.notes.append(&mut told.notes);
        Ok(follower)
    }
}

/// The journal's last good frame, which is not yet held again.
pub(super) struct Ends {
    pub(super) store: StoreId,
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
}

/// Returns why an environment with this meta is not one of this journal.
pub(super) fn disbelief<D: Disk>(
    meta: &Meta,
    reader: &JournalReader<D>,
    ends: &Ends,
) -> Result<Option<String>, Error> {
    if meta.store != ends.store {
        return Ok(Some(format!("it belongs to store {}", meta.store)));
    }
    if meta.seq > ends.seq {
        return Ok(Some(format!(
            "it has folded frame {}, and the journal ends at frame {}",
            meta.seq, ends.seq
        )));
    }
    let before = reader.before();
    if meta.seq < before.0 {
        return Ok(Some(format!("its frame {} is no longer in the journal", meta.seq)));
    }
    let mut hash = if meta.seq == ends.seq { ends.hash } else { before.1 };
    if meta.seq > before.0 && meta.seq < ends.seq {
        reader.frames(meta.seq, &mut |frame| {
            hash = frame.hash;
            Ok(false)
        })?;
    }
    Ok((hash != meta.hash).then(|| format!("its frame {} is not the journal's", meta.seq)))
}
