//! Private invariants: the frame as bytes, rows as bytes, and the map that grows.

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::frame::{FRAME_BYTES_MAX, Tag, decode, encode, encoded_bytes, groups, hash, seal};
use super::row;
use super::segment::{name, parse_name};
use super::{
    Change, Entry, Link, LmdbTables, MemTables, Meta, Scrubbed, StoreId, Sums, TABLE_COUNT_MAX, Table, Tables,
};
use crate::id::{PARTITION_COUNT, Partition, Time};

const TAG: Tag = *b"tag tag!";

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let partition = prop_oneof![Just(0_u16), Just(1), Just(64)];
    let one = (partition, any::<u64>(), any::<u64>(), any::<[u8; 16]>(), vec(any::<u8>(), 0..200));
    vec(one, 0..20).prop_map(|parts| {
        let mut positions = [7_u64; PARTITION_COUNT];
        let build = |(partition, subject, n, hash, payload)| {
            let partition = Partition(partition);
            positions[partition.index()] += 1;
            let previous = Link { n, hash };
            Entry::new(partition, positions[partition.index()], subject, previous, payload)
        };
        parts.into_iter().map(build).collect()
    })
}

fn sealed(seq: u64, before: [u8; 32], time: u64, entries: &[Entry]) -> Vec<u8> {
    let epochs = std::array::from_fn(|place| place as u64 + 1);
    let groups = groups(entries, &epochs);
    let mut bytes = encode(seq, &before, Time(time), &groups, entries);
    assert_eq!(bytes.len(), encoded_bytes(&groups, entries));
    seal(&mut bytes, TAG);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn frames_read_back(seq in any::<u64>(), before in any::<[u8; 32]>(), time in any::<u64>(), entries in entries()) {
        let mut bytes = sealed(seq, before, time, &entries);
        let length = bytes.len();
        let hash = hash(&bytes);
        // What lies behind a frame is not its business.
        bytes.resize(length.next_multiple_of(512), 0xaa);
        let decoded = decode(&bytes, TAG).unwrap();
        prop_assert_eq!(&decoded.frame.entries, &entries);
        prop_assert_eq!((decoded.frame.seq, decoded.frame.before, decoded.frame.time.0), (seq, before, time));
        prop_assert_eq!((decoded.length_bytes, decoded.frame.hash), (length, hash));
        for group in &decoded.groups {
            prop_assert_eq!(group.epoch, u64::from(group.partition.0) + 1);
        }
        seal(&mut bytes[..length], *b"another!");
        prop_assert!(decode(&bytes, TAG).is_err());
        prop_assert_eq!(decode(&bytes, *b"another!").unwrap().frame.hash, hash);
    }

    #[test]
    fn any_bit_flipped_and_any_end_cut_off_is_found(entries in entries(), place in any::<proptest::sample::Index>()) {
        let bytes = sealed(3, [1; 32], 5, &entries);
        let bit = place.index(bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&flipped, TAG).is_err(), "bit {}", bit);
        prop_assert!(decode(&bytes[..place.index(bytes.len())], TAG).is_err());
    }

    #[test]
    fn any_bytes_with_a_good_checksum_are_read_or_refused(mut body in vec(any::<u8>(), 56..600)) {
        let length = u32::try_from(body.len() + 12).unwrap();
        let mut bytes = [&TAG[..], &length.to_le_bytes()].concat();
        bytes.append(&mut body);
        seal(&mut bytes, TAG);
        if let Ok(decoded) = decode(&bytes, TAG) {
            prop_assert_eq!(decoded.length_bytes, bytes.len());
        }
    }

    #[test]
    fn any_bit_flipped_in_a_row_or_its_key_is_found(
        key in vec(any::<u8>(), 1..40),
        value in vec(any::<u8>(), 0..100),
        place in any::<proptest::sample::Index>(),
    ) {
        let change = Change { table: Table(3), partition: Partition(9), key: &key, value: Some(&value) };
        let stored = row::encode(&change, &value);
        prop_assert_eq!(row::decode(Table(3), &key, &stored).unwrap(), (Partition(9), &value[..]));
        prop_assert!(row::decode(Table(4), &key, &stored).is_err());
        let bit = place.index((stored.len() + key.len()) * 8);
        let (mut flipped, mut other_key) = (stored.clone(), key.clone());
        match bit.checked_sub(stored.len() * 8) {
            None => flipped[bit / 8] ^= 1 << (bit % 8),
            Some(bit) => other_key[bit / 8] ^= 1 << (bit % 8),
        }
        prop_assert!(row::decode(Table(3), &other_key, &flipped).is_err());
    }
}

