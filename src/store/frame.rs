//! A frame as bytes: what one append writes, all or nothing.
//!
//! The layout is in docs/reference/store.md. A frame begins with its segment's tag, which nobody outside can know, so
//! that bytes inside a payload never pass for a frame; and its chain hash leaves the tag out, so that a frame held
//! again in another segment is the same frame. Decoding trusts nothing.

use super::bytes::{Fields, length_u32};
use super::entry::{ENTRY_HEAD_BYTES, Entry, Frame, Link};
use crate::id::{PARTITION_COUNT, Partition, Time};

/// Largest frame in bytes; what the options may name, and what reading accepts.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Frames begin at multiples of this, so that no sector holds bytes of two frames: tearing one cannot harm another.
pub(super) const FRAME_ALIGN_BYTES: usize = 512;
/// Bytes before the list of groups: tag, length, seq, hash before, time, group count.
pub(super) const FRAME_HEAD_BYTES: usize = 8 + 4 + 8 + 32 + 8 + 4;
const BODY_OFFSET: usize = 12;
const GROUP_BYTES: usize = 2 + 8 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;
const FRAME_BYTES_LEAST: usize = FRAME_HEAD_BYTES + CHECKSUM_BYTES;
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize);

/// What the frames of one segment begin with.
pub(super) type Tag = [u8; 8];

/// Consecutive entries of one partition within a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) partition: Partition,
    pub(super) epoch: u64,
    pub(super) first_n: u64,
    pub(super) count: u32,
}

/// A frame read from bytes, with what only the journal needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) frame: Frame,
    pub(super) groups: Vec<Group>,
    pub(super) length_bytes: usize,
}

/// Returns the runs of consecutive entries of one partition.
pub(super) fn groups(entries: &[Entry], epochs: &[u64; PARTITION_COUNT]) -> Vec<Group> {
    let mut out: Vec<Group> = Vec::new();
    for entry in entries {
        match out.last_mut() {
            Some(last)
                if last.partition == entry.partition
                    && last.first_n + u64::from(last.count) == entry.n
                    && last.count < u32::MAX =>
            {
                last.count += 1;
            }
            _ => out.push(Group {
                partition: entry.partition,
                epoch: epochs[entry.partition.index()],
                first_n: entry.n,
                count: 1,
            }),
        }
    }
    out
}

/// Returns the length that a frame of these groups and entries has.
pub(super) fn encoded_bytes(groups: &[Group], entries: &[Entry]) -> usize {
    FRAME_BYTES_LEAST + groups.len() * GROUP_BYTES + entries.iter().map(Entry::stored_bytes).sum::<usize>()
}

/// Writes a frame that has no tag and no checksum yet; [`seal`] gives it both.
pub(super) fn encode(
    seq: u64,
    before: &[u8; 32],
    time: Time,
    groups: &[Group],
    entries: &[Entry],
) -> Vec<u8> {
    let length = encoded_bytes(groups, entries);
    let mut out = Vec::with_capacity(length.next_multiple_of(FRAME_ALIGN_BYTES));
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&length_u32(length).to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(before);
    out.extend_from_slice(&time.0.to_le_bytes());
    out.extend_from_slice(&length_u32(groups.len()).to_le_bytes());
    for group in groups {
        out.extend_from_slice(&group.partition.0.to_le_bytes());
        out.extend_from_slice(&group.epoch.to_le_bytes());
        out.extend_from_slice(&group.first_n.to_le_bytes());
        out.extend_from_slice(&group.count.to_le_bytes());
    }
    for entry in entries {
        out.extend_from_slice(&entry.subject.to_le_bytes());
        out.extend_from_slice(&entry.previous.n.to_le_bytes());
        out.extend_from_slice(&entry.previous.hash);
        out.extend_from_slice(&length_u32(entry.payload.len()).to_le_bytes());
        out.extend_from_slice(&entry.payload);
    }
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    assert!(out.len() == length, "invariant: the length reckoned is the length written");
    out
}

/// Returns the hash that the next frame carries.
pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(&bytes[BODY_OFFSET..bytes.len() - CHECKSUM_BYTES]).as_bytes()
}

/// Gives an encoded frame the tag of the segment that it goes to, and the checksum.
pub(super) fn seal(bytes: &mut [u8], tag: Tag) {
    bytes[..tag.len()].copy_from_slice(&tag);
    let end = bytes.len() - CHECKSUM_BYTES;
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
}

/// Returns the length that the frame at the front of `bytes` claims, or what is wrong with its beginning.
pub(super) fn length(bytes: &[u8], tag: Tag) -> Result<usize, &'static str> {
    let mut fields = Fields::new(bytes);
    if fields.array() != Some(tag) {
        return Err("no frame begins here");
    }
    let length = fields.u32().ok_or("the frame is cut short")? as usize;
    if (FRAME_BYTES_LEAST..=FRAME_BYTES_MAX).contains(&length) {
        Ok(length)
    } else {
        Err("the frame's length is impossible")
    }
}

/// Reads the frame at the front of `bytes`, or says what is wrong with it.
pub(super) fn decode(bytes: &[u8], tag: Tag) -> Result<Decoded, &'static str> {
    let length_bytes = length(bytes, tag)?;
    let bytes = bytes.get(..length_bytes).ok_or("the frame is cut short")?;
    let (covered, checksum) = bytes.split_at(length_bytes - CHECKSUM_BYTES);
    if crc32c::crc32c(covered).to_le_bytes() != *checksum {
        return Err("the frame's checksum does not match");
    }
    let hash = hash(bytes);
    decode_body(&covered[BODY_OFFSET..], hash, length_bytes).ok_or("the frame's parts do not fit its length")
}

fn decode_body(body: &[u8], hash: [u8; 32], length_bytes: usize) -> Option<Decoded> {
    let mut fields = Fields::new(body);
    let seq = fields.u64()?;
    let before = fields.array()?;
    let time = Time(fields.u64()?);
    let group_count = fields.u32()? as usize;
    if group_count > fields.left() / GROUP_BYTES {
        return None;
    }
    let mut groups = Vec::with_capacity(group_count);
    for _ in 0..group_count {
        let partition = Partition(fields.u16()?);
        let group = Group { partition, epoch: fields.u64()?, first_n: fields.u64()?, count: fields.u32()? };
        let is_possible = partition.index() < PARTITION_COUNT && group.first_n > 0 && group.count > 0;
        if !is_possible || group.first_n.checked_add(u64::from(group.count)).is_none() {
            return None;
        }
        groups.push(group);
    }
    let entry_count = groups.iter().try_fold(0_usize, |sum, group| sum.checked_add(group.count as usize))?;
    if entry_count > fields.left() / ENTRY_HEAD_BYTES {
        return None;
    }
    let mut entries = Vec::with_capacity(entry_count);
    for group in &groups {
        for place in 0..u64::from(group.count) {
            entries.push(decode_entry(&mut fields, group.partition, group.first_n + place)?);
        }
    }
    if fields.left() > 0 {
        return None;
    }
    Some(Decoded { frame: Frame { seq, before, hash, time, entries }, groups, length_bytes })
}

fn decode_entry(fields: &mut Fields<'_>, partition: Partition, n: u64) -> Option<Entry> {
    let subject = fields.u64()?;
    let previous = Link { n: fields.u64()?, hash: fields.array()? };
    let length = fields.u32()? as usize;
    let payload = fields.take(length)?.to_vec();
    Some(Entry::new(partition, n, subject, previous, payload))
}
