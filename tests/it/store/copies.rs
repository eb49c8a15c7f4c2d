//! Copies of a state folder, made file by file while work goes on: what an opening makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use expect_test::{Expect, expect};
use knhk::store::{
    Disk, DiskFile, Error, Fold, Level, MemTables, Options, PlantedBug, Progress, Start, StoreId, Work, look,
    open,
};

use super::damage::{filled, frames, refusal};
use super::{Bench, Chains, Store};

fn copy_all(bench: &Bench) {
    for path in bench.segments() {
        let aside = PathBuf::from("/other");
        bench.disk.copy(&path, &aside);
        bench.disk.copy(&aside, &path);
    }
}

/// Opens a damaged copy, first as if it were the original, and tells what each comes to.
fn opened(bench: &mut Bench, expected: Expect) {
    let report = bench.verify(Level::Full);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let files = bench.disk.files(Path::new("/state"));
    let text = format!("verify: {}\n", report.notes.join("\nverify: "));
    let looked = looked(bench);
    assert_eq!(bench.disk.files(Path::new("/state")), files, "looking changes nothing");
    bench.options.planted = Some(PlantedBug::NoMercyForCopies);
    let text = format!("{text}look: {looked}\nwithout mercy: {}\n", refusal(bench));
    bench.options.planted = None;
    let mut store = bench.open().unwrap();
    let aside: Vec<_> =
        bench.disk.files(Path::new("/state")).into_iter().filter(|path| is_aside(path)).collect();
    let (seq, warnings) = (store.journal.seq(), store.report.warnings.join("\nwarning: "));
    assert!(looked.starts_with(&format!("{seq} ")), "a look shows what an opening would");
    expected.assert_eq(&format!("{text}opened at frame {seq}\nwarning: {warnings}\naside {aside:?}\n"));
    goes_on(bench, &mut store);
}

/// What was cut off is void for ever, whatever happens, and damage is damage again.
fn goes_on(bench: &mut Bench, store: &mut Store) {
    let seq = store.journal.seq();
    bench.acknowledged.clear();
    bench.check(store).unwrap();
    bench.append(store).unwrap();
    bench.disk.power_cycle();
    let again = bench.open().unwrap();
    assert_eq!((again.journal.seq(), again.report.warnings.len()), (seq + 1, 0));
    bench.check(&again).unwrap();
    drop(again);
    let report = bench.verify(Level::Full);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    bench.disk.damage(&bench.segments()[0], |bytes| {
        let first = frames(bytes)[0];
        bytes[first + 20] ^= 1;
    });
    let found = bench.verify(Level::Full).findings.remove(0);
    assert!(matches!(found, Error::Damaged { .. }), "{found}");
    bench.tables = Arc::default();
    assert_eq!(bench.open().err().unwrap().code().0, 402);
}

fn is_aside(path: &Path) -> bool {
    path.to_string_lossy().contains("aside-")
}

fn looked(bench: &Bench) -> String {
    let fold: Arc<dyn Fold> = Arc::new(Chains);
    let disk = Arc::new(bench.disk.clone());
    let looked = look(&disk, || Ok(None::<MemTables>), &fold, &bench.options, &[]).unwrap().unwrap();
    assert_eq!(looked.follower.seq(), looked.journal.seq());
    format!("{} {}", looked.follower.seq(), looked.warnings.join(" "))
}

#[test]
fn an_undamaged_copy_is_opened_and_walked_over_once() {
    let bench = filled(20);
    copy_all(&bench);
    assert!(bench.verify(Level::Full).findings.is_empty());
    let mut walked = Vec::new();
    for _ in 0..2 {
        let mut count = 0;
        let start = Start { now: knhk::id::Time(1), fresh_id: StoreId([1; 16]) };
        let (disk, tables) = (Arc::new(bench.disk.clone()), Arc::clone(&bench.tables));
        let mut tell = |progress: Progress| count += u64::from(progress.work == Work::CheckCopies);
        let store = open(disk, tables, Arc::new(Chains), &bench.options, start, &mut tell).unwrap();
        assert_eq!((store.journal.seq(), store.report.warnings.len()), (12, 0));
        walked.push(count);
    }
    assert_eq!(walked, [12, 0]);
}

