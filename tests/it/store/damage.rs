//! Damage, copies, and what repair does about them.

use std::path::PathBuf;
use std::sync::Arc;

use expect_test::{Expect, expect};
use knhk::id::{Partition, Time};
use knhk::store::{Act, Change, Entry, Error, Level, Link, Log, Tables, info, repair};
use proptest::prelude::{ProptestConfig, Strategy, any, prop};
use proptest::proptest;

use super::{Bench, FACTS};

const FRAME_AT: usize = 4096;

/// Makes a store of three segments and more, cleanly ended.
pub(super) fn filled(seed: u64) -> Bench {
    let mut bench = Bench::new(seed);
    let mut store = bench.open().unwrap();
    while bench.segments().len() < 3 {
        bench.append(&mut store).unwrap();
    }
    bench.append(&mut store).unwrap();
    bench.append(&mut store).unwrap();
    store.marker.stopped().unwrap();
    bench
}

pub(super) fn refusal(bench: &mut Bench) -> String {
    match bench.open() {
        Ok(store) => format!("opened at frame {}: {:?}", store.journal.seq(), store.report.notes),
        Err(error) => format!("{}: {error}", error.code()),
    }
}

/// Repairs, and checks that what is kept opens and verifies.
fn repaired(bench: &mut Bench, expected: Expect) {
    let disk = Arc::new(bench.disk.clone());
    let before = bench.disk.files(&PathBuf::from("/state"));
    let told = repair(&disk, &bench.options, Some(&*bench.tables), Time(5), Act::Tell).unwrap();
    assert_eq!(bench.disk.files(&PathBuf::from("/state")), before, "telling changes nothing");
    let done = repair(&disk, &bench.options, Some(&*bench.tables), Time(5), Act::Do).unwrap();
    assert_eq!((told.kept_seq, &told.moved), (done.kept_seq, &done.moved));
    let text = format!(
        "{}\nkept up to {}\nmoved {:?}\n",
        done.damages.first().map_or_else(|| "no damage".to_owned(), ToString::to_string),
        done.kept_seq,
        done.moved
    );
    expected.assert_eq(&text);
    for name in &done.moved {
        assert!(bench.disk.files(&done.aside).contains(&done.aside.join(name)), "{name} is kept aside");
    }
    bench.disk.power_cycle();
    let mut store = bench.open().unwrap();
    assert!(store.journal.seq() >= done.kept_seq);
    bench.acknowledged.clear();
    bench.check(&store).unwrap();
    bench.append(&mut store).unwrap();
    bench.check(&store).unwrap();
    let again = repair(&disk, &bench.options, Some(&*bench.tables), Time(6), Act::Tell).unwrap();
    assert!(again.damages.is_empty() && again.moved.is_empty(), "{again:?}");
    assert!(bench.verify(Level::Full).findings.is_empty());
}

/// Returns where frames begin in a segment: places whose tag is that of the first.
pub(super) fn frames(bytes: &[u8]) -> Vec<usize> {
    let tag = bytes[FRAME_AT..FRAME_AT + 8].to_vec();
    (FRAME_AT..bytes.len()).step_by(512).filter(|&at| bytes[at..].starts_with(&tag)).collect()
}

#[test]
fn a_torn_tail_is_cut() {
    let mut bench = filled(20);
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| {
        let last = *frames(bytes).last().unwrap();
        bytes[last + 100] ^= 1;
    });
    let report = bench.verify(Level::Full);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    expect![[r#"opened at frame 11: ["an unfinished append behind frame 11 was cut off"]"#]]
        .assert_eq(&refusal(&mut bench));
}

/// Makes a store whose environment has folded its last frame, and changes that frame.
fn last_frame_changed(change: impl Fn(&mut [u8])) -> (Bench, PathBuf, u64) {
    let mut bench = Bench::new(20);
    let mut store = bench.open().unwrap();
    for _ in 0..3 {
        bench.append(&mut store).unwrap();
    }
    store.follower.checkpoint().unwrap();
    store.marker.stopped().unwrap();
    drop(store);
    let folded = bench.tables.meta().unwrap().unwrap().seq;
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| {
        let last = *frames(bytes).last().unwrap();
        change(&mut bytes[last..]);
    });
    (bench, head, folded)
}

