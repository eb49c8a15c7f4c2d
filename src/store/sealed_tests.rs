//! Private invariants of sealed files: what was put in comes out, and no flipped byte goes unseen.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert_eq, proptest};

use super::history::{self, History};
use super::sealed::{
    ABOUT_BYTES_MAX, Kind, Moment, ROW_KEY_BYTES_MAX, ROW_VALUE_BYTES_MAX, Sealed, Writer, prepare_folder,
};
use super::snapshot::{self, Snapshot};
use super::{
    Change, Entry, Error, Fold, HURRIED_SEGMENT_BYTES, Link, LmdbTables, Log, MemTables, Meta, Opened,
    Options, RealDisk, Rows, Start, StoreId, Sums, Table, Tables, open,
};
use crate::id::{Partition, Time};

const KIND: Kind = Kind { name: *b"KNHKTEST", format: 3 };
const STORE: StoreId = StoreId([9; 16]);
const MOMENT: Moment = Moment { boot: [4; 16], us: 5 };

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(folder: &Path, rows: &Map) -> Result<u64, Error> {
    let mut writer = Writer::begin(&Arc::new(RealDisk), folder, "file", KIND, STORE, b"about")?;
    for (key, value) in rows {
        writer.put(key, value)?;
    }
    writer.finish()
}

fn read(folder: &Path) -> Result<Sealed<std::fs::File>, Error> {
    Sealed::open(&RealDisk, &folder.join("file"), KIND)
}

fn all(sealed: &Sealed<std::fs::File>, from: &[u8]) -> Result<Map, Error> {
    let mut out = Map::new();
    sealed.scan(from, &mut |key, value| {
        assert!(out.insert(key.to_vec(), value.to_vec()).is_none());
        Ok(true)
    })?;
    Ok(out)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Rows of some blocks, whose values cannot be packed much.
fn some_rows(count: u64, value_bytes: usize) -> Map {
    let row = |number: u64| {
        let mut value = Vec::new();
        while value.len() < value_bytes {
            value.extend_from_slice(
                blake3::hash(&[number.to_le_bytes(), (value.len() as u64).to_le_bytes()].concat()).as_bytes(),
            );
        }
        (number.to_be_bytes().to_vec(), value)
    };
    (0..count).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rows_read_back(
        rows in btree_map(vec(any::<u8>(), 0..12), vec(any::<u8>(), 0..3000), 0..200),
        other in vec(any::<u8>(), 0..12),
    ) {
        let folder = folder();
        let bytes = write(folder.path(), &rows).unwrap();
        let sealed = read(folder.path()).unwrap();
        prop_assert_eq!((sealed.bytes, sealed.row_count, sealed.store), (bytes, rows.len() as u64, STORE));
        prop_assert_eq!(&*sealed.about, b"about");
        prop_assert_eq!(all(&sealed, &[]).unwrap(), rows.clone());
        for (key, value) in &rows {
            prop_assert_eq!(sealed.get(key).unwrap(), Some(value.clone()));
        }
        prop_assert_eq!(sealed.get(&other).unwrap(), rows.get(&other).cloned());
        let behind: Map = rows.range(other.clone()..).map(|(key, value)| (key.clone(), value.clone())).collect();
        prop_assert_eq!(all(&sealed, &other).unwrap(), behind);
        sealed.check(&mut |_| Ok(())).unwrap();
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400), place in any::<proptest::sample::Index>()) {
        let folder = folder();
        write(folder.path(), &some_rows(20, 32)).unwrap();
        let path = folder.path().join("file");
        let mut whole = std::fs::read(&path).unwrap();
        let at = place.index(whole.len());
        let end = whole.len().min(at + bytes.len());
        whole.splice(at..end, bytes.iter().copied());
        std::fs::write(&path, &whole).unwrap();
        // It must not panic, nor take much memory.
        if let Ok(sealed) = read(folder.path()) {
            let _ = (all(&sealed, &[]), sealed.check(&mut |_| Ok(())));
        }
    }
}

