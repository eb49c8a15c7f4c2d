//! A program that reads a backup, written from docs/reference/store.md alone: no type of the store is used to read, only
//! to compare. If it lacks something, the page does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use knhk::case::encode::events_from_bytes;
use knhk::engine::fold::EngineFold;
use knhk::engine::record::{Body, Record};
use knhk::id::Partition;
use knhk::store::{self, Fold, MemTables, RealDisk};

use super::golden::{names, options, unpack};
use crate::support::service::Place;

/// Bytes from the front of which something is taken.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// A number of so many bytes, little-endian.
    pub(crate) fn number(&mut self, count: usize) -> u64 {
        self.take(count).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub(crate) fn big(&mut self, count: usize) -> u64 {
        self.take(count).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn varint(&mut self) -> u64 {
        let byte = self.number(1);
        if byte < 128 { byte } else { byte - 128 + (self.varint() << 7) }
    }

    fn counted(&mut self) -> &'a [u8] {
        let count = size(self.varint());
        self.take(count)
    }

    /// The checksum of the bytes before it, which are returned.
    fn checked(bytes: &'a [u8]) -> &'a [u8] {
        let (before, checksum) = bytes.split_at(bytes.len() - 4);
        assert_eq!(crc32c::crc32c(before), u32::from_le_bytes(checksum.try_into().unwrap()));
        before
    }

    /// Passes over fields of a payload or row: n number, t text or bytes, h and H 16 and 32 bytes of a hash, D data,
    /// ? something optional, [] a list, and what has a name of its own in the page.
    pub(crate) fn fields(&mut self, kinds: &str) {
        let mut kinds = kinds.chars();
        while let Some(kind) = kinds.next() {
            match kind {
                '?' => {
                    let kind = kinds.next().unwrap().to_string();
                    if self.number(1) == 1 {
                        self.fields(&kind);
                    }
                }
                '[' => {
                    let of: String = kinds.by_ref().take_while(|kind| *kind != ']').collect();
                    (0..self.varint()).for_each(|_| self.fields(&of));
                }
                kind => self.field(kind),
            }
        }
    }

    fn field(&mut self, kind: char) {
        match kind {
            'n' => drop(self.varint()),
            't' => drop(self.counted()),
            'h' => drop(self.take(16)),
            'H' => drop(self.take(32)),
            // Data; the parent of an instance; a net of a numbering; a registration.
            'D' => self.fields("[nt]"),
            'P' => self.fields("nn"),
            'N' => self.fields("t[L][t][t]"),
            'R' => self.fields("ntnH[t][N]tt"),
            // An open incident, and a key.
            'I' => self.fields("nn?nntn"),
            'K' => self.fields("hhAn"),
            // What was answered; how a place, a finished item and a case stand.
            'A' => self.kind(&["", "", "n", ""]),
            'L' => self.kind(&["t", "tt", "t"]),
            'F' => self.kind(&["", "t"]),
            'S' => self.kind(&["", "", "n"]),
            other => panic!("there is no field {other}"),
        }
    }

    fn kind(&mut self, kinds: &[&str]) {
        let kind = size(self.varint());
        self.fields(kinds[kind]);
    }
}

/// Events by number.
const EVENTS: [(&str, &str); 16] = [
    ("Created", "n?t"),
    ("Opened", "nn?PnD"),
    ("Stepped", "nnn[n][n][n]D"),
    ("Offered", "nnn?n"),
    ("Started", "nt"),
    ("Finished", "nFt"),
    ("Withdrawn", "nn"),
    ("Failed", "nt"),
    ("Reoffered", "n"),
    ("Incident", "nn?nnt"),
    ("IncidentCleared", "n"),
    ("Ended", "nn"),
    ("Suspended", ""),
    ("Resumed", ""),
    ("Closed", "n?t"),
    ("Unfinished", ""),
];
const CASE_ROW: &str = "nSnn?tnnhnnnnnn[I]D";
/// Rows by table: with their format before them, if they have one.
const ROWS: [Option<&str>; 12] = [
    Some("nR"),
    Some(CASE_ROW),
    Some(CASE_ROW),
    None,
    Some("n?PD[nn]"),
    Some("nnnn?t?t"),
    None,
    Some("nn?nhAn"),
    None,
    Some("?nnnnnnnnn"),
    None,
    Some("nnnnn?tnnnh"),
];

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    subject: u64,
    before: (u64, [u8; 16]),
    payload: Vec<u8>,
}

