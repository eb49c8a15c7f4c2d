//! Which segments hold the journal, and where it ends: what an opening finds out before it writes anything.
//!
//! The newest segment is the head. Each names the segment that holds the frame before its first, and makes void what
//! any older one holds from its first frame on; so the journal is what is found by following these names back.

use std::collections::BTreeMap;

use super::Options;
use super::cut::Cut;
use super::disk::{Disk, DiskFile};
use super::entry::StoreId;
use super::error::Error;
use super::frame::Decoded;
use super::identity::{FORMAT, FORMAT_OLDEST};
use super::open::JOURNAL_FOLDER;
use super::segment::{End, Segment, Step, TEMPORARY, Tail, Walk, parse_name, tail};
use super::tables::Meta;

/// Most segments in the journal folder.
pub(super) const SEGMENT_COUNT_MAX: usize = 65_536;

/// What lies in the journal folder, by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names of segments by their number.
    pub(super) names: BTreeMap<u64, String>,
    /// Names of files that did not become segments.
    pub(super) temporary: Vec<String>,
}

impl Listing {
    pub(super) fn read<D: Disk>(disk: &D, options: &Options) -> Result<Self, Error> {
        let folder = &options.state_dir.join(JOURNAL_FOLDER);
        let mut out = Self::default();
        for name in disk.list(folder).map_err(Error::io("list", folder))? {
            if name.ends_with(TEMPORARY) {
                out.temporary.push(name);
            } else if let Some((_, n)) = parse_name(&name)
                && let Some(other) = out.names.insert(n, name)
            {
                let reason = "two segments have one number".to_owned();
                return Err(Error::Damaged { path: folder.join(other), offset: 0, reason });
            }
        }
        if out.names.len() > SEGMENT_COUNT_MAX {
            return Err(Error::TooManySegments { found: out.names.len(), limit: SEGMENT_COUNT_MAX });
        }
        Ok(out)
    }

    pub(super) fn highest_n(&self) -> u64 {
        self.names.last_key_value().map_or(0, |(&n, _)| n)
    }

    /// Returns the newest segment; `None` when there is none.
    pub(super) fn head<D: Disk>(&self, disk: &D, options: &Options) -> Result<Option<Segment>, Error> {
        let name = self.names.last_key_value().map(|(_, name)| name);
        name.map(|name| Segment::open(disk, name, options)).transpose()
    }

    /// Returns the segments that hold the journal whose head is `head_n`, oldest first.
    pub(super) fn chain<D: Disk>(
        &self,
        disk: &D,
        options: &Options,
        covered: &Covered,
        head_n: u64,
    ) -> Result<Vec<Segment>, Error> {
        let mut out = Vec::new();
        self.follow_back(disk, options, covered, head_n, &mut out)?;
        out.reverse();
        Ok(out)
    }

    /// Follows the segments back from `head_n`, and leaves those that it read in `out`, newest first.
    pub(super) fn follow_back<D: Disk>(
        &self,
        disk: &D,
        options: &Options,
        covered: &Covered,
        head_n: u64,
        out: &mut Vec<Segment>,
    ) -> Result<(), Error> {
        let mut wanted = head_n;
        while wanted != 0 {
            let Some(name) = self.names.get(&wanted) else {
                return missing(options, covered, out, wanted);
            };
            let mut segment = Segment::open(disk, name, options)?;
            if let Some(after) = out.last() {
                segment.is_fresh_copy &= after.is_fresh_copy;
                check_pair(&segment, after)?;
            }
            wanted = segment.header.before_n;
            let is_first = segment.header.first_seq() == 1;
            if is_first != (wanted == 0) || wanted >= segment.header.n {
                return Err(segment.damaged(0, "the header names an impossible segment before it"));
            }
            out.push(segment);
        }
        Ok(())
    }
}