#[test]
fn zeros_where_a_frame_was_written_a_moment_later_end_a_copy() {
    let mut bench = filled(20);
    copy_all(&bench);
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| {
        let starts = frames(bytes);
        bytes[starts[1]..starts[2]].fill(0);
    });
    opened(
        &mut bench,
        expect![[r#"
        verify: 3 of 3 journal segments are copies
        verify: an opening of this copy leaves out what lies behind: the journal is a copy that was made while work went on, and it is incomplete at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: no frame begins here, and a good frame follows at byte 10752
        look: 10 the journal goes on from frame 10, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: no frame begins here, and a good frame follows at byte 10752
        without mercy: KN0403: the journal is a copy that was made while work went on, and it is incomplete at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: no frame begins here, and a good frame follows at byte 10752
        opened at frame 10
        warning: the journal goes on from frame 10, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: no frame begins here, and a good frame follows at byte 10752; segments that held nothing else lie in /state/aside-1800000003011000 now
        aside ["/state/aside-1800000003011000/journal/00000000000000000010-0000000003.jnl"]
    "#]],
    );
}

#[test]
fn a_segment_in_the_middle_that_was_not_copied_ends_a_copy() {
    let mut bench = filled(20);
    let middle = bench.segments().remove(1);
    copy_all(&bench);
    bench.disk.lose(&middle);
    opened(
        &mut bench,
        expect![[r#"
            verify: an opening of this copy leaves out what lies behind: the journal is a copy that was made while work went on, and it is incomplete at byte 0 of /state/journal/00000000000000000010-0000000003.jnl: segment 2, which this one continues, was not copied
            verify: 1 of 1 journal segments are copies
            look: 5 the journal goes on from frame 5, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 0 of /state/journal/00000000000000000010-0000000003.jnl: segment 2, which this one continues, was not copied
            without mercy: KN0403: the journal is a copy that was made while work went on, and it is incomplete at byte 0 of /state/journal/00000000000000000010-0000000003.jnl: segment 2, which this one continues, was not copied
            opened at frame 5
            warning: the journal goes on from frame 5, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 0 of /state/journal/00000000000000000010-0000000003.jnl: segment 2, which this one continues, was not copied; segments that held nothing else lie in /state/aside-1800000003011000 now
            aside ["/state/aside-1800000003011000/journal/00000000000000000010-0000000003.jnl"]
        "#]],
    );
}

#[test]
fn of_several_holes_the_first_ends_a_copy() {
    let mut bench = filled(20);
    copy_all(&bench);
    for segment in &bench.segments()[1..] {
        bench.disk.damage(segment, |bytes| {
            let hole = frames(bytes)[1];
            bytes[hole..hole + 512].fill(0);
        });
    }
    opened(
        &mut bench,
        expect![[r#"
        verify: 3 of 3 journal segments are copies
        verify: an opening of this copy leaves out what lies behind: the journal is a copy that was made while work went on, and it is incomplete at byte 9216 of /state/journal/00000000000000000006-0000000002.jnl: no frame begins here, and frames up to 9 must be here
        look: 6 the journal goes on from frame 6, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 9216 of /state/journal/00000000000000000006-0000000002.jnl: no frame begins here, and frames up to 9 must be here
        without mercy: KN0403: the journal is a copy that was made while work went on, and it is incomplete at byte 8192 of /state/journal/00000000000000000010-0000000003.jnl: no frame begins here, and a good frame follows at byte 10752
        opened at frame 6
        warning: the journal goes on from frame 6, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 9216 of /state/journal/00000000000000000006-0000000002.jnl: no frame begins here, and frames up to 9 must be here; segments that held nothing else lie in /state/aside-1800000003011000 now
        aside ["/state/aside-1800000003011000/journal/00000000000000000006-0000000002.jnl", "/state/aside-1800000003011000/journal/00000000000000000010-0000000003.jnl"]
    "#]],
    );
}

#[test]
fn segments_read_before_what_follows_was_written_end_a_copy() {
    // The first was read when it held two frames, the second when it held one, the third later.
    let mut bench = filled(20);
    copy_all(&bench);
    for (segment, kept) in bench.segments().iter().zip([2, 1]) {
        bench.disk.damage(segment, |bytes| {
            let from = frames(bytes)[kept];
            bytes[from..].fill(0);
        });
    }
    opened(
        &mut bench,
        expect![[r#"
        verify: 3 of 3 journal segments are copies
        verify: an opening of this copy leaves out what lies behind: the journal is a copy that was made while work went on, and it is incomplete at byte 7168 of /state/journal/00000000000000000001-0000000001.jnl: no frame begins here, and frames up to 5 must be here
        look: 2 the journal goes on from frame 2, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 7168 of /state/journal/00000000000000000001-0000000001.jnl: no frame begins here, and frames up to 5 must be here
        without mercy: KN0403: the journal is a copy that was made while work went on, and it is incomplete at byte 7168 of /state/journal/00000000000000000001-0000000001.jnl: no frame begins here, and frames up to 5 must be here
        opened at frame 2
        warning: the journal goes on from frame 2, and nothing behind it is kept: the journal is a copy that was made while work went on, and it is incomplete at byte 7168 of /state/journal/00000000000000000001-0000000001.jnl: no frame begins here, and frames up to 5 must be here; segments that held nothing else lie in /state/aside-1800000003011000 now
        aside ["/state/aside-1800000003011000/journal/00000000000000000006-0000000002.jnl", "/state/aside-1800000003011000/journal/00000000000000000010-0000000003.jnl"]
    "#]],
    );
}

#[test]
fn a_head_of_zeros_behind_its_first_frame_is_whole() {
    let mut bench = filled(20);
    copy_all(&bench);
    let head = bench.segments().pop().unwrap();
    bench.disk.damage(&head, |bytes| {
        let from = frames(bytes)[1];
        bytes[from..].fill(0);
    });
    expect![[r#"opened at frame 10: ["3 of 3 journal segments are copies"]"#]]
        .assert_eq(&refusal(&mut bench));
}

#[test]
fn a_copy_of_which_nothing_is_good_is_refused_and_nothing_is_written() {
    let mut bench = filled(20);
    copy_all(&bench);
    let first = bench.segments().remove(0);
    bench.disk.damage(&first, |bytes| bytes[4096 + 20] ^= 1);
    let files = bench.disk.files(Path::new("/state"));
    expect!["KN0403: the journal is a copy that was made while work went on, and it is incomplete at byte 4096 of /state/journal/00000000000000000001-0000000001.jnl: the frame's checksum does not match, and frames up to 5 must be here"].assert_eq(&refusal(&mut bench));
    assert_eq!(bench.disk.files(Path::new("/state")), files);
    assert_eq!(bench.verify(Level::Full).findings.len(), 1);
}

#[test]
fn damage_in_a_segment_of_our_own_is_damage_though_the_newest_is_a_copy() {
    let mut bench = filled(20);
    let segments = bench.segments();
    let other = PathBuf::from("/other");
    bench.disk.copy(&segments[2], &other);
    bench.disk.copy(&other, &segments[2]);
    bench.disk.damage(&segments[1], |bytes| {
        let second = frames(bytes)[1];
        bytes[second + 20] ^= 1;
    });
    assert_eq!(bench.open().err().unwrap().code().0, 402);
}

/// Reads the files of a folder piece by piece while work goes on, as tar does: the names that were there when it
/// began, and some that came later, in any order.
struct Tar {
    left: Vec<PathBuf>,
    reading: Option<(PathBuf, u64, Vec<u8>)>,
    done: Vec<(PathBuf, Vec<u8>)>,
}

impl Tar {
    fn new(bench: &mut Bench) -> Self {
        let mut left = bench.segments();
        for place in (1..left.len()).rev() {
            let other = usize::try_from(bench.draw(place as u64 + 1)).unwrap();
            left.swap(place, other);
        }
        Self { left, reading: None, done: Vec::new() }
    }

    /// Reads one piece; tells whether there is more.
    fn step(&mut self, bench: &mut Bench) -> bool {
        let Some((path, at, mut bytes)) = self.reading.take() else {
            let Some(path) = self.left.pop() else { return false };
            self.reading = Some((path, 0, Vec::new()));
            return true;
        };
        let mut piece = vec![0; usize::try_from(512 * (1 + bench.draw(8))).unwrap()];
        let count = bench.disk.open(&path).unwrap().read_at(at, &mut piece).unwrap();
        bytes.extend_from_slice(&piece[..count]);
        if count < piece.len() {
            self.done.push((path, bytes));
        } else {
            self.reading = Some((path, at + count as u64, bytes));
        }
        true
    }

    /// Puts what was read into another folder, and returns the bench of that one.
    fn unpack(self, bench: &Bench) -> Bench {
        let options = Options {
            state_dir: PathBuf::from("/copy/state"),
            cache_dir: PathBuf::from("/copy/cache"),
            ..bench.options.clone()
        };
        for (path, bytes) in self.done {
            let path = Path::new("/copy").join(path.strip_prefix("/").unwrap());
            let file = bench.disk.create(&path).unwrap();
            file.write_at(0, &bytes).unwrap();
            file.sync().unwrap();
            bench.disk.sync_folder(path.parent().unwrap()).unwrap();
        }
        let mut copy = Bench::new(bench.random);
        (copy.disk, copy.options, copy.clock) = (bench.disk.clone(), options, bench.clock);
        copy
    }
}

/// Copies a store at work; tells whether the copy had to be cut.
fn copy_at_work(seed: u64, planted: Option<PlantedBug>) -> Result<bool, String> {
    let mut bench = Bench::new(seed);
    let mut store = bench.open().unwrap();
    for _ in 0..bench.draw(40) {
        bench.append(&mut store).unwrap();
    }
    let before = bench.acknowledged.clone();
    let mut tar = Tar::new(&mut bench);
    let mut known = bench.segments();
    while tar.step(&mut bench) {
        if bench.draw(3) == 0
            && let Err(error) = bench.append(&mut store)
        {
            assert!(error.is_outcome_unknown(), "{error}");
        }
        let now = bench.segments();
        for path in now.iter().filter(|path| !known.contains(path)) {
            // Whether a reader of names sees one that came later is left to the file system.
            if bench.draw(2) == 0 {
                tar.left.insert(0, path.clone());
            }
        }
        known = now;
        if bench.draw(20) == 0 {
            bench.disk.fail_next_sync();
        }
    }
    // Takes away a failure that waits for its sync.
    let _ = bench.append(&mut store);
    let mut copy = tar.unpack(&bench);
    copy.options.planted = planted;
    copy.acknowledged = before;
    let mut opened = copy.open().map_err(|error| error.to_string())?;
    let is_cut = !opened.report.warnings.is_empty();
    copy.check(&opened)?;
    copy.append(&mut opened).unwrap();
    drop(opened);
    copy.disk.power_cycle();
    let opened = copy.open().map_err(|error| error.to_string())?;
    assert!(opened.report.warnings.is_empty());
    copy.check(&opened)?;
    Ok(is_cut)
}

#[test]
fn a_copy_made_at_work_holds_what_was_acknowledged_before_it_began() {
    let (mut cut, mut refused) = (0, 0);
    for seed in 0..200 {
        let is_cut = copy_at_work(seed, None).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
        let is_refused = copy_at_work(seed, Some(PlantedBug::NoMercyForCopies)).is_err();
        assert_eq!(is_cut, is_refused, "SEED={seed}");
        cut += u32::from(is_cut);
        refused += u32::from(is_refused);
    }
    assert!((20..180).contains(&cut), "of 200 copies {cut} were cut and {refused} refused without mercy");
}