/// Entries by partition and position.
type Entries = BTreeMap<(u16, u64), Entry>;

impl Entry {
    fn hash(&self, (partition, n): (u16, u64)) -> [u8; 16] {
        let numbers = [n, self.subject, self.before.0].map(u64::to_le_bytes).concat();
        let all = [&partition.to_le_bytes()[..], &numbers, &self.before.1, &self.payload].concat();
        blake3::hash(&all).as_bytes()[..16].try_into().unwrap()
    }

    /// Says what the payload holds: the kind of its body, and its events.
    fn told(&self) -> String {
        let mut bytes = Bytes(&self.payload);
        assert_eq!(bytes.number(1), 1);
        bytes.fields("n?K");
        let told = match bytes.varint() {
            0 => {
                let mut events = Bytes(bytes.counted());
                assert_eq!(events.number(1), 1);
                let count = events.varint();
                let told: Vec<&str> = (0..count)
                    .map(|_| {
                        let (name, kinds) = EVENTS[size(events.varint())];
                        events.fields(kinds);
                        name
                    })
                    .collect();
                assert!(events.0.is_empty());
                told.join(" ")
            }
            1 => {
                bytes.fields("R");
                "registered".to_owned()
            }
            2 => {
                bytes.fields("n");
                "keys expired".to_owned()
            }
            3 => {
                bytes.fields("nnnnn?tn");
                "archived".to_owned()
            }
            _ => {
                bytes.fields("ntt");
                "restored".to_owned()
            }
        };
        assert!(bytes.0.is_empty(), "{} bytes are left", bytes.0.len());
        told
    }
}

/// Header of a segment, and where its frames end.
struct Segment {
    bytes: Vec<u8>,
    before_number: u64,
    before: (u64, [u8; 32]),
}

fn read_segments(place: &Place) -> BTreeMap<u64, Segment> {
    let read = |name: String| {
        let bytes = fs::read(place.path("state/journal").join(&name)).unwrap();
        let mut header = Bytes(Bytes::checked(&bytes[..4096]));
        assert_eq!(header.take(8), b"KNHKJRNL");
        header.take(4 + 16);
        let (number, before_number) = (header.number(8), header.number(8));
        let before = (header.number(8), header.take(32).try_into().unwrap());
        assert_eq!(name, format!("{:020}-{number:010}.jnl", before.0 + 1));
        (number, Segment { bytes, before_number, before })
    };
    names(place, "journal").into_iter().map(read).collect()
}

fn read_journal(place: &Place, out: &mut Entries) {
    let segments = read_segments(place);
    let mut chain = Vec::new();
    let mut number = *segments.keys().last().unwrap();
    while let Some(segment) = segments.get(&number) {
        chain.insert(0, segment);
        number = segment.before_number;
    }
    let mut end = chain[0].before;
    for (place, segment) in chain.iter().enumerate() {
        assert_eq!(segment.before, end);
        let last = chain.get(place + 1).map_or(u64::MAX, |next| next.before.0);
        let hash = blake3::hash(&segment.bytes[..4096]);
        let tag = &hash.as_bytes()[..8];
        let mut at = 4096;
        while end.0 < last && segment.bytes.get(at..at + 8) == Some(tag) {
            let length = size(Bytes(&segment.bytes[at + 8..]).number(4));
            end = read_frame(&segment.bytes[at..at + length], end, out);
            at += length.next_multiple_of(512);
        }
        assert!(last == u64::MAX || last == end.0);
    }
}

/// Reads a frame that continues another; returns its number and hash.
fn read_frame(bytes: &[u8], before: (u64, [u8; 32]), out: &mut Entries) -> (u64, [u8; 32]) {
    let covered = &Bytes::checked(bytes)[12..];
    let mut frame = Bytes(covered);
    let number = frame.number(8);
    assert_eq!((number, frame.take(32)), (before.0 + 1, &before.1[..]));
    frame.take(8);
    let count = frame.number(4);
    let groups: Vec<_> = (0..count)
        .map(|_| {
            let (partition, _epoch) = (frame.number(2), frame.number(8));
            (u16::try_from(partition).unwrap(), frame.number(8), frame.number(4))
        })
        .collect();
    for (partition, first, count) in groups {
        for n in first..first + count {
            let (subject, before_n) = (frame.number(8), frame.number(8));
            let before = (before_n, frame.take(16).try_into().unwrap());
            let length = size(frame.number(4));
            let entry = Entry { subject, before, payload: frame.take(length).to_vec() };
            // History may hold it too.
            assert!(out.insert((partition, n), entry.clone()).is_none_or(|known| known == entry));
        }
    }
    assert!(frame.0.is_empty());
    (number, *blake3::hash(covered).as_bytes())
}

