//! What happened to one subject, outside of the store: its entries as the journal kept them, and what they name by number.
//!
//! Archives, backups and restored cases all speak of a case in this form. The chain of the entries is the proof: it is not
//! written down, it follows from what the entries say, and only the hash that it comes to is. docs/reference/store.md has
//! the layout.

use super::bytes::{Fields, length_u32};
use super::entry::{Entry, Link};
use crate::id::{CaseId, PARTITION_COUNT, Partition};

/// Most bytes that a packed case may have when it is unpacked.
pub const CASE_HISTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
const KIND: &[u8; 8] = b"KNHKCASE";
const FORMAT: u32 = 1;
/// Kind, format, length when unpacked.
const HEAD_BYTES: usize = 8 + 4 + 8;
const CHECKSUM_BYTES: usize = 4;
const COMPRESSION_LEVEL: i32 = 3;

/// All that happened in one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseHistory {
    /// Its id.
    pub case: CaseId,
    /// Its entries, oldest first, each continuing the one before. The first continues none, or says by itself what was
    /// before it.
    pub entries: Vec<Entry>,
    /// The specifications that it runs: number in the store that the entries are from, and the row of table 0 there.
    pub specifications: Vec<(u32, Vec<u8>)>,
}

impl CaseHistory {
    /// Checks that the entries are of the case and that each continues the one before; returns where the chain ends.
    ///
    /// # Errors
    /// Says which entry does not.
    pub fn check(&self) -> Result<Link, String> {
        let mut last: Option<Link> = None;
        for entry in &self.entries {
            if entry.subject != self.case.0 || entry.partition != self.case.partition() {
                return Err(format!("entry {} is of another case", entry.n));
            }
            if last.is_some_and(|last| last != entry.previous) {
                return Err(format!("entry {} does not continue the one before", entry.n));
            }
            last = Some(entry.link());
        }
        last.ok_or_else(|| "it has no entries".to_owned())
    }

    /// Returns it in one piece, compressed.
    ///
    /// # Errors
    /// The entries are no chain, or there is more than [`CASE_HISTORY_BYTES_MAX`]; says which.
    pub fn pack(&self) -> Result<Vec<u8>, String> {
        let rows = self.rows()?;
        if rows.len() > CASE_HISTORY_BYTES_MAX {
            let (found, limit) = (rows.len(), CASE_HISTORY_BYTES_MAX);
            return Err(format!("its history takes {found} bytes, more than the limit of {limit}"));
        }
        let mut out = KIND.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(rows.len() as u64).to_le_bytes());
        let packed = zstd::bulk::compress(&rows, COMPRESSION_LEVEL);
        out.extend_from_slice(&packed.map_err(|error| format!("it cannot be compressed: {error}"))?);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(out)
    }

    /// Reads what [`CaseHistory::pack`] returned; the chain is checked.
    ///
    /// # Errors
    /// The bytes are damaged, of another format, or too many; says which.
    pub fn unpack(bytes: &[u8]) -> Result<Self, String> {
        let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or("it is cut short")?;
        if covered.len() < HEAD_BYTES || covered[..8] != *KIND {
            return Err("this is not the history of a case".to_owned());
        }
        if crc32c::crc32c(covered).to_le_bytes() != *checksum {
            return Err("it fails its checksum".to_owned());
        }
        let mut head = Fields::new(&covered[8..HEAD_BYTES]);
        let (format, length) = head.u32().zip(head.u64()).ok_or("it is cut short")?;
        if format != FORMAT {
            return Err(format!("it has format {format}, and this release reads format {FORMAT}"));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= CASE_HISTORY_BYTES_MAX);
        let length =
            length.ok_or_else(|| format!("it has more bytes than the limit of {CASE_HISTORY_BYTES_MAX}"))?;
        let rows = zstd::bulk::decompress(&covered[HEAD_BYTES..], length);
        let rows = rows.map_err(|error| format!("it cannot be unpacked: {error}"))?;
        if rows.len() != length {
            return Err("it has another length than it says".to_owned());
        }
        Self::of_rows(&rows)
    }

    /// Returns it in one piece, as archives hold it.
    ///
    /// # Errors
    /// The entries are no chain; says which is not.
    pub(super) fn rows(&self) -> Result<Vec<u8>, String> {
        let end = self.check()?;
        let mut rows = self.case.partition().0.to_le_bytes().to_vec();
        rows.extend_from_slice(&self.case.0.to_le_bytes());
        let first = self.entries.first().map_or_else(Link::default, |first| first.previous);
        for link in [first, end] {
            rows.extend_from_slice(&link.n.to_le_bytes());
            rows.extend_from_slice(&link.hash);
        }
        rows.extend_from_slice(&length_u32(self.entries.len()).to_le_bytes());
        for entry in &self.entries {
            rows.extend_from_slice(&entry.n.to_le_bytes());
            put_bytes(&mut rows, &entry.payload);
        }
        rows.extend_from_slice(&length_u32(self.specifications.len()).to_le_bytes());
        for (number, row) in &self.specifications {
            rows.extend_from_slice(&number.to_le_bytes());
            put_bytes(&mut rows, row);
        }
        Ok(rows)
    }

    /// Reads what [`CaseHistory::rows`] returned; the chain is checked.
    ///
    /// # Errors
    /// They cannot be read, or the entries do not come to what they say.
    pub(super) fn of_rows(rows: &[u8]) -> Result<Self, String> {
        let (history, end) = read(rows).ok_or("its rows cannot be read")?;
        if history.check()? == end {
            Ok(history)
        } else {
            Err("its entries do not come to the hash that it says".to_owned())
        }
    }
}

