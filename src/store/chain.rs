//! Which segments hold the journal, and where it ends: what an opening finds out before it writes anything.
//!
//! The newest segment is the head. Each names the segment that holds the frame before its first, and makes void what
//! any older one holds from its first frame on; so the journal is what is found by following these names back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::entry::StoreId;
use super::error::Error;
use super::segment::{End, Segment, Step, TEMPORARY, Tail, Walk, parse_name, tail};

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
    pub(super) fn read<D: Disk>(disk: &D, folder: &Path) -> Result<Self, Error> {
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

    /// Returns the segments that hold the journal whose head is `head_n`, oldest first.
    pub(super) fn chain<D: Disk>(&self, disk: &D, folder: &Path, head_n: u64) -> Result<Vec<Segment>, Error> {
        let mut out: Vec<Segment> = Vec::new();
        let mut wanted = head_n;
        while wanted != 0 {
            let Some(name) = self.names.get(&wanted) else { return Err(missing(&out, wanted)) };
            let segment = Segment::open(disk, folder, name)?;
            if let Some(after) = out.last() {
                check_pair(&segment, after)?;
            }
            wanted = segment.header.before_n;
            let is_first = segment.header.first_seq() == 1;
            if is_first != (wanted == 0) || wanted >= segment.header.n {
                return Err(segment.damaged(0, "the header names an impossible segment before it"));
            }
            out.push(segment);
        }
        out.reverse();
        Ok(out)
    }
}

fn missing(after: &[Segment], n: u64) -> Error {
    match after.last() {
        Some(after) if after.is_copy => {
            after.damaged(0, format!("segment {n}, which this one continues, was not copied"))
        }
        Some(after) => Error::SegmentMissing { n, seq: after.header.before.seq, path: after.path.clone() },
        None => Error::SegmentMissing { n, seq: 1, path: PathBuf::new() },
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
}

/// Finds the end of a journal, whose segments are not none.
pub(super) fn find_end<D: Disk>(disk: &D, segments: Vec<Segment>) -> Result<Found, Error> {
    let head = segments.last().expect("invariant: called with at least one segment");
    let file = disk.open(&head.path).map_err(Error::io("open", &head.path))?;
    let mut walk = Walk::new(head, &file);
    let (mut before_last, mut last) = (walk.end.clone(), Vec::new());
    loop {
        let before = walk.end.clone();
        match walk.step()? {
            Step::Frame { decoded, .. } => {
                before_last = before;
                last.clear();
                last.extend_from_slice(walk.frame_bytes(decoded.length_bytes));
            }
            Step::Bad { offset, reason } => {
                if last.is_empty() {
                    return Err(head.damaged(offset, format!("the first frame is bad: {reason}")));
                }
                let is_torn = match tail(head, &file, offset)? {
                    Tail::Good(next) => {
                        let reason = format!("{reason}, and a good frame follows at byte {next}");
                        return Err(head.damaged(offset, reason));
                    }
                    found => found == Tail::Torn,
                };
                let (store, end) = (head.header.store, walk.end);
                return Ok(Found { store, before_last, last, end, end_offset: offset, is_torn, segments });
            }
        }
    }
}