/// Rows by key.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads a sealed file: what it says about itself, and its rows.
pub(crate) fn read_sealed(path: &Path, kind: &str) -> (Vec<u8>, Rows) {
    let file = fs::read(path).unwrap();
    let (body, footer) = file.split_at(file.len() - 72);
    assert_eq!(&footer[64..], b"KNHKSEAL");
    let mut fields = Bytes(Bytes::checked(&footer[..64]));
    let (index_at, index_length) = (size(fields.number(8)), size(fields.number(8)));
    let (block_count, row_count) = (fields.number(4), fields.number(8));
    assert_eq!(blake3::hash(&file[..body.len() + 28]).as_bytes(), fields.take(32));
    let mut header = Bytes(body);
    assert_eq!((header.take(8), header.number(4)), (kind.as_bytes(), 1));
    header.take(16);
    let about_length = size(header.number(4));
    Bytes::checked(&body[..32 + about_length + 4]);
    let about = header.take(about_length).to_vec();
    let mut index = Bytes(Bytes::checked(&body[index_at..index_at + index_length]));
    let mut rows: Rows = Vec::new();
    for _ in 0..block_count {
        let key_length = size(index.number(2));
        let (first_key, at) = (index.take(key_length), size(index.number(8)));
        let mut block = Bytes(&body[at..]);
        let (packed, length, checksum) = (size(block.number(4)), size(block.number(4)), block.number(4));
        let packed = block.take(packed);
        assert_eq!(u64::from(crc32c::crc32c(&[&body[at..at + 8], packed].concat())), checksum);
        let unpacked = zstd::decode_all(packed).unwrap();
        assert_eq!(unpacked.len(), length);
        let first = rows.len();
        let (mut block, mut key) = (Bytes(&unpacked), Vec::new());
        while !block.0.is_empty() {
            key.truncate(size(block.varint()));
            key.extend_from_slice(block.counted());
            rows.push((key.clone(), block.counted().to_vec()));
        }
        assert_eq!(rows[first].0, first_key);
    }
    assert!(index.0.is_empty() && rows.is_sorted() && rows.len() as u64 == row_count);
    (about, rows)
}

fn read_history(place: &Place, out: &mut Entries) {
    let mut end = Vec::new();
    // There is one generation of each.
    for name in names(place, "history") {
        let (about, rows) = read_sealed(&place.path("state/history").join(&name), "KNHKHIST");
        let mut about = Bytes(&about);
        let generation = about.number(4);
        about.take(16 + 8);
        let (before, after) = about.0.split_at(8 + 32 + 8 + 65 * 16);
        assert_eq!(name, format!("{:020}-{generation:010}.his", Bytes(before).number(8) + 1));
        let start = vec![0; before.len()];
        assert_eq!(before, if end.is_empty() { &start } else { &end });
        end = after.to_vec();
        let mut last = None;
        for (key, value) in rows {
            let mut key = Bytes(&key);
            let at = (u16::try_from(key.big(2)).unwrap(), key.big(8));
            let n = key.big(8);
            let mut value = Bytes(&value);
            let before = match value.number(1) {
                0 => (0, [0; 16]),
                1 => last.filter(|(of, _)| *of == at).unwrap().1,
                _ => (value.number(8), value.take(16).try_into().unwrap()),
            };
            let entry = Entry { subject: at.1, before, payload: value.0.to_vec() };
            last = Some((at, (n, entry.hash((at.0, n)))));
            out.insert((at.0, n), entry);
        }
    }
}

