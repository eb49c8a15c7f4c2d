//! The working environment on a real disk: reopened, damaged, and rebuilt.

use std::path::Path;
use std::sync::Arc;

use knhk::id::{Partition, Time};
use knhk::store::{
    Change, Entry, Error, KEY_BYTES_MAX, Level, Link, LmdbTables, Log, Opened, Options, Part, RealDisk,
    Start, StoreId, Table, Tables, VerifyReport, open, verify,
};

use super::{Chains, FACTS, SUBJECTS};

type Store = Opened<RealDisk, LmdbTables>;

fn options(folder: &Path) -> Options {
    Options {
        state_dir: folder.join("state"),
        cache_dir: folder.join("cache"),
        segment_bytes: 1024 * 1024,
        hurried_bytes: 1024 * 1024,
        frame_bytes_max: 64 * 1024,
        grace_us: 0,
        keep_us: 0,
        format_max: knhk::store::FORMAT,
        planted: None,
    }
}

fn open_real(folder: &Path) -> Store {
    let options = options(folder);
    let tables = Arc::new(LmdbTables::open(&options.cache_dir).unwrap());
    let start = Start { now: Time(1), fresh_id: StoreId([3; 16]) };
    let mut store = open(Arc::new(RealDisk), tables, Arc::new(Chains), &options, start, &mut |_| {}).unwrap();
    for partition in Partition::all() {
        store.journal.claim(partition).unwrap();
    }
    store
}

/// Appends one fact about each subject.
fn append(store: &mut Store, subjects: std::ops::Range<u64>, text: &str) {
    let mut entries = Vec::new();
    for (n, subject) in (store.journal.positions()[2] + 1..).zip(subjects) {
        let row = store.follower.get(SUBJECTS, &subject.to_be_bytes()).unwrap();
        let previous = row.map_or(Link::default(), |row| super::link(&row));
        let payload = [&[2], text.as_bytes(), &subject.to_be_bytes()].concat();
        entries.push(Entry::new(Partition(2), n, subject, previous, payload));
    }
    let frame = store.journal.append(Time(2), entries).unwrap();
    store.follower.apply(&frame).unwrap();
}

fn count(store: &Store) -> usize {
    let mut count = 0;
    store
        .follower
        .scan(FACTS, &[], &mut |_, _| {
            count += 1;
            true
        })
        .unwrap();
    count
}

fn verified(folder: &Path) -> VerifyReport {
    let options = options(folder);
    let tables = LmdbTables::open_existing(&options.cache_dir).unwrap();
    verify(&RealDisk, tables.as_ref(), Arc::new(Chains), &options, Level::Full, Part::WHOLE, &mut |_| {})
}

#[test]
fn an_environment_is_reopened_and_only_the_tail_is_folded() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_real(folder.path());
    append(&mut store, 1..300, "first");
    store.follower.checkpoint().unwrap();
    append(&mut store, 100..400, "second");
    store.marker.stopped().unwrap();
    drop(store);
    let store = open_real(folder.path());
    assert_eq!((store.report.discarded.as_deref(), store.report.folded_frames), (None, 1));
    assert_eq!(count(&store), 399);
    drop(store);
    let report = verified(folder.path());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.rows, 2 * 299);
}

#[test]
fn an_environment_that_is_deleted_or_no_environment_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_real(folder.path());
    append(&mut store, 1..50, "first");
    store.follower.checkpoint().unwrap();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("cache")).unwrap();
    let store = open_real(folder.path());
    assert_eq!(count(&store), 49);
    drop(store);
    std::fs::write(folder.path().join("cache/live.mdb"), vec![0x55; 100_000]).unwrap();
    assert!(LmdbTables::open_existing(&folder.path().join("cache")).is_err());
    let store = open_real(folder.path());
    assert_eq!(count(&store), 49);
}

#[test]
fn a_changed_byte_in_a_row_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_real(folder.path());
    append(&mut store, 1..50, "needle");
    store.follower.checkpoint().unwrap();
    drop(store);
    let path = folder.path().join("cache/live.mdb");
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<_> = (0..bytes.len() - 6).filter(|&at| &bytes[at..at + 6] == b"needle").collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] = b'N';
    }
    std::fs::write(&path, &bytes).unwrap();
    let report = verified(folder.path());
    assert!(matches!(report.findings[0], Error::Row { table: FACTS, .. }), "{:?}", report.findings);
    let mut store = open_real(folder.path());
    let error = store.follower.get(FACTS, &7_u64.to_be_bytes()).unwrap_err();
    assert!(error.is_of_tables(), "{error}");
    store.follower.check_sums(FACTS, None).unwrap_err();
    let reader = store.journal.reader();
    store.follower.rebuild(&reader).unwrap();
    store.follower.checkpoint().unwrap();
    assert_eq!(count(&store), 49);
    drop(store);
    assert!(verified(folder.path()).findings.is_empty());
}

