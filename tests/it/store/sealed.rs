//! A reader of sealed files written from docs/reference/store.md alone: another program could read a backup.

use super::*;

/// Takes fields off the front, or panics: the files read here are whole.
struct Page<'a>(&'a [u8]);

impl<'a> Page<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn length(&mut self, bytes: usize) -> usize {
        usize::try_from(self.number(bytes)).unwrap()
    }

    fn varint(&mut self) -> usize {
        let byte = self.length(1);
        if byte < 128 { byte } else { byte - 128 + (self.varint() << 7) }
    }
}

struct Read {
    about: Vec<u8>,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

fn checked(bytes: &[u8]) -> &[u8] {
    let (covered, checksum) = bytes.split_at(bytes.len() - 4);
    assert_eq!(crc32c::crc32c(covered).to_le_bytes(), checksum);
    covered
}

fn read(file: &[u8], kind: [u8; 8]) -> Read {
    let mut page = Page(file);
    assert_eq!((page.take(8), page.number(4)), (&kind[..], 1));
    assert_eq!(page.take(16), [7; 16]);
    let about_bytes = page.length(4);
    let about = page.take(about_bytes).to_vec();
    let header_bytes = 8 + 4 + 16 + 4 + about_bytes + 4;
    checked(&file[..header_bytes]);
    let footer_at = file.len() - 72;
    assert_eq!(&file[file.len() - 8..], b"KNHKSEAL");
    checked(&file[footer_at..file.len() - 8]);
    let mut footer = Page(&file[footer_at..]);
    let (index_at, index_bytes) = (footer.length(8), footer.length(8));
    let (block_count, row_count, hash) = (footer.length(4), footer.length(8), footer.take(32));
    assert_eq!(blake3::hash(&file[..footer_at + 28]).as_bytes(), hash);
    assert_eq!(index_at + index_bytes, footer_at);
    let mut index = Page(checked(&file[index_at..footer_at]));
    let mut blocks = Page(&file[header_bytes..index_at]);
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for _ in 0..block_count {
        let key_bytes = index.length(2);
        let (first_key, at) = (index.take(key_bytes), index.length(8));
        assert_eq!(at, index_at - blocks.0.len());
        let lengths = &blocks.0[..8];
        let (packed_bytes, row_bytes, checksum) = (blocks.length(4), blocks.length(4), blocks.number(4));
        let packed = blocks.take(packed_bytes);
        assert_eq!(u64::from(crc32c::crc32c(&[lengths, packed].concat())), checksum);
        let unpacked = zstd::bulk::decompress(packed, row_bytes).unwrap();
        let mut block = Page(&unpacked);
        let mut key: Vec<u8> = Vec::new();
        while !block.0.is_empty() {
            let is_first = block.0.len() == row_bytes;
            let (shared, more) = (block.varint(), block.varint());
            key.truncate(shared);
            key.extend_from_slice(block.take(more));
            assert!(!is_first || key == first_key);
            let value_bytes = block.varint();
            rows.push((key.clone(), block.take(value_bytes).to_vec()));
        }
    }
    assert_eq!((rows.len(), blocks.0.len(), index.0.len()), (row_count, 0, 0));
    assert!(rows.is_sorted_by(|one, other| one.0 < other.0));
    Read { about, rows }
}

/// Reads the entries of a history file.
fn entries(read: &Read) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for (key, value) in &read.rows {
        let big =
            |range: std::ops::Range<usize>| key[range].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let partition = Partition(u16::try_from(big(0..2)).unwrap());
        let mut value = Page(value);
        let previous = match value.number(1) {
            0 => Link::default(),
            1 => out.last().unwrap().link(),
            2 => Link { n: value.number(8), hash: value.take(16).try_into().unwrap() },
            other => panic!("{other}"),
        };
        let payload = value.0.to_vec();
        out.push(Entry::new(partition, big(10..18), big(2..10), previous, payload));
    }
    out
}

#[test]
fn the_page_of_formats_is_enough_to_read_history_and_snapshots() {
    let mut kept = keeper::Keeping::new();
    kept.append(60);
    kept.settle(knhk::store::Trim::Due);
    kept.snapshot().unwrap();
    let mut found = BTreeMap::new();
    let mut frame_before = 0;
    for path in kept.bench.disk.files(Path::new("/state/history")) {
        let read = read(&kept.bench.disk.contents(&path), *b"KNHKHIST");
        let mut about = Page(&read.about);
        assert_eq!((about.number(4), about.take(16), about.number(8)), (1, &[1; 16][..], 1_000_000));
        assert_eq!(about.number(8), frame_before);
        about.take(32 + 8 + 65 * 8 + 65 * 8);
        frame_before = about.number(8);
        about.take(32 + 8 + 65 * 8 + 65 * 8);
        assert!(about.0.is_empty());
        for entry in entries(&read) {
            assert!(found.insert((entry.partition, entry.n), entry).is_none());
        }
    }
    assert!(found.len() > 50 && frame_before > 40);
    for (place, entry) in &found {
        assert_eq!(kept.bench.acknowledged.get(place), Some(entry));
    }
    let snapshots = kept.bench.disk.files(Path::new("/state/snapshot"));
    let read = read(&kept.bench.disk.contents(&snapshots[0]), *b"KNHKSNAP");
    let mut about = Page(&read.about);
    assert_eq!((about.take(16), about.number(8)), (&[1; 16][..], 1_000_000));
    // As the row `meta`: format, store, last frame.
    assert_eq!(
        (about.number(4), about.take(16), about.number(8)),
        (2, &[7; 16][..], kept.store.journal.seq())
    );
    let of = |table: u8| read.rows.iter().filter(move |(key, _)| key[0] == table);
    let rows_of = |table: u8| of(table).map(|(key, value)| (key[1..].to_vec(), value[2..].to_vec()));
    for table in [SUBJECTS, FACTS] {
        assert!(rows_of(table.0).eq(rows(&kept.store, table)), "table {}", table.0);
    }
}