#[test]
fn a_frame_of_the_greatest_length_reads_back_and_a_longer_one_does_not() {
    let entry = |payload_bytes| Entry::new(Partition(1), 1, 0, Link::default(), vec![7; payload_bytes]);
    let most = FRAME_BYTES_MAX - 64 - 22 - 36 - 4;
    let bytes = sealed(1, [0; 32], 1, &[entry(most)]);
    assert_eq!((bytes.len(), decode(&bytes, TAG).unwrap().length_bytes), (FRAME_BYTES_MAX, FRAME_BYTES_MAX));
    let bytes = sealed(1, [0; 32], 1, &[entry(most + 1)]);
    assert_eq!(decode(&bytes, TAG), Err("the frame's length is impossible"));
}

#[test]
fn names_of_segments_sort_and_read_back() {
    assert!(name(9, 12) < name(10, 3));
    assert_eq!(parse_name(&name(10, 3)), Some((10, 3)));
    assert_eq!(parse_name(&name(u64::MAX, u64::MAX)), Some((u64::MAX, u64::MAX)));
    for other in ["1-1.jnl", "00000000000000000001-0000000001.jnl.tmp", "7.tmp", "", "-.jnl"] {
        assert_eq!(parse_name(other), None, "{other}");
    }
}

#[test]
fn meta_reads_back_and_any_flipped_bit_is_found() {
    let mut sums = Sums::new();
    sums.insert((Table(2), Partition(3)), super::Sum { rows: 4, hashes: 5 });
    let mut meta = Meta::empty(StoreId([1; 16]));
    (meta.seq, meta.positions[64]) = (9, 8);
    let bytes = row::encode_meta(&meta, &sums);
    assert_eq!(row::decode_meta(&bytes).unwrap(), (meta, sums));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(row::decode_meta(&flipped).is_err(), "bit {bit}");
    }
}

fn all(tables: &dyn Tables) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    for table in 0..TABLE_COUNT_MAX {
        let scanned = tables.scan(Table(table), &[], &mut |key, value| {
            out.push((table, key.to_vec(), value.to_vec()));
            true
        });
        scanned.unwrap();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn both_kinds_of_tables_hold_the_same_rows_and_sums(
        commits in vec(vec((0..3_u8, 0..3_u16, 0..20_u8, proptest::option::of(vec(any::<u8>(), 0..50))), 0..20), 1..5),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (disk, memory) = (LmdbTables::open(folder.path()).unwrap(), MemTables::default());
        for (seq, commit) in (1..).zip(&commits) {
            let mut meta = Meta::empty(StoreId([1; 16]));
            meta.seq = seq;
            // No key twice in one commit.
            let mut by_key = std::collections::BTreeMap::new();
            for (table, partition, key, value) in commit {
                by_key.insert((*table, [*key]), (*partition, value));
            }
            let changes: Vec<_> = by_key.iter().map(|((table, key), (partition, value))| Change {
                table: Table(*table),
                partition: Partition(*partition),
                key,
                value: value.as_deref(),
            }).collect();
            disk.commit(&changes, &meta).unwrap();
            memory.commit(&changes, &meta).unwrap();
            prop_assert_eq!(disk.meta().unwrap().unwrap().seq, seq);
        }
        prop_assert_eq!(all(&disk), all(&memory));
        prop_assert_eq!(disk.sums().unwrap(), memory.sums().unwrap());
        for table in (0..3).map(Table) {
            super::follower::check_sums(&disk, table, None).unwrap();
            prop_assert_eq!(disk.count(table).unwrap(), memory.count(table).unwrap());
        }
    }
}

#[test]
fn the_map_grows_between_transactions_and_a_commit_is_whole_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tables = LmdbTables::open(folder.path()).unwrap();
    let value = vec![7; 100_000];
    let keys: Vec<_> = (0..100_u8).map(|key| [key]).collect();
    let put = |key| Change { table: Table(0), partition: Partition(0), key, value: Some(&value[..]) };
    // Ten times what the map begins with in this test.
    let changes: Vec<_> = keys.iter().map(|key| put(key)).collect();
    let mut meta = Meta::empty(StoreId([1; 16]));
    meta.seq = 1;
    tables.commit(&changes, &meta).unwrap();
    assert_eq!(all(&tables).len(), 100);
    let refused = vec![Change { value: None, ..put(&keys[3]) }, put(&[])];
    meta.seq = 2;
    tables.commit(&refused, &meta).unwrap_err();
    assert_eq!((all(&tables).len(), tables.meta().unwrap().unwrap().seq), (100, 1));
    tables.clear().unwrap();
    assert_eq!((all(&tables).len(), tables.meta().unwrap()), (0, None));
    tables.commit(&changes, &meta).unwrap();
    drop(tables);
    assert_eq!(all(&LmdbTables::open(folder.path()).unwrap()).len(), 100);
}