/// Every entry carries position and hash of the one before of its subject.
fn check_chains(entries: &Entries) {
    let mut ends = BTreeMap::new();
    for (&at, entry) in entries {
        let end = ends.insert(entry.subject, (at.1, entry.hash(at))).unwrap_or_default();
        let expected = if entry.subject == 0 { (0, [0; 16]) } else { end };
        assert_eq!(entry.before, expected, "{at:?}");
    }
}

/// What the engine's own reader says.
fn entries_of_engine(place: &Place) -> Vec<String> {
    let fold: Arc<dyn Fold> = Arc::new(EngineFold);
    let looked = store::look(&Arc::new(RealDisk), || Ok(None::<MemTables>), &fold, &options(place), &[]);
    let looked = looked.unwrap().unwrap();
    let mut out = Vec::new();
    for partition in Partition::all() {
        let told = &mut |entry: &store::Entry| {
            let told = match Record::decode(&entry.payload).unwrap().body {
                Body::Case(bytes) => {
                    let name = |event| format!("{event:?}").split(' ').next().unwrap().to_owned();
                    events_from_bytes(bytes).unwrap().into_iter().map(name).collect::<Vec<_>>().join(" ")
                }
                Body::Registered(_) => "registered".to_owned(),
                Body::KeysExpired { .. } => "keys expired".to_owned(),
                Body::Archived(_) => "archived".to_owned(),
                Body::Restored(_) => "restored".to_owned(),
            };
            out.push(format!("{} {} {} {told}", partition.0, entry.n, entry.subject));
            true
        };
        looked.journal.entries(partition, 1, told).unwrap();
    }
    out
}

#[test]
fn the_document_is_enough_to_read_all_entries_of_a_backup() {
    let place = unpack("store-2");
    let named = fs::read(place.path("state/store")).unwrap();
    let mut named = Bytes(Bytes::checked(&named));
    assert_eq!((named.take(8), named.number(4), named.0.len()), (&b"KNHKSTOR"[..], 2, 16));
    let mut entries = Entries::new();
    read_history(&place, &mut entries);
    let in_history = entries.len();
    read_journal(&place, &mut entries);
    assert!(in_history > 30 && entries.len() > in_history, "{in_history} of {} entries", entries.len());
    check_chains(&entries);
    let found: Vec<String> = entries
        .iter()
        .map(|((partition, n), entry)| format!("{partition} {n} {} {}", entry.subject, entry.told()))
        .collect();
    assert_eq!(found, entries_of_engine(&place));
}

#[test]
fn the_document_is_enough_to_read_all_rows_of_a_snapshot() {
    let place = unpack("store-2");
    for name in names(&place, "snapshot") {
        let (about, rows) = read_sealed(&place.path("state/snapshot").join(&name), "KNHKSNAP");
        let mut meta = Bytes(Bytes::checked(&about[24..]));
        assert_eq!(meta.number(4), 2);
        meta.take(16);
        assert_eq!(name, format!("{:020}.snp", meta.number(8)));
        meta.take(32 + 8 + 65 * 8);
        let mut sums = BTreeMap::new();
        for _ in 0..meta.number(4) {
            let of = (meta.number(1), meta.number(2));
            sums.insert(of, (meta.number(8), meta.number(8)));
        }
        let mut found: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        for (key, value) in &rows {
            let (table, key) = key.split_first().unwrap();
            let mut value = Bytes(value);
            let partition = value.number(2);
            let key_length = u32::try_from(key.len()).unwrap().to_le_bytes();
            let partition_bytes = u16::try_from(partition).unwrap().to_le_bytes();
            let hashed = [&[*table][..], &partition_bytes, &key_length, key, value.0].concat();
            let sum = found.entry((u64::from(*table), partition)).or_default();
            let hash = Bytes(blake3::hash(&hashed).as_bytes()).number(8);
            *sum = (sum.0 + 1, sum.1.wrapping_add(hash));
            if let Some(kinds) = ROWS[usize::from(*table)] {
                assert_eq!(value.number(1), 1);
                value.fields(kinds);
                assert!(value.0.is_empty(), "table {table}: {} bytes are left", value.0.len());
            }
        }
        sums.retain(|_, (rows, _)| *rows > 0);
        assert_eq!(found, sums, "{name}");
        let tables: Vec<u64> = found.keys().map(|(table, _)| *table).collect();
        assert!([0, 1, 2, 4, 5, 9].iter().all(|table| tables.contains(table)), "{tables:?}");
    }
}