/// Up to where history holds what the journal held, without a gap from the first frame on.
#[derive(Debug, Default)]
pub(super) struct Covered {
    /// The ends of its files: frame and hash.
    pub(super) ends: BTreeMap<u64, [u8; 32]>,
    /// The first frame of the last files, when they cannot be read: nobody knows where they end.
    pub(super) unknown_from: Option<u64>,
}

impl Covered {
    pub(super) fn reaches(&self, before: &End) -> bool {
        if let Some(hash) = self.ends.get(&before.seq) {
            return *hash == before.hash;
        }
        let is_behind = |from| from <= before.seq;
        self.unknown_from.is_some_and(is_behind) || self.ends.range(before.seq..).next().is_some()
    }
}

/// A segment that is missing is no damage where history holds what it held.
fn missing(options: &Options, covered: &Covered, after: &[Segment], n: u64) -> Result<(), Error> {
    match after.last() {
        Some(after) if covered.reaches(&after.header.before) => Ok(()),
        Some(after) if after.is_fresh_copy => {
            Err(after.damaged(0, format!("segment {n}, which this one continues, was not copied")))
        }
        Some(after) => {
            Err(Error::SegmentMissing { n, seq: after.header.before.seq, path: after.path.clone() })
        }
        None => Err(Error::JournalMissing { path: options.state_dir.join(JOURNAL_FOLDER) }),
    }
}

fn check_pair(segment: &Segment, after: &Segment) -> Result<(), Error> {
    let (expected, found) = (after.header.store, segment.header.store);
    if expected != found {
        return Err(Error::Foreign { path: segment.path.clone(), found, expected });
    }
    if segment.header.first_seq() >= after.header.first_seq() {
        return Err(after.damaged(0, "the header names a segment that begins later"));
    }
    Ok(())
}

/// Where the journal ends.
#[derive(Debug)]
pub(super) struct Found {
    /// The store.
    pub(super) store: StoreId,
    /// Its segments, oldest first; the last is the head.
    pub(super) segments: Vec<Segment>,
    /// The end before the last good frame.
    pub(super) before_last: End,
    /// The bytes of the last good frame.
    pub(super) last: Vec<u8>,
    /// The end.
    pub(super) end: End,
    /// Where in the head the last good frame ends.
    pub(super) end_offset: u64,
    /// Whether something that is no frame lies behind it.
    pub(super) is_torn: bool,
    /// What was left out behind the end, in a copy that is incomplete there.
    pub(super) cut: Option<Cut>,
    /// The format that it is written in.
    pub(super) format: u32,
}

impl Found {
    /// Returns what is wrong if the working environment holds frames that were durable, and something else, or nothing,
    /// lies in their place: it is no unfinished append, because only what is durable is folded. A copy may be older than
    /// the environment beside it, and a repair leaves no environment.
    pub(super) fn lost(&self, folded: &Meta) -> Option<Error> {
        let head = self.segments.last()?;
        let is_lost = !head.is_copy && folded.store == self.store && folded.seq > self.end.seq;
        let reason = || {
            format!(
                "frame {} is {}, and was whole once: the working environment has folded up to frame {}",
                self.end.seq + 1,
                if self.is_torn { "bad" } else { "missing" },
                folded.seq
            )
        };
        is_lost.then(|| head.damaged(self.end_offset, reason()))
    }
}

/// Returns the format that a journal is written in, as its segments tell: that of the newest, and at least what history
/// in the place of segments makes it.
pub(super) fn format_of(segments: &[Segment]) -> u32 {
    let begins_late = segments.first().is_some_and(|first| first.header.before.seq > 0);
    let least = if begins_late { FORMAT } else { FORMAT_OLDEST };
    segments.iter().map(|segment| segment.header.format).fold(least, u32::max)
}

/// What a walk over segments came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// Where in the head the last good frame ends.
    pub(super) end_offset: u64,
    /// Whether something that is no frame lies behind it.
    pub(super) is_torn: bool,
}

