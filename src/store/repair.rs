//! Repair: cuts a damaged journal at the damage. Nothing is deleted; what is cut off is moved aside.
//!
//! The cut is a new head that holds the last good frame again, which makes void everything from there on; so it is
//! one durable step, and the moving aside after it may be interrupted.

use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use super::aside::Aside;
use super::beside::Beside;
use super::chain::{Found, Listing};
use super::cut::{Where, find_good, not_kept};
use super::disk::Disk;
use super::error::Error;
use super::identity;
use super::journal::Journal;
use super::open::{JOURNAL_FOLDER, take_folders};
use super::tables::Tables;
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
    /// What is wrong; `None` when nothing is, and nothing is done.
    pub damage: Option<Error>,
    /// The last frame that stays; 0 when nothing of the journal can be kept.
    pub kept_seq: u64,
    /// The time of that frame.
    pub kept_time: Time,
    /// The files that are moved aside.
    pub moved: Vec<String>,
    /// The folder that they are moved to.
    pub aside: PathBuf,
}

/// Cuts a damaged journal at the damage and moves the rest aside; the service must not run. A store of which nothing
/// can be kept is new when it is opened next. The working environment, if there is one, is emptied after a cut: it may
/// hold what is cut off.
///
/// # Errors
/// A disk that cannot be read or written, or a journal of another format: neither is damage. And a journal of which
/// nothing is good while history or snapshots hold what was before: that is not all given up for it.
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
    let (kept, damage) = find(&**disk, options, &listing)?;
    // One that cannot be read says nothing of what was lost.
    let folded = tables.and_then(|tables| tables.meta().ok().flatten());
    let lost = || kept.as_ref().zip(folded.as_ref()).and_then(|(kept, folded)| kept.lost(folded));
    let damage = damage.or_else(lost);
    let mut report = RepairReport {
        damage,
        kept_seq: 0,
        kept_time: Time::default(),
        moved: Vec::new(),
        aside: aside.path.clone(),
    };
    if report.damage.is_none() {
        return Ok(report);
    }
    let moved: Vec<String>;
    if let Some(found) = kept {
        (report.kept_seq, report.kept_time) = (found.end.seq, found.end.time);
        moved = not_kept(options, &listing, &found);
        if act == Act::Do {
            let (mut journal, held) = Journal::before_last(disk, options, &listing, found);
            journal.hold(held)?;
        }
    } else {
        moved = listing.names.values().cloned().collect();
        if act == Act::Do {
            aside.take(&**disk, "", &[identity::NAME.to_owned()])?;
        }
    }
    if act == Act::Do {
        aside.take(&**disk, JOURNAL_FOLDER, &moved)?;
        // Last: without it nothing tells any more that frames are missing.
        tables.map_or(Ok(()), Tables::clear)?;
    }
    report.moved = moved.iter().map(|name| format!("{JOURNAL_FOLDER}/{name}")).collect();
    Ok(report)
}

/// Finds the longest good beginning of the journal, and what is wrong behind it.
fn find<D: Disk>(
    disk: &D,
    options: &Options,
    listing: &Listing,
) -> Result<(Option<Found>, Option<Error>), Error> {
    let named = match identity::read(disk, options) {
        Err(Error::Damaged { .. }) if !listing.names.is_empty() => None,
        named => named?,
    };
    if listing.names.is_empty() && named.is_some() {
        let path = options.state_dir.join(JOURNAL_FOLDER);
        return Ok((None, Some(Error::JournalMissing { path })));
    }
    let beside = Beside::of_format(disk, options)?;
    let covered = beside.covered();
    let found = find_good(disk, options, listing, &covered, Where::Anywhere, &mut |_| {})?;
    let (mut found, damage) = match found {
        // The segments are good as far as they go: what came before them is to be put back, not all of it given up.
        (None, Some(error @ Error::SegmentMissing { .. })) if !beside.is_empty() => return Err(error),
        (None, Some(error)) if !beside.is_empty() => {
            return Err(Error::NothingKept { state_dir: options.state_dir.clone(), source: Box::new(error) });
        }
        found => found,
    };
    if let (Some(found), Some(named)) = (&mut found, named) {
        found.format = found.format.max(named.format);
    }
    Ok((found, damage))
}
