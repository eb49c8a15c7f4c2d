//! Repair: mends what can be mended without loss, and cuts a damaged journal where nothing else helps. Nothing is
//! deleted; what is damaged or cut off is moved aside.
//!
//! Every byte of history and snapshots is read first. Damage in the journal that they make dispensable costs nothing:
//! the journal begins behind it. Otherwise the cut is a new head that holds the last good frame again, which makes void
//! everything from there on. A damaged snapshot is dispensable where another one, the working environment or history
//! leads to the rows; a damaged history file where another generation or the journal holds its entries. Otherwise what can
//! be read of it is written anew, which says how much is not. Each of these is one durable step, and the moving aside
//! after it may be interrupted. Start at [`repair`]; [`super::mend`] knows what is dispensable.

use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use super::aside::Aside;
use super::beside::{Beside, Depth};
use super::chain::{Found, Listing};
use super::cut::{Where, find_good, not_kept};
use super::disk::Disk;
use super::error::Error;
use super::history::HISTORY_FOLDER;
use super::identity::{self, FORMAT};
use super::journal::Journal;
use super::mend::{self, Replaced};
use super::open::{JOURNAL_FOLDER, take_folders};
use super::snapshot::SNAPSHOT_FOLDER;
use super::tables::{Meta, Tables};
use crate::id::Time;

/// Whether a repair is only told or also done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Says what would be done.
    Tell,
    /// Does it.
    Do,
}

/// What a repair does, or would do.
#[derive(Debug)]
pub struct RepairReport {
    /// What is wrong, with the journal first; when nothing is, nothing is done.
    pub damages: Vec<Error>,
    /// Whether the journal is cut: what was acknowledged after the last frame that stays is lost.
    pub is_cut: bool,
    /// The last frame that stays; 0 when nothing of the journal can be kept.
    pub kept_seq: u64,
    /// The time of that frame.
    pub kept_time: Time,
    /// What else is lost, one sentence each.
    pub lost: Vec<String>,
    /// The files that are moved aside.
    pub moved: Vec<String>,
    /// The folder that they are moved to.
    pub aside: PathBuf,
}

/// Repairs a store; the service must not run. A store of which nothing can be kept is new when it is opened next. The
/// working environment, if there is one, is emptied after a cut: it may hold what is cut off.
///
/// # Errors
/// A disk that cannot be read or written, or a journal of another format: neither is damage. And what no repair gives
/// up: history or snapshots for a journal of which nothing is good, and the only files that lead to the rows.
pub fn repair<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    tables: Option<&dyn Tables>,
    now: Time,
    act: Act,
) -> Result<RepairReport, Error> {
    let _lock = take_folders(&**disk, options)?;
    let aside = Aside::new(options, now);
    let listing = Listing::read(&**disk, options)?;
    let mut beside = match options.format_max {
        FORMAT.. => Beside::read(&**disk, &options.state_dir, Depth::Whole)?,
        _ => Beside::default(),
    };
    // An environment that cannot be read says nothing of what was lost.
    let folded = tables.and_then(|tables| tables.meta().ok().flatten());
    let plan = plan(disk, options, &listing, &beside, folded.as_ref())?;
    let Plan { kept, damage, is_cut, journal, replaced } = plan;
    let bad = std::mem::take(&mut beside.bad);
    let files = bad.iter().map(|bad| format!("{}/{}", bad.folder, bad.name));
    let segments = journal.iter().map(|name| format!("{JOURNAL_FOLDER}/{name}"));
    let (kept_seq, kept_time) =
        kept.as_ref().map_or((0, Time::default()), |kept| (kept.end.seq, kept.end.time));
    let moved = segments.chain(files).collect();
    let lost = replaced.iter().map(Replaced::told).collect();
    if act == Act::Do && (damage.is_some() || !bad.is_empty()) {
        let store = kept.as_ref().map(|kept| kept.store);
        match kept {
            Some(found) if is_cut => {
                let (mut journal, held) = Journal::before_last(disk, options, &listing, found);
                journal.hold(held)?;
            }
            None => aside.take(&**disk, "", &[identity::NAME.to_owned()])?,
            Some(_) => {}
        }
        for (replaced, store) in replaced.iter().zip(store.into_iter().cycle()) {
            replaced.write(disk, options, store)?;
        }
        aside.take(&**disk, JOURNAL_FOLDER, &journal)?;
        for folder in [HISTORY_FOLDER, SNAPSHOT_FOLDER] {
            let names: Vec<_> =
                bad.iter().filter(|bad| bad.folder == folder).map(|bad| bad.name.clone()).collect();
            aside.take(&**disk, folder, &names)?;
        }
        if is_cut {
            // Last: without it nothing tells any more that frames are missing.
            tables.map_or(Ok(()), Tables::clear)?;
        }
    }
    let damages = damage.into_iter().chain(bad.into_iter().map(|bad| bad.error)).collect();
    Ok(RepairReport { damages, is_cut, kept_seq, kept_time, lost, moved, aside: aside.path })
}