#[test]
fn any_flipped_byte_is_found_and_no_row_is_wrong() {
    let folder = folder();
    let rows = some_rows(60, 2500);
    write(folder.path(), &rows).unwrap();
    let path = folder.path().join("file");
    let whole = std::fs::read(&path).unwrap();
    let mut first = 0;
    for at in (0..whole.len()).filter(|at| at % 211 == 0 || *at < 100 || *at > whole.len() - 300) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        let Ok(sealed) = read(folder.path()) else { continue };
        first += 1;
        assert!(sealed.check(&mut |_| Ok(())).is_err(), "byte {at} of {}", whole.len());
        let mut is_found = false;
        for (key, value) in &rows {
            match sealed.get(key) {
                Ok(found) => assert_eq!(found.as_ref(), Some(value), "byte {at}"),
                Err(Error::SealedDamaged { path: named, offset, .. }) => {
                    assert_eq!(named, path);
                    assert!(offset <= at as u64, "byte {at}");
                    is_found = true;
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        assert_eq!(is_found, all(&sealed, &[]).is_err(), "byte {at}");
    }
    // Most of the file is rows.
    assert!(first > 500, "{first}");
}

#[test]
fn a_torn_file_is_refused() {
    let folder = folder();
    write(folder.path(), &some_rows(60, 2500)).unwrap();
    let path = folder.path().join("file");
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(301).chain(whole.len() - 80..whole.len()) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(read(folder.path()), Err(Error::SealedDamaged { .. })), "{length} bytes");
        let zeros = [&whole[..length], &vec![0; whole.len() - length]].concat();
        std::fs::write(&path, zeros).unwrap();
        assert!(read(folder.path()).is_err(), "{length} bytes, then zeros");
    }
    std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    assert!(matches!(read(folder.path()), Err(Error::SealedDamaged { .. })));
    std::fs::write(&path, &whole).unwrap();
    let other = Kind { format: 4, ..KIND };
    assert!(matches!(Sealed::open(&RealDisk, &path, other), Err(Error::Format { found: 3, known: 4, .. })));
    assert!(Sealed::open(&RealDisk, &path, Kind { name: *b"KNHKELSE", ..KIND }).is_err());
}