/// Returns about how many bytes histories take where they lie compressed and side by side; what is no history takes none.
pub fn packed_bytes(histories: &[CaseHistory]) -> u64 {
    let rows: Vec<u8> = histories.iter().filter_map(|history| history.rows().ok()).flatten().collect();
    zstd::bulk::compress(&rows, COMPRESSION_LEVEL).map_or(0, |packed| packed.len() as u64)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_u32(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    let length = fields.u32()? as usize;
    Some(fields.take(length)?.to_vec())
}

fn take_link(fields: &mut Fields<'_>) -> Option<Link> {
    Some(Link { n: fields.u64()?, hash: fields.array()? })
}

/// Reads what was unpacked, and where it says that the chain ends.
fn read(rows: &[u8]) -> Option<(CaseHistory, Link)> {
    let mut fields = Fields::new(rows);
    let (partition, case) = (Partition(fields.u16()?), CaseId(fields.u64()?));
    if partition.index() >= PARTITION_COUNT || case.partition() != partition {
        return None;
    }
    let (mut previous, end) = (take_link(&mut fields)?, take_link(&mut fields)?);
    let mut entries = Vec::new();
    for _ in 0..fields.u32()? {
        let n = fields.u64()?;
        let entry = Entry::new(partition, n, case.0, previous, take_bytes(&mut fields)?);
        previous = entry.link();
        entries.push(entry);
    }
    let mut specifications = Vec::new();
    for _ in 0..fields.u32()? {
        specifications.push((fields.u32()?, take_bytes(&mut fields)?));
    }
    (fields.left() == 0).then_some((CaseHistory { case, entries, specifications }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> CaseHistory {
        let case = CaseId(64 * 77 + 5);
        let mut previous = Link::default();
        let entries = (1..=4_u8).map(|number| {
            let payload = vec![number; 100];
            let entry = Entry::new(case.partition(), 10 * u64::from(number), case.0, previous, payload);
            previous = entry.link();
            entry
        });
        let entries = entries.collect();
        CaseHistory { case, entries, specifications: vec![(3, b"row".to_vec())] }
    }

    #[test]
    fn a_packed_case_reads_back_and_no_flipped_bit_goes_unseen() {
        let history = history();
        let packed = history.pack().unwrap();
        assert_eq!(CaseHistory::unpack(&packed).unwrap(), history);
        for at in 0..packed.len() * 8 {
            let mut flipped = packed.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(CaseHistory::unpack(&flipped).is_err(), "bit {at}");
        }
        for length in 0..packed.len() {
            assert!(CaseHistory::unpack(&packed[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn what_is_no_chain_is_not_packed() {
        let mut gap = history();
        gap.entries.remove(1);
        assert!(gap.pack().unwrap_err().contains("does not continue"));
        let mut late = history();
        late.entries.remove(0);
        let read = CaseHistory::unpack(&late.pack().unwrap()).unwrap();
        assert_eq!(read.entries[0].previous, history().entries[0].link());
        let mut other = history();
        other.case = CaseId(64 * 78 + 5);
        assert!(other.check().unwrap_err().contains("another case"));
    }
}