/// What a walk says of each frame: the frame, its bytes, and the end that it makes.
pub(super) type VisitFrame<'a> = dyn FnMut(Decoded, &[u8], &End) -> Result<(), Error> + 'a;

/// Walks over segments that follow each other, the last being the head.
///
/// # Errors
/// The first damage; frames before it have been visited.
pub(super) fn walk_all<D: Disk>(
    disk: &D,
    segments: &[Segment],
    visit: &mut VisitFrame<'_>,
) -> Result<Walked, Error> {
    let mut walked = Walked { end_offset: 0, is_torn: false };
    for (place, segment) in segments.iter().enumerate() {
        let file = disk.open(&segment.path).map_err(Error::io("open", &segment.path))?;
        let mut walk = Walk::new(segment, &file);
        match segments.get(place + 1) {
            Some(next) => walk_to(&mut walk, next, visit)?,
            None => walked = walk_head(&mut walk, visit)?,
        }
    }
    Ok(walked)
}

/// Walks up to the frame that the next segment continues; what lies behind it is void.
fn walk_to<F: DiskFile>(
    walk: &mut Walk<'_, F>,
    next: &Segment,
    visit: &mut VisitFrame<'_>,
) -> Result<(), Error> {
    let last = &next.header.before;
    while walk.end.seq < last.seq {
        match walk.step()? {
            Step::Frame { decoded, .. } => {
                let length_bytes = decoded.length_bytes;
                visit(*decoded, walk.frame_bytes(length_bytes), &walk.end)?;
            }
            Step::Bad { offset, reason } => {
                let reason = format!("{reason}, and frames up to {} must be here", last.seq);
                return Err(walk.segment.damaged(offset, reason));
            }
        }
    }
    if walk.end.hash == last.hash && walk.end.positions == last.positions {
        Ok(())
    } else {
        Err(next.damaged(0, format!("it does not continue frame {} as the segment before has it", last.seq)))
    }
}

/// Walks to the end of the journal. A frame that a running service is writing is no damage.
fn walk_head<F: DiskFile>(walk: &mut Walk<'_, F>, visit: &mut VisitFrame<'_>) -> Result<Walked, Error> {
    let start_seq = walk.end.seq;
    let mut good_behind = None;
    loop {
        match walk.step()? {
            Step::Frame { decoded, .. } => {
                good_behind = None;
                let length_bytes = decoded.length_bytes;
                visit(*decoded, walk.frame_bytes(length_bytes), &walk.end)?;
            }
            Step::Bad { offset, reason } => {
                if walk.end.seq == start_seq {
                    let reason = format!("the first frame is bad: {reason}");
                    return Err(walk.segment.damaged(offset, reason));
                }
                if let Some(next) = good_behind {
                    let reason = format!("{reason}, and a good frame follows at byte {next}");
                    return Err(walk.segment.damaged(offset, reason));
                }
                match tail(walk.segment, walk.file, offset)? {
                    // Written in the meantime, perhaps: then the next step is good.
                    Tail::Good(next) => good_behind = Some(next),
                    found => return Ok(Walked { end_offset: offset, is_torn: found == Tail::Torn }),
                }
            }
        }
    }
}

/// Finds the end of a journal, whose segments are not none.
pub(super) fn find_end<D: Disk>(disk: &D, segments: Vec<Segment>) -> Result<Found, Error> {
    let head = segments.last().expect("invariant: called with at least one segment");
    let store = head.header.store;
    let mut end = head.header.before.clone();
    let (mut before_last, mut last) = (end.clone(), Vec::new());
    let walked = walk_all(disk, &segments[segments.len() - 1..], &mut |_, bytes, after| {
        before_last = std::mem::replace(&mut end, after.clone());
        last.clear();
        last.extend_from_slice(bytes);
        Ok(())
    })?;
    let (Walked { end_offset, is_torn }, format) = (walked, format_of(&segments));
    Ok(Found { store, segments, before_last, last, end, end_offset, is_torn, cut: None, format })
}
