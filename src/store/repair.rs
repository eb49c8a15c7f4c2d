//! Repair: cuts a damaged journal at the damage. Nothing is deleted; what is cut off is moved aside.
//!
//! The cut is a new head that holds the last good frame again, which makes void everything from there on; so it is
//! one durable step, and the moving aside after it may be interrupted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use super::chain::{Found, Listing, Walked, walk_all};
use super::disk::Disk;
use super::error::Error;
use super::identity;
use super::journal::Journal;
use super::open::{JOURNAL_FOLDER, take_folders};
use super::segment::{End, Segment};
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
/// can be kept is new when it is opened next.
///
/// # Errors
/// A disk that cannot be read or written, or a journal of another format: neither is damage.
pub fn repair<D: Disk>(disk: &Arc<D>, options: &Options, now: Time, act: Act) -> Result<RepairReport, Error> {
    let _lock = take_folders(&**disk, options)?;
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let aside = options.state_dir.join(format!("aside-{}", now.0));
    let listing = Listing::read(&**disk, &folder)?;
    let (kept, damage) = find_good(&**disk, options, &folder, &listing)?;
    let mut report =
        RepairReport { damage, kept_seq: 0, kept_time: Time::default(), moved: Vec::new(), aside };
    if report.damage.is_none() {
        return Ok(report);
    }
    let mut moved: Vec<String> = listing.names.values().cloned().collect();
    if let Some(found) = kept {
        (report.kept_seq, report.kept_time) = (found.end.seq, found.end.time);
        // The segments that hold a frame before the last one kept.
        let stay = |name: &String| {
            found.segments.iter().any(|segment| {
                segment.header.before.seq < found.before_last.seq && segment.path == folder.join(name)
            })
        };
        moved.retain(|name| !stay(name));
        if act == Act::Do {
            let (mut journal, held) = Journal::before_last(disk, options, &listing, found);
            journal.hold(held)?;
        }
    } else if act == Act::Do {
        identity::set_aside(&**disk, &options.state_dir, &report.aside)?;
    }
    report.moved = moved;
    if act == Act::Do {
        move_aside(&**disk, &folder, &report)?;
    }
    Ok(report)
}

fn move_aside<D: Disk>(disk: &D, folder: &Path, report: &RepairReport) -> Result<(), Error> {
    let aside = &report.aside;
    disk.create_folder(aside).map_err(Error::io("make the folder", aside))?;
    for name in &report.moved {
        disk.rename(&folder.join(name), &aside.join(name))
            .map_err(Error::io("move aside", folder.join(name)))?;
    }
    for touched in [aside.as_path(), folder] {
        disk.sync_folder(touched).map_err(Error::io("sync", touched))?;
    }
    Ok(())
}

/// Finds the longest good beginning of the journal, and what is wrong behind it.
fn find_good<D: Disk>(
    disk: &D,
    options: &Options,
    folder: &Path,
    listing: &Listing,
) -> Result<(Option<Found>, Option<Error>), Error> {
    let mut damage = None;
    if listing.names.is_empty() && identity::read(disk, &options.state_dir)?.is_some() {
        damage = Some(Error::JournalMissing { path: folder.to_owned() });
    }
    for &head_n in listing.names.keys().rev() {
        let found = listing.chain(disk, folder, head_n).and_then(|segments| walk_good(disk, segments));
        match found {
            Ok((found, error)) => {
                damage = damage.or(error);
                if found.is_some() {
                    return Ok((found, damage));
                }
            }
            Err(error) if error.is_of_journal() => damage = damage.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Ok((None, damage))
}

/// Walks as far as the frames are good; `None` when not even the first is.
fn walk_good<D: Disk>(disk: &D, segments: Vec<Segment>) -> Result<(Option<Found>, Option<Error>), Error> {
    let Some(store) = segments.first().map(|first| first.header.store) else { return Ok((None, None)) };
    let (mut before_last, mut end, mut last) = (End::start(), End::start(), Vec::new());
    let walked = walk_all(disk, &segments, &mut |_, bytes, after| {
        before_last = std::mem::replace(&mut end, after.clone());
        last.clear();
        last.extend_from_slice(bytes);
        Ok(())
    });
    let (walked, damage) = match walked {
        Ok(walked) => (walked, None),
        Err(error) if error.is_of_journal() => (Walked { end_offset: 0, is_torn: false }, Some(error)),
        Err(error) => return Err(error),
    };
    if end.seq == 0 {
        return Ok((None, damage));
    }
    let Walked { end_offset, is_torn } = walked;
    Ok((Some(Found { store, segments, before_last, last, end, end_offset, is_torn }), damage))
}
