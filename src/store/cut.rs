//! How far a journal is good, and what lies behind: for repair, and for an opening of a copy.
//!
//! A copy that was made file by file while work went on may hold zeros, and frames behind them, and may miss segments:
//! all of it younger than the copying. So while the newest segment is a copy and every segment after the place is one
//! too, what lies behind the first bad or missing frame is left out, and an opening moves it aside. The new head, which
//! holds the last good frame again, makes it void, in one durable step; with that head behind it, damage is damage.

use std::collections::BTreeSet;

use super::Options;
use super::aside::Aside;
use super::chain::{Covered, Found, Listing, Walked, format_of, walk_all};
use super::disk::Disk;
use super::error::Error;
use super::open::{JOURNAL_FOLDER, Progress, Work};
use super::segment::Segment;

/// What is left out behind the end of a journal.
#[derive(Debug)]
pub(super) struct Cut {
    /// What is wrong there.
    pub(super) damage: Error,
    /// Names of the segments that hold nothing before it, or nothing that counts.
    pub(super) moved: Vec<String>,
}

impl Cut {
    /// Says what was cut off, and where it lies; nothing was moved when only looking.
    pub(super) fn told(&self, kept_seq: u64, aside: Option<&Aside>) -> String {
        let Self { damage, moved } = self;
        let place = match aside {
            Some(aside) if !moved.is_empty() => {
                format!("; segments that held nothing else lie in {} now", aside.path.display())
            }
            _ => String::new(),
        };
        format!("the journal goes on from frame {kept_seq}, and nothing behind it is kept: {damage}{place}")
    }
}

/// Whose damage may be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Anybody's, as a repair does when it was agreed to.
    Anywhere,
    /// That of segments that are copies and have only copies behind them.
    InCopies,
}

impl Where {
    fn allows(self, error: &Error) -> bool {
        match self {
            Self::Anywhere => error.is_of_journal(),
            Self::InCopies => matches!(error, Error::DamagedCopy { .. }),
        }
    }
}

/// Finds the longest good beginning of the journal, and what is wrong behind it. Walks over all of it.
///
/// # Errors
/// What must not be cut off here, and a disk that cannot be read.
pub(super) fn find_good<D: Disk>(
    disk: &D,
    options: &Options,
    listing: &Listing,
    covered: &Covered,
    place: Where,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Option<Found>, Option<Error>), Error> {
    let mut heads = Heads::new(listing, covered, place);
    while let Some(segments) = heads.next(disk, options)? {
        let (found, damage) = walk_good(disk, segments, place, progress)?;
        heads.damage = heads.damage.or(damage);
        if found.is_some() {
            return Ok((found, heads.damage));
        }
    }
    Ok((None, heads.damage))
}

/// Segments that make a journal, the newest first that may be its head.
pub(super) struct Heads<'a> {
    listing: &'a Listing,
    covered: &'a Covered,
    place: Where,
    /// What was followed back from already, which is done once.
    dead: BTreeSet<u64>,
    /// What was wrong first.
    pub(super) damage: Option<Error>,
}

impl<'a> Heads<'a> {
    pub(super) fn new(listing: &'a Listing, covered: &'a Covered, place: Where) -> Self {
        Self { listing, covered, place, dead: BTreeSet::new(), damage: None }
    }

    /// Returns the next segments that follow each other from the journal's first on; `None` when there are no more.
    pub(super) fn next<D: Disk>(
        &mut self,
        disk: &D,
        options: &Options,
    ) -> Result<Option<Vec<Segment>>, Error> {
        for &head_n in self.listing.names.keys().rev() {
            if !self.dead.insert(head_n) {
                continue;
            }
            let mut segments = Vec::new();
            let followed = self.listing.follow_back(disk, options, self.covered, head_n, &mut segments);
            self.dead.extend(segments.iter().map(|segment| segment.header.n));
            match followed {
                Ok(()) => {
                    segments.reverse();
                    return Ok(Some(segments));
                }
                Err(error) if self.place.allows(&error) => {
                    self.damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Walks as far as the frames are good; `None` when not even the first is.
pub(super) fn walk_good<D: Disk>(
    disk: &D,
    segments: Vec<Segment>,
    place: Where,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Option<Found>, Option<Error>), Error> {
    let (Some(first), Some(head)) = (segments.first(), segments.last()) else { return Ok((None, None)) };
    let (store, start, end_seq) = (first.header.store, first.header.before.clone(), head.header.first_seq());
    let (mut before_last, mut end, mut last) = (start.clone(), start.clone(), Vec::new());
    let walked = walk_all(disk, &segments, &mut |_, bytes, after| {
        before_last = std::mem::replace(&mut end, after.clone());
        last.clear();
        last.extend_from_slice(bytes);
        progress(Progress { work: Work::CheckCopies, seq: end.seq, end_seq: end_seq.max(end.seq) });
        Ok(())
    });
    let (walked, damage) = match walked {
        Ok(walked) => (walked, None),
        Err(error) if place.allows(&error) => (Walked { end_offset: 0, is_torn: false }, Some(error)),
        Err(error) => return Err(error),
    };
    if end.seq == start.seq {
        return Ok((None, damage));
    }
    let (Walked { end_offset, is_torn }, format) = (walked, format_of(&segments));
    let found = Found { store, segments, before_last, last, end, end_offset, is_torn, cut: None, format };
    Ok((Some(found), damage))
}

/// Returns the names of the segments that hold nothing of a journal before the last frame of `kept`, which is held
/// again.
pub(super) fn not_kept(options: &Options, listing: &Listing, kept: &Found) -> Vec<String> {
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let stays = |name: &String| {
        kept.segments.iter().any(|segment| {
            segment.header.before.seq < kept.before_last.seq && segment.path == folder.join(name)
        })
    };
    listing.names.values().filter(|name| !stays(name)).cloned().collect()
}

/// Finds the end of a journal whose newest segment is a copy: the first bad or missing frame, if there is one.
///
/// # Errors
/// Damage that the copying cannot have made, or a copy of which nothing is good.
pub(super) fn find_in_copy<D: Disk>(
    disk: &D,
    options: &Options,
    listing: &Listing,
    covered: &Covered,
    progress: &mut dyn FnMut(Progress),
) -> Result<Found, Error> {
    let found = find_good(disk, options, listing, covered, Where::InCopies, progress)?;
    match found {
        (Some(found), None) => Ok(found),
        (Some(mut found), Some(damage)) => {
            let moved = not_kept(options, listing, &found);
            let end_seq = found.end.seq;
            found.segments.retain(|segment| segment.header.before.seq < end_seq);
            found.cut = Some(Cut { damage, moved });
            Ok(found)
        }
        (None, Some(damage)) => Err(damage),
        (None, None) => Err(Error::JournalMissing { path: options.state_dir.join(JOURNAL_FOLDER) }),
    }
}