#[test]
fn a_last_frame_that_was_folded_is_no_torn_tail_and_repair_says_what_is_lost() {
    type Change = fn(&mut [u8]);
    let changes: [(Change, &str); 2] = [(|bytes| bytes[100] ^= 1, "bad"), (|bytes| bytes.fill(0), "missing")];
    for (change, is) in changes {
        let (mut bench, head, folded) = last_frame_changed(change);
        // Again and again: no try makes the next one forget.
        for _ in 0..4 {
            let told = refusal(&mut bench);
            let name = head.file_name().unwrap().to_string_lossy().into_owned();
            for part in ["KN0402", &name, &format!("frame {folded} is {is}, and was whole once")] {
                assert!(told.contains(part), "{part} is not in {told}");
            }
        }
        let disk = Arc::new(bench.disk.clone());
        let done = repair(&disk, &bench.options, Some(&*bench.tables), Time(5), Act::Do).unwrap();
        assert_eq!(done.kept_seq, folded - 1);
        assert!(done.damages[0].to_string().contains(&format!("folded up to frame {folded}")));
        let store = bench.open().unwrap();
        bench.acknowledged.clear();
        bench.check(&store).unwrap();
    }
}

#[test]
fn a_good_frame_behind_a_bad_one_is_damage_and_repair_cuts_there() {
    let mut bench = filled(20);
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| {
        let second = frames(bytes)[1];
        bytes[second + 100] ^= 1;
    });
    let files = bench.disk.files(&PathBuf::from("/state"));
    expect!["KN0402: the journal is damaged at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: the frame's checksum does not match, and a good frame follows at byte 10752"].assert_eq(&refusal(&mut bench));
    assert_eq!(bench.disk.files(&PathBuf::from("/state")), files, "a refusal writes nothing");
    let found = bench.verify(Level::Quick).findings.remove(0);
    assert!(matches!(found, Error::Damaged { .. }), "{found}");
    repaired(
        &mut bench,
        expect![[r#"
            the journal is damaged at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: the frame's checksum does not match, and a good frame follows at byte 10752
            kept up to 10
            moved ["journal/00000000000000000010-0000000003.jnl"]
        "#]],
    );
}

#[test]
fn damage_in_an_old_segment_is_found_by_verify_and_by_folding() {
    let mut bench = filled(20);
    let first = bench.segments().remove(0);
    bench.disk.damage(&first, |bytes| {
        let second = frames(bytes)[2];
        bytes[second + 12] ^= 1;
    });
    let found = bench.verify(Level::Full).findings.remove(0);
    assert!(matches!(found, Error::Damaged { .. }), "{found}");
    assert!(bench.verify(Level::Quick).findings.is_empty());
    expect!["KN0402: the journal is damaged at byte 7168 of /state/journal/00000000000000000001-0000000001.jnl: the frame's checksum does not match, and frames up to 5 must be here"].assert_eq(&refusal(&mut bench));
    repaired(
        &mut bench,
        expect![[r#"
            the journal is damaged at byte 7168 of /state/journal/00000000000000000001-0000000001.jnl: the frame's checksum does not match, and frames up to 5 must be here
            kept up to 2
            moved ["journal/00000000000000000006-0000000002.jnl", "journal/00000000000000000010-0000000003.jnl"]
        "#]],
    );
}

#[test]
fn a_missing_segment_is_damage() {
    let mut bench = filled(20);
    let middle = bench.segments().remove(1);
    bench.disk.lose(&middle);
    expect!["KN0404: journal segment 2 is missing: /state/journal/00000000000000000010-0000000003.jnl continues from it at frame 9"].assert_eq(&refusal(&mut bench));
    assert_eq!(bench.verify(Level::Full).findings.len(), 1);
    repaired(
        &mut bench,
        expect![[r#"
            journal segment 2 is missing: /state/journal/00000000000000000010-0000000003.jnl continues from it at frame 9
            kept up to 5
            moved ["journal/00000000000000000010-0000000003.jnl"]
        "#]],
    );
}

#[test]
fn a_header_that_is_not_its_own_is_damage() {
    let mut bench = filled(20);
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| bytes[40] ^= 1);
    expect!["KN0402: the journal is damaged at byte 0 of /state/journal/00000000000000000010-0000000003.jnl: the header's checksum does not match"].assert_eq(&refusal(&mut bench));
    bench.disk.damage(&head, |bytes| bytes[8] = 9);
    expect!["KN0405: /state/journal/00000000000000000010-0000000003.jnl has format 9, and this release reads formats up to 2"].assert_eq(&refusal(&mut bench));
    let disk = Arc::new(bench.disk.clone());
    let error = repair(&disk, &bench.options, Some(&*bench.tables), Time(5), Act::Do).unwrap_err();
    assert_eq!(error.code().0, 405, "another format is no damage");
    bench.disk.damage(&head, |bytes| bytes.truncate(1000));
    repaired(
        &mut bench,
        expect![[r#"
            the journal is damaged at byte 0 of /state/journal/00000000000000000010-0000000003.jnl: this is not the header of a segment
            kept up to 9
            moved ["journal/00000000000000000010-0000000003.jnl"]
        "#]],
    );
}

#[test]
fn a_journal_that_is_gone_is_no_new_store() {
    let mut bench = filled(20);
    for segment in bench.segments() {
        bench.disk.lose(&segment);
    }
    expect!["KN0418: the journal is gone: /state/journal holds no segment, though a store was made here"]
        .assert_eq(&refusal(&mut bench));
    repaired(
        &mut bench,
        expect![[r"
            the journal is gone: /state/journal holds no segment, though a store was made here
            kept up to 0
            moved []
        "]],
    );
}

#[test]
fn nothing_is_kept_when_the_first_frame_is_bad() {
    let mut bench = filled(20);
    let first = bench.segments().remove(0);
    bench.disk.damage(&first, |bytes| bytes[FRAME_AT + 20] ^= 1);
    repaired(
        &mut bench,
        expect![[r#"
            the journal is damaged at byte 4096 of /state/journal/00000000000000000001-0000000001.jnl: the frame's checksum does not match, and frames up to 5 must be here
            kept up to 0
            moved ["journal/00000000000000000001-0000000001.jnl", "journal/00000000000000000006-0000000002.jnl", "journal/00000000000000000010-0000000003.jnl"]
        "#]],
    );
}

#[test]
fn segments_of_another_store_are_refused() {
    let (mut bench, other) = (filled(20), filled(21));
    let head = bench.segments().pop().unwrap();
    let bytes = {
        let mut bytes = Vec::new();
        let path = other.segments().pop().unwrap();
        other.disk.damage(&path, |found| bytes.clone_from(found));
        bytes
    };
    bench.disk.damage(&head, |found| *found = bytes);
    assert!(bench.open().is_err());
}

#[test]
fn bytes_in_a_payload_never_pass_for_a_frame() {
    let mut bench = Bench::new(22);
    let mut store = bench.open().unwrap();
    let mut whole = Vec::new();
    bench.disk.damage(&bench.segments()[0], |bytes| whole.clone_from(bytes));
    // A client that has seen a segment of another store sends it as data, sector for sector.
    let other = filled(23);
    other.disk.damage(&other.segments()[0], |bytes| whole.clone_from(bytes));
    let payload = whole[FRAME_AT - 122..FRAME_AT + 8192].to_vec();
    let entry = Entry::new(Partition(0), 1, 0, Link::default(), payload);
    store.journal.append(Time(1), vec![entry]).unwrap();
    drop(store);
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| {
        let last = *frames(bytes).last().unwrap();
        bytes[last + 20] ^= 1;
    });
    expect![[r#"opened at frame 1: ["an unfinished append behind frame 1 was cut off"]"#]]
        .assert_eq(&refusal(&mut bench));
}

#[test]
fn verify_compares_rows_sums_and_chains() {
    let mut bench = filled(24);
    let mut store = bench.open().unwrap();
    store.follower.checkpoint().unwrap();
    assert!(bench.verify(Level::Full).findings.is_empty());
    let meta = bench.tables.meta().unwrap().unwrap();
    let key = 4242_u64.to_be_bytes();
    let change = Change { table: FACTS, partition: Partition(0), key: &key, value: Some(&[1]) };
    bench.tables.commit(&vec![change], &meta).unwrap();
    let found = bench.verify(Level::Full).findings.remove(0);
    assert!(matches!(found, Error::Astray { .. }), "{found}");
    let back = Change { value: None, ..change };
    bench.tables.commit(&vec![back], &meta).unwrap();
    assert!(bench.verify(Level::Full).findings.is_empty());
    // A fact whose subject says that it continues nothing.
    let positions = store.journal.positions();
    let (n, subject) = (positions[0] + 1, 1);
    let entry = Entry::new(Partition(0), n, subject, Link::default(), vec![1]);
    store.journal.append(Time(1), vec![entry]).unwrap();
    let found = bench.verify(Level::Full).findings;
    assert!(matches!(found[0], Error::ChainBroken { subject: 1, .. }), "{found:?}");
    assert!(matches!(found[1], Error::Fold { .. }), "{found:?}");
}

#[test]
fn verify_folds_more_than_it_holds_at_once_and_compares_at_its_end() {
    let mut bench = Bench::new(26);
    let mut store = bench.open().unwrap();
    // Some 18 MB in frames of three partitions, each a chain: an entry that is left out, folded twice or folded out of
    // its order does not fit.
    let mut previous = [Link::default(); 3];
    for number in 0..1_200_u32 {
        let entries = [0, 31, 62].iter().zip(&mut previous).map(|(&partition, previous)| {
            let mut payload = vec![u8::try_from(number % 250).unwrap(); 5_000];
            payload[1..5].copy_from_slice(&number.to_be_bytes());
            let (n, subject) = (previous.n + 1, u64::from(partition) + 1);
            let partition = Partition(partition);
            let entry = Entry::new(partition, n, subject, *previous, payload);
            *previous = entry.link();
            entry
        });
        let frame = store.journal.append(Time(1), entries.collect()).unwrap();
        store.follower.apply(&frame).unwrap();
        if number == 700 {
            store.follower.checkpoint().unwrap();
            let report = bench.verify(Level::Full);
            assert!(report.findings.is_empty() && report.rows == 6, "{report:?}");
        }
    }
    store.follower.checkpoint().unwrap();
    let report = bench.verify(Level::Full);
    assert!(report.findings.is_empty() && report.rows == 6 && report.entries == 3_600, "{report:?}");
    let meta = bench.tables.meta().unwrap().unwrap();
    let key = 63_u64.to_be_bytes();
    let change = Change { table: FACTS, partition: Partition(62), key: &key, value: Some(&[2]) };
    bench.tables.commit(&vec![change], &meta).unwrap();
    let found = bench.verify(Level::Full).findings;
    assert!(matches!(found[..], [Error::Astray { .. }]), "{found:?}");
}

#[test]
fn info_says_what_lies_where() {
    let mut bench = filled(25);
    let found = info(&bench.disk, Some(&*bench.tables), &bench.options).unwrap();
    assert_eq!(found.segments.len(), 3);
    assert!(found.damage.is_none() && found.environment.is_none() && found.void_segments == 0);
    let seq = found.seq;
    let store = bench.open().unwrap();
    assert_eq!((store.journal.seq(), store.journal.positions()), (seq, found.positions));
    bench.disk.damage(&bench.segments()[2], |bytes| bytes[0] = 0);
    bench.disk.damage(&bench.segments()[3], |bytes| bytes[0] = 0);
    assert!(info(&bench.disk, Some(&*bench.tables), &bench.options).unwrap().damage.is_some());
}

fn segment_bytes() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (0..24 * 1024_usize, prop::collection::vec(any::<u8>(), 1..600))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_in_a_segment_make_anything_panic(which in 0..3_usize, (at, noise) in segment_bytes()) {
        let mut bench = filled(26);
        let path = bench.segments()[which].clone();
        bench.disk.damage(&path, |bytes| {
            let end = bytes.len().min(at + noise.len());
            let start = at.min(end);
            bytes[start..end].copy_from_slice(&noise[..end - start]);
        });
        let _ = bench.verify(Level::Full);
        let _ = info(&bench.disk, Some(&*bench.tables), &bench.options);
        let opened = bench.open().map(|store| store.journal.seq());
        let disk = Arc::new(bench.disk.clone());
        let report = repair(&disk, &bench.options, Some(&*bench.tables), Time(1), Act::Do).unwrap();
        if let Ok(seq) = opened {
            assert!(report.damages.is_empty() || report.kept_seq <= seq);
        }
        bench.open().unwrap();
    }
}
