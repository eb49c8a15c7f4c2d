//! What happened to one subject, outside of the store: its entries as the journal kept them, and what they name by number.
//!
//! Archives, backups and restored cases all speak of a case in this form. The chain of the entries is the proof: it is not
//! written down, it follows from what the entries say, and only the hash that it comes to is. docs/reference/store.md has
//! the layout.

use std::io::{self, BufReader, Read, Write};

use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::bytes::{Fields, length_u32};
use super::entry::{Entry, Link};
use super::frame::FRAME_BYTES_MAX;
use super::unpacking::{NotUnpacked, Unpacking};
use crate::id::{CaseId, PARTITION_COUNT, Partition};

/// Most bytes that a packed case may have when it is unpacked.
pub const CASE_HISTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
const KIND: &[u8; 8] = b"KNHKCASE";
const FORMAT: u32 = 1;
/// Kind, format, length when unpacked.
const HEAD_BYTES: usize = 8 + 4 + 8;
const CHECKSUM_BYTES: usize = 4;
const COMPRESSION_LEVEL: i32 = 3;
/// Farthest back that what is compressed may refer, as a power of two: the level above refers 2 MiB back at most.
const WINDOW_LOG_MAX: u32 = 23;
/// What stands before the entries: partition, case, and both ends of the chain.
const ROWS_HEAD_BYTES: usize = 2 + 8 + 2 * (8 + 16);
/// Bytes of memory that an entry takes beside what it says, with the room that a list of them grows into.
const ENTRY_BYTES: usize = 2 * size_of::<Entry>();

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
        let end = self.check()?;
        let length = self.rows_bytes();
        if length > CASE_HISTORY_BYTES_MAX {
            let limit = CASE_HISTORY_BYTES_MAX;
            return Err(format!("its history takes {length} bytes, more than the limit of {limit}"));
        }
        let mut out = KIND.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(length as u64).to_le_bytes());
        // Piece by piece: it may be long, and is in memory already.
        let packed = Encoder::new(out, COMPRESSION_LEVEL).and_then(|mut encoder| {
            encoder.set_pledged_src_size(Some(length as u64))?;
            self.write_rows(end, &mut encoder)?;
            encoder.finish()
        });
        let mut out = packed.map_err(|error| format!("it cannot be compressed: {error}"))?;
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(out)
    }

    /// Reads what [`CaseHistory::pack`] returned; the chain is checked. For what was taken in before: what a stranger gives
    /// is unpacked by [`Unpacking::history`].
    ///
    /// # Errors
    /// The bytes are damaged, of another format, or too many; says which.
    pub fn unpack(bytes: &[u8]) -> Result<Self, String> {
        Ok(Self::unpack_within(bytes, &mut Unpacking::known())?)
    }

    /// Reads what [`CaseHistory::pack`] returned, and takes the bytes of `unpacking` for each piece before it is unpacked.
    pub(super) fn unpack_within(bytes: &[u8], unpacking: &mut Unpacking) -> Result<Self, NotUnpacked> {
        let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or("it is cut short")?;
        if covered.len() < HEAD_BYTES || covered[..8] != *KIND {
            return Err("this is not the history of a case".into());
        }
        if crc32c::crc32c(covered).to_le_bytes() != *checksum {
            return Err("it fails its checksum".into());
        }
        let mut head = Fields::new(&covered[8..HEAD_BYTES]);
        let (format, length) = head.u32().zip(head.u64()).ok_or("it is cut short")?;
        if format != FORMAT {
            return Err(format!("it has format {format}, and this release reads format {FORMAT}").into());
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= CASE_HISTORY_BYTES_MAX);
        let length = length.ok_or(NotUnpacked::TooMuch { limit_bytes: CASE_HISTORY_BYTES_MAX })?;
        Packed::new(&covered[HEAD_BYTES..], length, unpacking)?.read()
    }

    /// Returns how many bytes [`Self::rows`] has.
    fn rows_bytes(&self) -> usize {
        let entries = self.entries.iter().map(|entry| 8 + 4 + entry.payload.len());
        let specifications = self.specifications.iter().map(|(_, row)| 4 + 4 + row.len());
        ROWS_HEAD_BYTES + 4 + entries.sum::<usize>() + 4 + specifications.sum::<usize>()
    }

    /// Returns it in one piece, as archives hold it.
    ///
    /// # Errors
    /// The entries are no chain; says which is not.
    pub(super) fn rows(&self) -> Result<Vec<u8>, String> {
        let end = self.check()?;
        let mut rows = Vec::with_capacity(self.rows_bytes());
        self.write_rows(end, &mut rows).map_err(|error| error.to_string())?;
        Ok(rows)
    }

    /// Writes [`Self::rows`], of which the chain ends there.
    fn write_rows(&self, end: Link, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.case.partition().0.to_le_bytes())?;
        out.write_all(&self.case.0.to_le_bytes())?;
        let first = self.entries.first().map_or_else(Link::default, |first| first.previous);
        for link in [first, end] {
            out.write_all(&link.n.to_le_bytes())?;
            out.write_all(&link.hash)?;
        }
        out.write_all(&length_u32(self.entries.len()).to_le_bytes())?;
        for entry in &self.entries {
            out.write_all(&entry.n.to_le_bytes())?;
            put_bytes(out, &entry.payload)?;
        }
        out.write_all(&length_u32(self.specifications.len()).to_le_bytes())?;
        for (number, row) in &self.specifications {
            out.write_all(&number.to_le_bytes())?;
            put_bytes(out, row)?;
        }
        Ok(())
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

