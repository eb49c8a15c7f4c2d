//! One test for each rule of docs/reference/store.md that is not about damage.

use std::path::Path;
use std::sync::Arc;

use expect_test::expect;
use knhk::id::{Partition, Time};
use knhk::store::{
    AppendError, Change, Disk, DiskFile, Entry, Error, Level, Link, Log, Meta, Prepared, RealDisk, Start,
    StoreId, Table, Tables, open,
};

use super::{Bench, Chains, FACTS, SUBJECTS, rows};

fn entry(partition: u16, n: u64, payload: &[u8]) -> Entry {
    Entry::new(Partition(partition), n, 0, Link::default(), payload.to_vec())
}

fn contents(bench: &Bench, path: &Path) -> Vec<u8> {
    let file = bench.disk.open(path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn names(bench: &Bench) -> Vec<String> {
    bench.segments().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_opening_holds_the_last_good_frame_again_and_writes_to_no_old_segment() {
    let mut bench = Bench::new(3);
    let mut store = bench.open().unwrap();
    bench.append(&mut store).unwrap();
    bench.append(&mut store).unwrap();
    drop(store);
    let before: Vec<_> = bench.segments().into_iter().map(|path| (contents(&bench, &path), path)).collect();
    let mut store = bench.open().unwrap();
    bench.append(&mut store).unwrap();
    expect![[r#"
        [
            "00000000000000000001-0000000001.jnl",
            "00000000000000000003-0000000002.jnl",
        ]
    "#]]
    .assert_debug_eq(&names(&bench));
    for (bytes, path) in before {
        assert!(contents(&bench, &path) == bytes, "{} was written to", path.display());
    }
    bench.check(&store).unwrap();
}

#[test]
fn a_last_frame_whose_sync_failed_survives_once_it_was_shown() {
    let mut bench = Bench::new(4);
    let mut store = bench.open().unwrap();
    bench.append(&mut store).unwrap();
    bench.disk.fail_next_sync();
    assert!(matches!(bench.append(&mut store), Err(AppendError::Io(_))));
    drop(store);
    // The process ends and another begins: the pages still read well, so the frame is shown.
    bench.disk.restart();
    let store = bench.open().unwrap();
    assert_eq!(store.journal.seq(), 3);
    let shown = rows(&store, SUBJECTS);
    drop(store);
    bench.disk.power_cycle();
    let store = bench.open().unwrap();
    assert_eq!(rows(&store, SUBJECTS), shown);
}

#[test]
fn after_a_failed_write_or_sync_the_next_segment_goes_on_from_the_last_durable_frame() {
    for fail in [|bench: &Bench| bench.disk.fail_next_sync(), |bench: &Bench| bench.disk.fail_next_write()] {
        let mut bench = Bench::new(5);
        let mut store = bench.open().unwrap();
        bench.append(&mut store).unwrap();
        let old = bench.segments().pop().unwrap();
        fail(&bench);
        let error = bench.append(&mut store).unwrap_err();
        assert!(error.is_outcome_unknown(), "{error}");
        assert!(store.journal.is_failing());
        let after_failure = contents(&bench, &old);
        for _ in 0..3 {
            bench.append(&mut store).unwrap();
        }
        assert!(!store.journal.is_failing());
        assert!(contents(&bench, &old) == after_failure, "the old segment was written again");
        assert_eq!(
            names(&bench),
            ["00000000000000000001-0000000001.jnl", "00000000000000000003-0000000002.jnl"]
        );
        bench.check(&store).unwrap();
        drop(store);
        bench.disk.power_cycle();
        let store = bench.open().unwrap();
        bench.check(&store).unwrap();
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_by_itself_when_there_is_space() {
    let mut bench = Bench::new(6);
    let mut store = bench.open().unwrap();
    bench.disk.set_budget(Some(bench.disk.used_bytes() + 1_000));
    let mut appended = 0;
    let error = loop {
        match bench.append(&mut store) {
            Ok(()) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 100, "a segment of {} bytes takes no more", bench.options.segment_bytes);
    };
    assert!(matches!(error, AppendError::Full(_)), "{error}");
    assert!(matches!(bench.append(&mut store), Err(AppendError::Full(_))));
    assert!(store.journal.preparer().step().is_err());
    let files = bench.disk.files(Path::new("/state/journal"));
    assert_eq!(files, bench.segments(), "what was begun in vain takes no space");
    bench.check(&store).unwrap();
    bench.disk.set_budget(None);
    bench.append(&mut store).unwrap();
    bench.check(&store).unwrap();
}

#[test]
fn a_prepared_segment_is_zeros_and_becomes_the_next_one() {
    let mut bench = Bench::new(7);
    bench.options.segment_bytes = 5 * 1024 * 1024 / 2;
    let mut store = bench.open().unwrap();
    let mut preparer = store.journal.preparer();
    assert_eq!(preparer.step().unwrap(), Prepared::More);
    assert_eq!(preparer.step().unwrap(), Prepared::More);
    assert_eq!(preparer.step().unwrap(), Prepared::Ready);
    assert_eq!(preparer.step().unwrap(), Prepared::Ready);
    let temporary = bench.disk.files(Path::new("/state/journal"));
    let temporary = temporary.into_iter().find(|path| path.extension().is_some_and(|e| e == "tmp")).unwrap();
    let zeros = contents(&bench, &temporary);
    assert!(zeros.len() as u64 == bench.options.segment_bytes && zeros.iter().all(|&byte| byte == 0));
    let inode = bench.disk.open(&temporary).unwrap().stamp().unwrap();
    bench.disk.fail_next_write();
    bench.append(&mut store).unwrap_err();
    bench.append(&mut store).unwrap();
    let next = bench.segments().pop().unwrap();
    assert_eq!(bench.disk.open(&next).unwrap().stamp().unwrap(), inode);
    drop(store);
    bench.disk.power_cycle();
    let store = bench.open().unwrap();
    bench.check(&store).unwrap();
}

#[test]
fn appending_refuses_what_is_out_of_order_too_large_or_not_claimed() {
    let mut bench = Bench::new(8);
    let mut store = bench.open().unwrap();
    let now = Time(1);
    let limit = bench.options.frame_bytes_max;
    // Head 64, group 22, entry 36, checksum 4.
    let most = limit - 64 - 22 - 36 - 4;
    let mut refused = |entries| store.journal.append(now, entries).unwrap_err();
    let mut texts = vec![
        refused(vec![entry(0, 1, &vec![1; most + 1])]),
        refused(vec![entry(0, 1, &[]), entry(0, 3, &[])]),
        refused(vec![entry(0, 0, &[])]),
        refused(vec![entry(65, 1, &[])]),
    ];
    store.journal.release(Partition(0)).unwrap();
    texts.push(store.journal.append(now, vec![entry(0, 1, &[])]).unwrap_err());
    let texts: Vec<_> = texts.iter().map(|error| format!("{}: {error}", error.code())).collect();
    expect![[r"
        KN0422: a frame of 16385 bytes is larger than the limit of 16384
        KN0423: entry 3 of partition 0 was given where entry 2 is next
        KN0423: entry 0 of partition 0 was given where entry 1 is next
        KN0424: partition 65 is not claimed
        KN0424: partition 0 is not claimed"]]
    .assert_eq(&texts.join("\n"));
    assert_eq!(store.journal.claim(Partition(0)).unwrap(), 2);
    assert_eq!(store.journal.seq(), 1, "nothing was written");
    store.journal.append(now, vec![entry(0, 1, &vec![1; most])]).unwrap();
}

#[test]
fn epochs_grow_over_openings_and_times_never_go_back() {
    let mut bench = Bench::new(9);
    let mut store = bench.open().unwrap();
    assert_eq!(store.journal.claim(Partition(3)).unwrap(), 1, "a claim of one's own changes nothing");
    let late = Time(bench.clock + 1_000_000_000);
    store.journal.append(late, vec![entry(3, 1, &[1])]).unwrap();
    assert_eq!(store.journal.append(Time(5), vec![entry(3, 2, &[1])]).unwrap().time, late);
    drop(store);
    let mut store = bench.open().unwrap();
    assert_eq!(store.journal.claim(Partition(3)).unwrap(), 2);
    assert_eq!(store.journal.time(), late);
}

#[test]
fn history_is_found_by_following_a_subject_back_through_many_segments_from_any_thread() {
    let mut bench = Bench::new(10);
    let mut store = bench.open().unwrap();
    for _ in 0..150 {
        bench.append(&mut store).unwrap();
    }
    assert!(bench.segments().len() > 20, "more than there are indexes");
    let reader = store.journal.reader();
    let ends = rows(&store, SUBJECTS);
    let acknowledged = bench.acknowledged.len();
    let followed = std::thread::scope(|scope| {
        let walk = scope.spawn(move || {
            let mut count = 0;
            for (subject, row) in ends {
                let subject = u64::from_be_bytes(subject.try_into().unwrap());
                let partition = Partition(u16::try_from((subject - 1) % 100).unwrap());
                let mut link = super::link(&row);
                while link.n > 0 {
                    let entry = reader.entry(partition, subject, link.n).unwrap().unwrap();
                    assert_eq!((entry.hash(), entry.subject), (link.hash, subject));
                    link = entry.previous;
                    count += 1;
                }
            }
            assert_eq!(reader.entry(Partition(0), 1, 1_000_000).unwrap(), None);
            assert_eq!(reader.entry(Partition(0), 1, 0).unwrap(), None);
            assert_eq!(reader.entry(Partition(999), 1, 1).unwrap(), None);
            count
        });
        walk.join().unwrap()
    });
    assert_eq!(followed, acknowledged);
    let mut seen = 0;
    store
        .journal
        .read(Partition(31), 5, &mut |entry| {
            assert_eq!(entry.n, 5 + seen);
            seen += 1;
            seen < 3
        })
        .unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn an_environment_of_elsewhere_is_discarded() {
    let mut bench = Bench::new(11);
    let mut store = bench.open().unwrap();
    for _ in 0..5 {
        bench.append(&mut store).unwrap();
    }
    store.follower.checkpoint().unwrap();
    drop(store);
    let mut store = bench.open().unwrap();
    assert_eq!((store.report.discarded.as_deref(), store.report.folded_frames), (None, 0));
    store.marker.stopped().unwrap();
    drop(store);
    let meta = bench.tables.meta().unwrap().unwrap();
    let mut wrong = Vec::new();
    for change in [
        |meta: &mut Meta| meta.store = StoreId([9; 16]),
        |meta: &mut Meta| meta.hash[0] ^= 1,
        |meta: &mut Meta| meta.seq -= 1,
    ] {
        let mut other = meta.clone();
        change(&mut other);
        bench.tables.commit(&Vec::<Change<'_>>::new(), &other).unwrap();
        let mut store = bench.open().unwrap();
        bench.check(&store).unwrap();
        wrong.push(store.report.discarded.clone().unwrap());
        store.follower.checkpoint().unwrap();
        store.marker.stopped().unwrap();
    }
    expect![[r"
        it belongs to store 09090909090909090909090909090909
        its frame 6 is not the journal's
        its frame 5 is not the journal's"]]
    .assert_eq(&wrong.join("\n"));
}

#[test]
fn two_early_ends_discard_the_environment_and_late_or_clean_ones_do_not() {
    let mut bench = Bench::new(12);
    let mut store = bench.open().unwrap();
    bench.append(&mut store).unwrap();
    store.follower.checkpoint().unwrap();
    store.marker.stopped().unwrap();
    let mut discarded = Vec::new();
    for _ in 0..5 {
        discarded.push(bench.open().unwrap().report.discarded.is_some());
        bench.disk.restart();
    }
    // The fifth finds no environment, because nothing was checkpointed after the third.
    assert_eq!(discarded, [false, false, true, true, true]);
    let mut store = bench.open().unwrap();
    store.follower.checkpoint().unwrap();
    store.marker.settled().unwrap();
    for _ in 0..4 {
        let mut store = bench.open().unwrap();
        assert_eq!(store.report.discarded, None);
        store.marker.settled().unwrap();
        bench.disk.restart();
    }
}

#[test]
fn a_checkpoint_has_three_parts_and_reading_goes_on_meanwhile() {
    let mut bench = Bench::new(13);
    let mut store = bench.open().unwrap();
    for _ in 0..10 {
        bench.append(&mut store).unwrap();
    }
    let before = rows(&store, SUBJECTS);
    let checkpoint = store.follower.begin_checkpoint().unwrap();
    assert!(store.follower.begin_checkpoint().is_none(), "one at a time");
    assert_eq!(rows(&store, SUBJECTS), before);
    bench.append(&mut store).unwrap();
    checkpoint.write().unwrap();
    bench.check(&store).unwrap();
    store.follower.end_checkpoint();
    bench.check(&store).unwrap();
    assert_eq!(store.follower.checkpoint_seq(), 11);
    let failed = store.follower.begin_checkpoint().unwrap();
    bench.append(&mut store).unwrap();
    store.follower.abort_checkpoint();
    drop(failed);
    bench.check(&store).unwrap();
    let changed = store.follower.changed_rows();
    assert!(changed > 0);
    store.follower.checkpoint().unwrap();
    assert_eq!(store.follower.changed_rows(), 0);
    bench.check(&store).unwrap();
    for table in [SUBJECTS, FACTS] {
        store.follower.check_sums(table, None).unwrap();
        store.follower.check_sums(table, Some(Partition(31))).unwrap();
    }
}

#[test]
fn of_a_frame_that_is_folded_by_half_nothing_is_seen() {
    let mut bench = Bench::new(14);
    let mut store = bench.open().unwrap();
    bench.append(&mut store).unwrap();
    let positions = store.journal.positions();
    let mut good = entry(5, positions[5] + 1, &[2]);
    good.subject = 4242;
    let mut bad = entry(6, positions[6] + 1, &[2]);
    (bad.subject, bad.previous.n) = (4343, 99);
    let frame = store.journal.append(Time(1), vec![good, bad]).unwrap();
    let error = store.follower.apply(&frame).unwrap_err();
    assert_eq!(
        format!("{}: {error}", error.code()),
        "KN0411: entry 1 of partition 6 cannot be folded: subject 4343 stands at 0"
    );
    assert_eq!(store.follower.seq(), 2);
    let key = 4242_u64.to_be_bytes();
    assert!(matches!(store.follower.get(SUBJECTS, &key), Err(Error::Tables { .. })));
    assert!(matches!(store.follower.scan(SUBJECTS, &[], &mut |_, _| true), Err(Error::Tables { .. })));
    assert!(matches!(store.follower.apply(&frame), Err(Error::Tables { .. })));
    assert!(store.follower.begin_checkpoint().is_none());
}

#[test]
fn frames_are_folded_in_their_order() {
    let mut bench = Bench::new(14);
    let mut store = bench.open().unwrap();
    bench.append(&mut store).unwrap();
    let before = rows(&store, SUBJECTS);
    let mut later = (*store.journal.append(Time(1), Vec::new()).unwrap()).clone();
    later.seq = 9;
    let error = store.follower.apply(&later).unwrap_err();
    assert!(matches!(error, Error::FrameOrder { found: 9, expected: 3 }), "{error}");
    assert_eq!(rows(&store, SUBJECTS), before);
}

#[test]
fn scans_give_the_newest_rows_in_order_over_all_layers() {
    let mut bench = Bench::new(15);
    let mut store = bench.open().unwrap();
    let mut n = 0;
    let mut put = |store: &mut super::Store, subjects: std::ops::Range<u64>, first: u8| {
        let entries = subjects.map(|subject| {
            n += 1;
            let previous = store.follower.get(SUBJECTS, &subject.to_be_bytes()).unwrap();
            let previous = previous.map_or(Link::default(), |row| super::link(&row));
            Entry::new(Partition(0), n, subject, previous, vec![first])
        });
        let entries: Vec<_> = entries.collect();
        for part in entries.chunks(100) {
            let frame = store.journal.append(Time(1), part.to_vec()).unwrap();
            store.follower.apply(&frame).unwrap();
        }
    };
    // More than two batches in the environment, some deleted above it, some put over them.
    put(&mut store, 1..701, 2);
    store.follower.checkpoint().unwrap();
    put(&mut store, 200..300, 255);
    let checkpoint = store.follower.begin_checkpoint().unwrap();
    put(&mut store, 250..260, 4);
    put(&mut store, 900..910, 6);
    let mut keys = Vec::new();
    store
        .follower
        .scan(FACTS, &100_u64.to_be_bytes(), &mut |key, value| {
            keys.push((u64::from_be_bytes(key.try_into().unwrap()), value[0]));
            true
        })
        .unwrap();
    let expected: Vec<(u64, u8)> = (100..200)
        .map(|key| (key, 2))
        .chain((250..260).map(|key| (key, 4)))
        .chain((300..701).map(|key| (key, 2)))
        .chain((900..910).map(|key| (key, 6)))
        .collect();
    assert_eq!(keys, expected);
    drop(checkpoint);
    let mut count = 0;
    store
        .follower
        .scan(FACTS, &[0xff; 2000], &mut |_, _| {
            count += 1;
            true
        })
        .unwrap();
    store
        .follower
        .scan(Table(200), &[], &mut |_, _| {
            count += 1;
            true
        })
        .unwrap();
    assert_eq!(count, 0);
}

#[test]
fn a_long_fold_tells_how_far_it_has_come() {
    let mut bench = Bench::new(16);
    let mut store = bench.open().unwrap();
    for _ in 0..4 {
        bench.append(&mut store).unwrap();
    }
    drop(store);
    let mut told = Vec::new();
    let start = Start { now: Time(1), fresh_id: StoreId([1; 16]) };
    let (disk, tables) = (Arc::new(bench.disk.clone()), Arc::clone(&bench.tables));
    let opened = open(disk, tables, Arc::new(Chains), &bench.options, start, &mut |progress| {
        told.push((progress.seq, progress.end_seq));
    });
    assert_eq!(opened.unwrap().report.folded_frames, 5);
    assert_eq!(told, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
}

#[test]
fn options_outside_their_range_are_refused() {
    let mut bench = Bench::new(17);
    bench.options.segment_bytes = 20_479;
    let error = bench.open().err().unwrap();
    assert_eq!(
        format!("{}: {error}", error.code()),
        "KN0414: segment_bytes is 20479, outside 20480..=1073741824"
    );
    bench.options.segment_bytes = 20_480;
    bench.open().unwrap();
    bench.options.frame_bytes_max = 4 * 1024 * 1024 + 1;
    assert_eq!(bench.open().err().unwrap().code().0, 414);
    bench.options.frame_bytes_max = 16 * 1024 - 1;
    assert_eq!(bench.open().err().unwrap().code().0, 414);
}

#[test]
fn a_state_folder_is_opened_once_at_a_time_and_verified_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(18);
    bench.options.state_dir = folder.path().join("state");
    bench.options.cache_dir = folder.path().join("cache");
    let start = Start { now: Time(1), fresh_id: StoreId([1; 16]) };
    let try_open = |bench: &Bench| {
        let tables = Arc::clone(&bench.tables);
        open(Arc::new(RealDisk), tables, Arc::new(Chains), &bench.options, start, &mut |_| {})
    };
    let mut first = try_open(&bench).unwrap();
    first.journal.claim(Partition(1)).unwrap();
    let frame = first.journal.append(Time(2), vec![entry(1, 1, &[2])]).unwrap();
    first.follower.apply(&frame).unwrap();
    first.follower.checkpoint().unwrap();
    let second = try_open(&bench).err().unwrap();
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    let report = knhk::store::verify(
        &RealDisk,
        Some(&*bench.tables),
        Arc::new(Chains),
        &bench.options,
        Level::Full,
        knhk::store::Part::WHOLE,
        &mut |_| {},
    );
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.frames, report.entries, report.rows), (2, 1, 2));
    drop(first);
    let third = try_open(&bench).unwrap();
    assert_eq!(third.journal.seq(), 2);
}
