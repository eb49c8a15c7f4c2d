//! Which bytes of a file are used, read from the file itself as docs/reference/store.md describes it, by code that
//! shares nothing with the store's own.

use std::ops::Range;

use super::rest::{Kind, ending};

const HEADER_BYTES: usize = 4096;
const FRAME_ALIGN_BYTES: usize = 512;
/// Where in a frame its length lies.
const LENGTH_AT: usize = 8;

/// What a byte is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Used,
    /// Part of the last append, which a crash might have cut short.
    Last,
    Unused,
    /// The map does not say.
    Unknown,
}

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    n: u64,
    before_n: u64,
    first_seq: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Segment {
    pub(super) fn read(name: &str, bytes: &[u8]) -> Self {
        let found =
            Self { n: number(bytes, 28), before_n: number(bytes, 36), first_seq: number(bytes, 44) + 1 };
        assert_eq!(name, format!("{:020}-{:010}.jnl", found.first_seq, found.n));
        found
    }
}

/// Returns the ranges of a file that are used, in the environment those that may be, and the range of the last append if it holds it.
pub(super) fn used(
    kind: Kind,
    name: &str,
    bytes: &[u8],
    segments: &[Segment],
) -> (Vec<Range<usize>>, Range<usize>) {
    match kind {
        // Nobody reads a segment that did not become one.
        Kind::Journal if ending(name) == "tmp" => (Vec::new(), 0..0),
        Kind::Journal => used_of_segment(Segment::read(name, bytes), bytes, segments),
        Kind::Environment => (pages(bytes), 0..0),
        // Header, footer and checksums cover all of it.
        _ => (std::iter::once(0..bytes.len()).collect(), 0..0),
    }
}

fn used_of_segment(own: Segment, bytes: &[u8], segments: &[Segment]) -> (Vec<Range<usize>>, Range<usize>) {
    // Follow the names back from the head.
    let mut after = None;
    let mut at = segments.iter().max_by_key(|segment| segment.n);
    while let Some(segment) = at.filter(|segment| segment.n != own.n) {
        after = Some(segment);
        at = segments.iter().find(|before| before.n == segment.before_n);
    }
    if at.is_none() {
        // It is not in the chain, so all that it holds is void.
        return (Vec::new(), 0..0);
    }
    let end_seq = after.map_or(u64::MAX, |after| after.first_seq);
    let tag = bytes[HEADER_BYTES..HEADER_BYTES + LENGTH_AT].to_vec();
    let mut used: Vec<Range<usize>> = std::iter::once(0..HEADER_BYTES).collect();
    let mut offset = HEADER_BYTES;
    // Ends: every frame has a length, and the file an end.
    while bytes.get(offset..offset + LENGTH_AT) == Some(&tag[..]) && number(bytes, offset + 12) < end_seq {
        let length = u32::from_le_bytes(bytes[offset + LENGTH_AT..offset + 12].try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        used.push(offset..offset + length);
        offset += length.next_multiple_of(FRAME_ALIGN_BYTES);
    }
    let last = if after.is_none() { used.last().unwrap().clone() } else { 0..0 };
    (used, last)
}

const PAGE_BYTES: usize = 4096;
const PAGE_HEAD_BYTES: usize = 16;
/// Flags of a page: what it is.
const BRANCH: u8 = 1;
const META: u8 = 8;
/// There are few pages that others are found by, so each counts for so many of the others.
const RARE: usize = 10;

/// Returns head and nodes of each page of an LMDB file, whether or not it is still in use.
fn pages(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for (number, page) in bytes.chunks_exact(PAGE_BYTES).enumerate() {
        let start = number * PAGE_BYTES;
        let word = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
        let (flags, lower, upper) = (page[10], word(12), word(14));
        if flags & META != 0 {
            out.extend(std::iter::repeat_n(start..start + 160, RARE));
        } else if (PAGE_HEAD_BYTES..=upper).contains(&lower) && upper < PAGE_BYTES {
            let count = if flags & BRANCH == 0 { 1 } else { RARE };
            out.extend(std::iter::repeat_n(start..start + lower, count));
            out.extend(std::iter::repeat_n(start + upper..start + PAGE_BYTES, count));
        }
    }
    out
}