#[test]
fn limits_are_answers_and_nothing_is_left_then() {
    let folder = folder();
    let disk = Arc::new(RealDisk);
    let begin = |about: &[u8]| Writer::begin(&disk, folder.path(), "file", KIND, STORE, about);
    assert!(matches!(begin(&vec![0; ABOUT_BYTES_MAX + 1]), Err(Error::SealedRow { .. })));
    let mut writer = begin(&vec![7; ABOUT_BYTES_MAX]).unwrap();
    writer.put(&[1; ROW_KEY_BYTES_MAX], &vec![5; ROW_VALUE_BYTES_MAX]).unwrap();
    writer.put(&[2], &[]).unwrap();
    let mut refused = |key: &[u8], value: &[u8]| writer.put(key, value).unwrap_err().to_string();
    let place = folder.path().join("file");
    let place = place.display();
    let mut texts = [
        refused(&[2; ROW_KEY_BYTES_MAX + 1], &[]),
        refused(&[3], &vec![5; ROW_VALUE_BYTES_MAX + 1]),
        refused(&[2], &[]),
        refused(&[1, 9], &[]),
    ]
    .map(|text| text.replace(&format!("a row cannot be put into {place}: "), ""));
    texts.sort();
    expect_test::expect![[r#"
        [
            "its key does not come after the one before",
            "its key does not come after the one before",
            "its key has 64 bytes, more than the limit of 63",
            "its value has 67108929 bytes, more than the limit of 67108928",
        ]
    "#]]
    .assert_debug_eq(&texts);
    writer.finish().unwrap();
    let sealed = read(folder.path()).unwrap();
    assert_eq!(sealed.get(&[1; ROW_KEY_BYTES_MAX]).unwrap().unwrap().len(), ROW_VALUE_BYTES_MAX);
    assert_eq!((sealed.get(&[2]).unwrap(), sealed.get(&[3]).unwrap()), (Some(Vec::new()), None));
    sealed.check(&mut |_| Ok(())).unwrap();
    std::fs::remove_file(folder.path().join("file")).unwrap();
    drop(begin(b"unfinished").unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(folder.path().join("left.tmp"), b"from before").unwrap();
    prepare_folder(&RealDisk, folder.path()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Keeps the length of each subject's chain.
struct Count;

impl Fold for Count {
    fn fold(&self, rows: &mut Rows<'_>, entry: &Entry) -> Result<(), String> {
        rows.put(Table(2), &entry.subject.to_be_bytes(), &entry.n.to_le_bytes())
    }
}

fn options(folder: &Path) -> Options {
    Options {
        state_dir: folder.join("state"),
        cache_dir: folder.join("cache"),
        segment_bytes: 256 * 1024,
        hurried_bytes: HURRIED_SEGMENT_BYTES,
        frame_bytes_max: 64 * 1024,
        grace_us: 0,
        keep_us: 0,
        format_max: super::FORMAT,
        planted: None,
    }
}

struct Bench {
    folder: tempfile::TempDir,
    store: Opened<RealDisk, MemTables>,
    links: BTreeMap<u64, Link>,
    entries: Vec<Entry>,
    history: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = folder();
        let options = options(folder.path());
        let start = Start { now: Time(1), fresh_id: STORE };
        let mut store =
            open(Arc::new(RealDisk), Arc::default(), Arc::new(Count), &options, start, &mut |_| {}).unwrap();
        for partition in Partition::all() {
            store.journal.claim(partition).unwrap();
        }
        let history = options.state_dir.join(history::HISTORY_FOLDER);
        prepare_folder(&RealDisk, &history).unwrap();
        Self { folder, store, links: BTreeMap::new(), entries: Vec::new(), history }
    }

    /// Appends frames until `segments` segments are complete.
    fn fill(&mut self, segments: usize) {
        let mut number = 0_u64;
        while self.store.journal.reader().spans(1).len() < segments {
            let mut positions = self.store.journal.positions();
            let mut entries = Vec::new();
            for _ in 0..20 {
                number += 1;
                let random = u64::from_le_bytes(
                    blake3::hash(&number.to_le_bytes()).as_bytes()[..8].try_into().unwrap(),
                );
                // Some subjects have many entries, and there are some of no subject.
                let subject = random % 300 % 40;
                let partition = Partition(u16::try_from(subject % 3 * 32).unwrap());
                positions[partition.index()] += 1;
                let previous = if subject == 0 {
                    Link::default()
                } else {
                    self.links.get(&subject).copied().unwrap_or_default()
                };
                let mut payload = vec![0; usize::try_from(random % 400).unwrap()];
                blake3::Hasher::new().update(&random.to_le_bytes()).finalize_xof().fill(&mut payload);
                let entry = Entry::new(partition, positions[partition.index()], subject, previous, payload);
                self.links.insert(subject, entry.link());
                entries.push(entry);
            }
            self.entries.extend(entries.iter().cloned());
            let frame = self.store.journal.append(Time(number), entries).unwrap();
            self.store.follower.apply(&frame).unwrap();
        }
    }
}

#[test]
fn history_holds_what_its_segments_held_and_finds_each_entry() {
    let mut bench = Bench::new();
    bench.fill(3);
    let disk = Arc::new(RealDisk);
    let spans = bench.store.journal.reader().spans(1);
    let mut seen: BTreeSet<(Partition, u64)> = BTreeSet::new();
    let mut after = None;
    for some in [&spans[..1], &spans[1..]] {
        let (about, bytes) = history::seal(&disk, &bench.history, some, 1, MOMENT, &mut |_| Ok(())).unwrap();
        let file = History::open(&RealDisk, &bench.history, &about.name()).unwrap();
        assert_eq!((&file.about, file.sealed.bytes, about.generation), (&about, bytes, 1));
        assert_eq!(about.before, some[0].segment.header.before);
        assert_eq!(after.replace(about.after.clone()).unwrap_or(about.before.clone()), about.before);
        let here = |entry: &&Entry| file.covers(entry.partition, entry.n);
        let mut expected: Vec<Entry> = bench.entries.iter().filter(here).cloned().collect();
        for entry in &expected {
            let found = file.entry(entry.partition, entry.subject, entry.n).unwrap();
            assert_eq!(found.as_ref(), Some(entry));
            assert_eq!(file.entry(entry.partition, entry.subject + 1000, entry.n).unwrap(), None);
            seen.insert((entry.partition, entry.n));
        }
        for partition in Partition::all() {
            let mut wanted = expected.iter().filter(|entry| entry.partition == partition && entry.n > 7);
            file.by_position(partition, 8, &mut |entry| {
                assert_eq!(Some(entry), wanted.next());
                Ok(true)
            })
            .unwrap();
            assert_eq!(wanted.next(), None);
        }
        expected.sort_by_key(|entry| (entry.partition, entry.subject, entry.n));
        let mut all = Vec::new();
        file.each(&mut |entry| {
            all.push(entry.clone());
            Ok(true)
        })
        .unwrap();
        assert_eq!(all, expected);
        file.sealed.check(&mut |_| Ok(())).unwrap();
    }
    let sealed = |entry: &&Entry| entry.n <= after.as_ref().unwrap().positions[entry.partition.index()];
    assert_eq!(seen.len(), bench.entries.iter().filter(sealed).count());
    let listed = history::list(&RealDisk, &bench.history).unwrap();
    let firsts: Vec<u64> = spans[..2].iter().map(|span| span.segment.header.first_seq()).collect();
    assert_eq!(listed, firsts.into_iter().map(|first| (first, vec![1])).collect());
}

#[test]
fn a_history_written_anew_leaves_out_the_subjects_that_are_gone() {
    let mut bench = Bench::new();
    bench.fill(1);
    let disk = Arc::new(RealDisk);
    let spans = bench.store.journal.reader().spans(1);
    let (about, bytes) = history::seal(&disk, &bench.history, &spans, 1, MOMENT, &mut |_| Ok(())).unwrap();
    let file = History::open(&RealDisk, &bench.history, &about.name()).unwrap();
    let later = Moment { us: 77, ..MOMENT };
    let rewrite = |is_gone: &dyn Fn(Partition, u64) -> bool| {
        let is_gone = |entry: &Entry| is_gone(entry.partition, entry.subject);
        let (about, bytes) =
            file.rewrite(&disk, &bench.history, (7, &is_gone), later, &mut |_| Ok(())).unwrap();
        let file = History::open(&RealDisk, &bench.history, &about.name()).unwrap();
        let mut kept = Vec::new();
        file.each(&mut |entry| {
            kept.push(entry.clone());
            Ok(true)
        })
        .unwrap();
        (file.about, kept, bytes)
    };
    let (rewritten, kept, shorter) = rewrite(&|_, subject| subject % 2 == 0);
    let here = |entry: &&Entry| file.covers(entry.partition, entry.n) && entry.subject % 2 == 1;
    let mut expected: Vec<Entry> = bench.entries.iter().filter(here).cloned().collect();
    expected.sort_by_key(|entry| (entry.partition, entry.subject, entry.n));
    assert_eq!(kept, expected);
    assert!(shorter < bytes * 2 / 3, "{shorter} of {bytes}");
    assert_eq!((&rewritten.before, &rewritten.after, rewritten.generation), (&about.before, &about.after, 2));
    assert_eq!(rewritten.sealed, later);
    let (empty, kept, _) = rewrite(&|_, _| true);
    assert_eq!((kept, &empty.after), (Vec::new(), &about.after));
    assert_eq!(history::list(&RealDisk, &bench.history).unwrap()[&1], [1, 2]);
}

#[test]
fn work_that_is_ended_by_its_pace_leaves_nothing() {
    let mut bench = Bench::new();
    bench.fill(1);
    let spans = bench.store.journal.reader().spans(1);
    let told = Cell::new(0);
    let mut pace = |bytes| {
        told.set(told.get() + bytes);
        // Nothing more is read: the file is being written.
        if bytes == 0 { Err(Error::TablesFull) } else { Ok(()) }
    };
    let ended = history::seal(&Arc::new(RealDisk), &bench.history, &spans, 1, MOMENT, &mut pace);
    assert!(matches!(ended, Err(Error::TablesFull)) && told.get() > 100_000, "{}", told.get());
    assert_eq!(std::fs::read_dir(&bench.history).unwrap().count(), 0);
}

#[test]
fn a_snapshot_brings_back_rows_meta_and_sums() {
    let mut bench = Bench::new();
    bench.fill(1);
    bench.store.follower.checkpoint().unwrap();
    let folder = bench.folder.path().join("state").join(snapshot::SNAPSHOT_FOLDER);
    prepare_folder(&RealDisk, &folder).unwrap();
    let disk = Arc::new(RealDisk);
    let from = folder_of_rows(bench.store.journal.seq());
    let (about, bytes) = snapshot::seal(&disk, &folder, &from, MOMENT, &mut |_| Ok(())).unwrap().unwrap();
    assert_eq!(snapshot::list(&RealDisk, &folder).unwrap(), [about.meta.seq]);
    let file = Snapshot::open(&RealDisk, &folder, about.meta.seq).unwrap();
    assert_eq!((&file.about, file.sealed.bytes), (&about, bytes));
    file.check(&mut |_| Ok(())).unwrap();
    let lmdb = LmdbTables::open(&bench.folder.path().join("other")).unwrap();
    let memory = MemTables::default();
    for into in [&lmdb as &dyn Tables, &memory] {
        let stale =
            vec![Change { table: Table(9), partition: Partition(1), key: b"stale", value: Some(b"row") }];
        into.commit(&stale, &Meta::empty(STORE)).unwrap();
        file.load(into, &mut |_| Ok(())).unwrap();
        assert_eq!(into.meta().unwrap(), from.meta().unwrap());
        assert_eq!(into.sums().unwrap(), from.sums().unwrap());
        for table in (0..16).map(Table) {
            assert_eq!(rows(into, table), rows(&from, table));
            super::follower::check_sums(into, table, None).unwrap();
        }
    }
    // A load that is ended leaves nothing that anybody believes.
    let ended = file.load(&memory, &mut |_| Err(Error::TablesFull));
    assert!(ended.is_err());
    file.load(&memory, &mut |_| Ok(())).unwrap();
    let mut left = 2 + bytes / (256 * 1024);
    let ended = file.load(&memory, &mut |_| {
        left -= 1;
        if left == 0 { Err(Error::TablesFull) } else { Ok(()) }
    });
    assert!(ended.is_err());
    assert_eq!(memory.meta().unwrap(), None);
}

/// Rows of more than one batch, in two tables.
fn folder_of_rows(seq: u64) -> MemTables {
    let tables = MemTables::default();
    let mut meta = Meta::empty(STORE);
    meta.seq = seq;
    let keys: Vec<[u8; 8]> = (0..9000_u64).map(u64::to_be_bytes).collect();
    let values: Vec<Vec<u8>> = some_rows(9000, 2200).into_values().collect();
    let change = |table| {
        let keys = keys.iter().zip(&values);
        keys.map(move |(key, value)| Change {
            table: Table(table),
            partition: Partition(u16::from(key[7]) % 65),
            key,
            value: Some(value),
        })
    };
    let changes: Vec<Change<'_>> = change(0).chain(change(3).take(5)).collect();
    tables.commit(&changes, &meta).unwrap();
    tables
}

fn rows(tables: &dyn Tables, table: Table) -> Vec<(Vec<u8>, Partition, Vec<u8>)> {
    let mut out = Vec::new();
    tables
        .rows(table, &[], &mut |key, partition, value| {
            out.push((key.to_vec(), partition, value.to_vec()));
            true
        })
        .unwrap();
    out
}

#[test]
fn rows_that_do_not_add_up_make_no_snapshot() {
    let folder = folder();
    let tables = LmdbTables::open(&folder.path().join("cache")).unwrap();
    let put = |key| Change { table: Table(1), partition: Partition(4), key, value: Some(b"row") };
    tables.commit(&vec![put(b"a"), put(b"b")], &Meta::empty(STORE)).unwrap();
    tables.remove_unseen(Table(1), b"a");
    let disk = Arc::new(RealDisk);
    let sealed = snapshot::seal(&disk, folder.path(), &tables, MOMENT, &mut |_| Ok(()));
    assert!(matches!(sealed, Err(Error::Sums { found: 1, expected: 2, .. })));
    assert!(snapshot::list(&RealDisk, folder.path()).unwrap().is_empty());
    let none = snapshot::seal(&disk, folder.path(), &MemTables::default(), MOMENT, &mut |_| Ok(()));
    assert!(none.unwrap().is_none());
    // Filling refuses rows out of order, as LMDB does.
    let fresh = LmdbTables::open(&folder.path().join("fresh")).unwrap();
    fresh.fill(&vec![put(b"a"), put(b"b")], None).unwrap();
    assert!(fresh.fill(&vec![put(b"a")], Some((&Meta::empty(STORE), &Sums::new()))).is_err());
    assert_eq!(fresh.meta().unwrap(), None);
}

#[test]
fn names_read_back() {
    assert_eq!(history::parse_name(&history::name(7, 3)), Some((7, 3)));
    assert_eq!(history::parse_name(&history::name(u64::MAX, u32::MAX)), Some((u64::MAX, u32::MAX)));
    assert_eq!(snapshot::parse_name(&snapshot::name(7)), Some(7));
    for other in ["7.snp", "00000000000000000007.snp.tmp", "7-3.his", ""] {
        assert_eq!((history::parse_name(other), snapshot::parse_name(other)), (None, None), "{other}");
    }
}