#[test]
fn a_row_that_vanished_is_found_by_the_sums() {
    let folder = tempfile::tempdir().unwrap();
    let tables = LmdbTables::open(folder.path()).unwrap();
    let put = |key| Change { table: Table(1), partition: Partition(4), key, value: Some(b"row") };
    let meta = Meta::empty(StoreId([1; 16]));
    tables.commit(&vec![put(b"a"), put(b"b")], &meta).unwrap();
    tables.remove_unseen(Table(1), b"a");
    let error = super::follower::check_sums(&tables, Table(1), None).unwrap_err();
    assert_eq!(
        format!("{}: {error}", error.code()),
        "KN0410: table 1 of partition 4 has 1 rows that do not add up to the 2 written"
    );
    super::follower::check_sums(&tables, Table(1), Some(Partition(5))).unwrap();
}

/// Commits rows of one table, each with its key's number for a partition.
fn commit_rows(tables: &dyn Tables, rows: &[(u8, Option<Vec<u8>>)]) {
    let by_key: std::collections::BTreeMap<[u8; 1], Option<&[u8]>> =
        rows.iter().map(|(key, value)| ([*key], value.as_deref())).collect();
    let partition = |key: &[u8; 1]| Partition(u16::from(key[0] % 3));
    let changes: Vec<_> = by_key
        .iter()
        .map(|(key, value)| Change { table: Table(0), partition: partition(key), key, value: *value })
        .collect();
    tables.commit(&changes, &Meta::empty(StoreId([1; 16]))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_scrub_finds_what_is_missing_and_nothing_else_whatever_is_committed_between_its_pieces(
        first in vec((0..30_u8, vec(any::<u8>(), 0..9).prop_map(Some)), 1..40),
        commits in vec(vec((0..30_u8, proptest::option::of(vec(any::<u8>(), 0..9))), 0..8), 0..6),
        lost in proptest::option::of(any::<proptest::sample::Index>()),
        piece in 1..7_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (disk, memory) = (LmdbTables::open(folder.path()).unwrap(), MemTables::default());
        for tables in [&disk as &dyn Tables, &memory] {
            commit_rows(tables, &first);
        }
        if let Some(lost) = lost {
            let key = [first[lost.index(first.len())].0];
            disk.remove_unseen(Table(0), &key);
            prop_assert!(memory.remove_unseen(Table(0), &key));
        }
        for tables in [&disk as &dyn Tables, &memory] {
            let mut commits = commits.iter();
            let found = loop {
                match tables.scrub(Table(0), piece) {
                    Ok(Scrubbed::Whole) => break false,
                    Err(error) => {
                        prop_assert!(error.is_of_tables(), "{error}");
                        break true;
                    }
                    Ok(Scrubbed::More) => commits.next().into_iter().for_each(|rows| commit_rows(tables, rows)),
                }
            };
            prop_assert_eq!(found, lost.is_some());
        }
    }
}

#[test]
fn an_environment_that_is_half_free_is_made_smaller_and_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let tables = LmdbTables::open(folder.path()).unwrap();
    let value = vec![7; 10_000];
    let keys: Vec<_> = (0..200_u8).map(|key| [key]).collect();
    let mut meta = Meta::empty(StoreId([1; 16]));
    let row = |key, value| Change { table: Table(2), partition: Partition(1), key, value };
    tables.commit(&keys.iter().map(|key| row(key, Some(&value[..]))).collect::<Vec<_>>(), &meta).unwrap();
    assert_eq!(tables.compact().unwrap(), None, "nothing is free");
    meta.seq = 1;
    tables.commit(&keys[20..].iter().map(|key| row(key, None)).collect::<Vec<_>>(), &meta).unwrap();
    let (rows, sums) = (all(&tables), tables.sums().unwrap());
    assert_eq!(tables.scrub(Table(2), 5).unwrap(), Scrubbed::More);
    let made = tables.compact().unwrap().unwrap();
    assert!(made.before_bytes > 2_000_000 && made.after_bytes < 500_000, "{made:?}");
    assert_eq!((all(&tables), tables.sums().unwrap(), tables.meta().unwrap().unwrap().seq), (rows, sums, 1));
    assert_eq!(tables.compact().unwrap(), None, "it is small now");
    tables.commit(&vec![row(b"new", Some(b"row"))], &meta).unwrap();
    assert_eq!(tables.scrub(Table(2), 100).unwrap(), Scrubbed::Whole);
    drop(tables);
    assert_eq!(all(&LmdbTables::open(folder.path()).unwrap()).len(), 21);
}