/// What is to be done.
struct Plan {
    /// The journal that stays.
    kept: Option<Found>,
    /// What is wrong with the journal.
    damage: Option<Error>,
    is_cut: bool,
    /// Segments that are moved aside.
    journal: Vec<String>,
    /// History files that are written anew in the place of damaged ones.
    replaced: Vec<Replaced>,
}

fn plan<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    listing: &Listing,
    beside: &Beside,
    folded: Option<&Meta>,
) -> Result<Plan, Error> {
    let mut plan = match mend::spare(disk, options, listing, beside, folded)? {
        Some(spared) => {
            let (kept, damage) = (Some(spared.found), Some(spared.damage));
            Plan { kept, damage, is_cut: false, journal: spared.names, replaced: Vec::new() }
        }
        None => cut(&**disk, options, listing, beside, folded)?,
    };
    let Some(kept) = &plan.kept else { return Ok(plan) };
    if !beside.bad.is_empty() {
        let first = kept.segments.first().map(|first| first.header.before.clone());
        let before = first.unwrap_or_else(|| kept.before_last.clone());
        plan.replaced = mend::replaced(&**disk, options, beside, &before)?;
        // Only then does anything hang on other files.
        if !plan.is_cut && !mend::leads(disk, options, kept, beside, folded)? {
            let path = options.state_dir.join(SNAPSHOT_FOLDER);
            return Err(Error::RowsLost { path, until: before.seq });
        }
    }
    Ok(plan)
}

/// Finds the longest good beginning of the journal, and what is wrong behind it.
fn cut<D: Disk>(
    disk: &D,
    options: &Options,
    listing: &Listing,
    beside: &Beside,
    folded: Option<&Meta>,
) -> Result<Plan, Error> {
    let named = match identity::read(disk, options) {
        Err(Error::Damaged { .. }) if !listing.names.is_empty() => None,
        named => named?,
    };
    if listing.names.is_empty() && named.is_some() {
        let damage = Some(Error::JournalMissing { path: options.state_dir.join(JOURNAL_FOLDER) });
        return Ok(Plan { kept: None, damage, is_cut: true, journal: Vec::new(), replaced: Vec::new() });
    }
    let covered = beside.covered();
    let found = find_good(disk, options, listing, &covered, Where::Anywhere, &mut |_| {})?;
    let (mut kept, damage) = match found {
        // The segments are good as far as they go: what came before them is to be put back, not all of it given up.
        (None, Some(error @ Error::SegmentMissing { .. })) if !beside.is_empty() => return Err(error),
        (None, Some(error)) if !beside.is_empty() => {
            return Err(Error::NothingKept { state_dir: options.state_dir.clone(), source: Box::new(error) });
        }
        found => found,
    };
    if let (Some(found), Some(named)) = (&mut kept, named) {
        found.format = found.format.max(named.format);
    }
    let lost = || kept.as_ref().zip(folded).and_then(|(kept, folded)| kept.lost(folded));
    let damage = damage.or_else(lost);
    let is_cut = damage.is_some();
    let journal = match &kept {
        Some(kept) if is_cut => not_kept(options, listing, kept),
        None if is_cut => listing.names.values().cloned().collect(),
        _ => Vec::new(),
    };
    Ok(Plan { kept, damage, is_cut, journal, replaced: Vec::new() })
}