#[test]
fn an_environment_that_a_fold_stumbles_over_is_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_real(folder.path());
    append(&mut store, 1..20, "first");
    store.follower.checkpoint().unwrap();
    append(&mut store, 1..20, "second");
    drop(store);
    // A row that lost its end behind the store's back, well formed: the fold does not fit it.
    let cache = folder.path().join("cache");
    let tables = LmdbTables::open(&cache).unwrap();
    let meta = tables.meta().unwrap().unwrap();
    let key = 5_u64.to_be_bytes();
    let gone = Change { table: SUBJECTS, partition: Partition(2), key: &key, value: None };
    tables.commit(&vec![gone], &meta).unwrap();
    drop(tables);
    let store = open_real(folder.path());
    assert!(store.report.discarded.is_some());
    assert_eq!(count(&store), 19);
}

#[test]
fn no_transaction_is_open_while_somebody_looks_at_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_real(folder.path());
    append(&mut store, 1..600, "row");
    store.follower.checkpoint().unwrap();
    append(&mut store, 1..5, "other");
    let checkpoint = store.follower.begin_checkpoint().unwrap();
    let mut seen = 0;
    // A read transaction of this thread would make clearing wait for ever, and the file grow.
    store
        .follower
        .scan(FACTS, &[], &mut |_, _| {
            if seen == 10 {
                checkpoint.write().unwrap();
            }
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(seen, 599);
}

#[test]
fn keys_and_values_at_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let tables = LmdbTables::open(folder.path()).unwrap();
    let meta = knhk::store::Meta::empty(StoreId([1; 16]));
    let put = |key: &[u8]| {
        let change = Change { table: Table(15), partition: Partition(64), key, value: Some(&[]) };
        tables.commit(&vec![change], &meta)
    };
    put(&[0xff; KEY_BYTES_MAX]).unwrap();
    assert_eq!(put(&[0; KEY_BYTES_MAX + 1]).unwrap_err().code().0, 413);
    assert_eq!(put(&[]).unwrap_err().code().0, 413);
    assert_eq!(tables.get(Table(15), &[0xff; KEY_BYTES_MAX]).unwrap(), Some(Vec::new()));
    assert_eq!(tables.get(Table(15), &[0; KEY_BYTES_MAX + 1]).unwrap(), None);
    assert_eq!(tables.get(Table(15), &[]).unwrap(), None);
    let mut seen = 0;
    tables
        .scan(Table(15), &[0xff; KEY_BYTES_MAX + 1], &mut |_, _| {
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(seen, 0);
}

/// Returns where in an LMDB file the keys of a branch page lie: those that lead to its other pages.
fn branch_keys(bytes: &[u8]) -> Vec<usize> {
    const PAGE_BYTES: usize = 4096;
    const HEAD_BYTES: usize = 16;
    let mut out = Vec::new();
    for start in (0..bytes.len()).step_by(PAGE_BYTES) {
        let word = |at: usize| usize::from(u16::from_le_bytes([bytes[start + at], bytes[start + at + 1]]));
        if word(10) == 1 {
            // The first node of a branch has no key.
            let nodes = (HEAD_BYTES + 2..word(12)).step_by(2).map(word);
            out.extend(nodes.map(|node| start + node + 8));
        }
    }
    out
}

#[test]
fn a_page_that_no_longer_leads_to_its_rows_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_real(folder.path());
    for first in (1..3_000).step_by(200) {
        append(&mut store, first..first + 200, "first");
    }
    store.follower.checkpoint().unwrap();
    store.marker.stopped().unwrap();
    drop(store);
    let path = options(folder.path()).cache_dir.join("live.mdb");
    let whole = std::fs::read(&path).unwrap();
    let keys = branch_keys(&whole);
    assert!(keys.len() > 10, "{keys:?}");
    for at in keys {
        let mut bytes = whole.clone();
        // All rows are there and good, and some keys lead to another page.
        bytes[at + 7] ^= 0x80;
        std::fs::write(&path, &bytes).unwrap();
        assert!(!verified(folder.path()).findings.is_empty(), "byte {at}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(verified(folder.path()).findings.is_empty());
}