/// Returns how many bytes of memory a history takes.
pub fn memory_bytes(history: &CaseHistory) -> usize {
    let entries = history.entries.iter().map(|entry| ENTRY_BYTES + entry.payload.len());
    let specifications = history.specifications.iter().map(|(_, row)| ENTRY_BYTES + row.len());
    entries.sum::<usize>() + specifications.sum::<usize>()
}

fn put_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&length_u32(bytes.len()).to_le_bytes())?;
    out.write_all(bytes)
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

/// What is packed, as it is unpacked.
struct Packed<'a> {
    decoder: Decoder<'static, BufReader<&'a [u8]>>,
    /// Bytes that are still to come, by what it says itself.
    left: usize,
    unpacking: &'a mut Unpacking,
}

impl<'a> Packed<'a> {
    fn new(packed: &'a [u8], length: usize, unpacking: &'a mut Unpacking) -> Result<Self, NotUnpacked> {
        let broken = |error: io::Error| format!("it cannot be unpacked: {error}");
        let mut decoder = Decoder::new(packed).map_err(broken)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
        Ok(Self { decoder, left: length, unpacking })
    }

    fn read(mut self) -> Result<CaseHistory, NotUnpacked> {
        let (partition, case) = (Partition(u16::from_le_bytes(self.array()?)), CaseId(self.u64()?));
        if partition.index() >= PARTITION_COUNT || case.partition() != partition {
            return Err("its rows cannot be read".into());
        }
        let (mut previous, end) = (self.link()?, self.link()?);
        let mut entries = Vec::new();
        for _ in 0..self.u32()? {
            let n = self.u64()?;
            let entry = Entry::new(partition, n, case.0, previous, self.bytes()?);
            previous = entry.link();
            entries.push(entry);
        }
        let mut specifications = Vec::new();
        for _ in 0..self.u32()? {
            specifications.push((self.u32()?, self.bytes()?));
        }
        let mut behind = [0];
        let more =
            self.decoder.read(&mut behind).map_err(|error| format!("it cannot be unpacked: {error}"))?;
        if self.left > 0 || more > 0 {
            return Err("it has another length than it says".into());
        }
        let history = CaseHistory { case, entries, specifications };
        if history.check()? == end {
            Ok(history)
        } else {
            Err("its entries do not come to the hash that it says".into())
        }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), NotUnpacked> {
        self.left = self.left.checked_sub(into.len()).ok_or("its rows cannot be read")?;
        let read = self.decoder.read_exact(into);
        Ok(read.map_err(|error| format!("it cannot be unpacked: {error}"))?)
    }

    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], NotUnpacked> {
        let mut array = [0; COUNT];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, NotUnpacked> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, NotUnpacked> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn link(&mut self) -> Result<Link, NotUnpacked> {
        Ok(Link { n: self.u64()?, hash: self.array()? })
    }

    /// Reads bytes with their length before them, which is believed as far as a frame goes.
    fn bytes(&mut self) -> Result<Vec<u8>, NotUnpacked> {
        let length = self.u32()? as usize;
        if length > FRAME_BYTES_MAX {
            return Err(format!("an entry of {length} bytes is longer than any frame").into());
        }
        self.unpacking.take(ENTRY_BYTES + length)?;
        self.left = self.left.checked_sub(length).ok_or("its rows cannot be read")?;
        // In one piece, so that nothing is left of smaller ones; it is touched only as far as bytes come.
        let mut bytes = Vec::with_capacity(length);
        let read = (&mut self.decoder).take(length as u64).read_to_end(&mut bytes);
        read.map_err(|error| format!("it cannot be unpacked: {error}"))?;
        if bytes.len() < length {
            return Err("it has another length than it says".into());
        }
        Ok(bytes)
    }
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
