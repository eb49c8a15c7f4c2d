//! Repairs that cost nothing, or say what they cost: damage in history, in snapshots, and in a journal that these cover.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use knhk::id::Time;
use knhk::store::{Act, Error, FileKind, Level, RepairReport, Tables, Trim, repair};

use super::damage::frames;
use super::keeper::Keeping;
use super::{Bench, FACTS, SUBJECTS, rows};

type Row = (Vec<u8>, Vec<u8>);

/// A store at rest whose journal is covered but for its head, and its rows.
struct Covered {
    bench: Bench,
    rows: Vec<Row>,
}

impl Covered {
    /// Makes one; of a trimmed one the covered segments are gone.
    fn new(is_trimmed: bool) -> Self {
        let mut kept = Keeping::new();
        kept.append(30);
        kept.settle(Trim::Due);
        kept.snapshot().unwrap();
        if is_trimmed {
            assert!(kept.settle(Trim::Now).1.contains(&FileKind::Segment));
        }
        Self::close(kept)
    }

    fn close(kept: Keeping) -> Self {
        let rows = all_rows(&kept.store);
        let Keeping { bench, mut store, .. } = kept;
        store.follower.checkpoint().unwrap();
        store.marker.stopped().unwrap();
        Self { bench, rows }
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let files = self.bench.disk.files(&self.bench.options.state_dir.join(folder));
        files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn try_repair(&self, act: Act) -> Result<RepairReport, Error> {
        let disk = Arc::new(self.bench.disk.clone());
        repair(&disk, &self.bench.options, Some(&*self.bench.tables), Time(5), act)
    }

    /// Repairs: telling changes nothing, doing does what was told, nothing is deleted, and afterwards nothing is wrong.
    fn repair(&mut self) -> RepairReport {
        let state = PathBuf::from("/state");
        let before = self.bench.disk.files(&state);
        let told = self.try_repair(Act::Tell).unwrap();
        assert_eq!(self.bench.disk.files(&state), before, "telling changes nothing");
        let done = self.try_repair(Act::Do).unwrap();
        assert_eq!((&told.moved, &told.lost), (&done.moved, &done.lost));
        let after = self.bench.disk.files(&state);
        for path in before.iter().filter(|path| !after.contains(path)) {
            let name = path.strip_prefix(&state).unwrap();
            assert!(after.contains(&done.aside.join(name)), "{} is not aside", name.display());
            assert!(done.moved.contains(&name.display().to_string()), "{} was not told", name.display());
        }
        assert!(!done.is_cut, "{done:?}");
        let again = self.try_repair(Act::Tell).unwrap();
        assert!(again.damages.is_empty() && again.moved.is_empty(), "{again:?}");
        let report = self.bench.verify(Level::Full);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        done
    }

    /// Opens with the environment and then without, and finds the same rows.
    fn check_rows(&mut self) {
        for is_forgotten in [false, true] {
            if is_forgotten {
                self.bench.tables.clear().unwrap();
            }
            let mut store = self.bench.open().unwrap();
            assert_eq!(all_rows(&store), self.rows);
            store.marker.stopped().unwrap();
        }
    }

    fn check_entries(&mut self) {
        let mut store = self.bench.open().unwrap();
        self.bench.check_entries(&store).unwrap();
        store.marker.stopped().unwrap();
    }
}

fn all_rows(store: &super::Store) -> Vec<Row> {
    [SUBJECTS, FACTS].into_iter().map(|table| rows(store, table)).flat_map(BTreeMap::into_iter).collect()
}

#[test]
fn damage_in_the_middle_of_a_journal_that_history_and_rows_cover_costs_nothing() {
    for is_environment_there in [true, false] {
        let mut covered = Covered::new(false);
        let third = covered.bench.segments()[2].clone();
        covered.bench.disk.damage(&third, |bytes| {
            let second = frames(bytes)[1];
            bytes[second + 100] ^= 1;
        });
        // And one that cannot be read at all, before it.
        let first = covered.bench.segments()[0].clone();
        covered.bench.disk.damage(&first, |bytes| bytes[0] ^= 1);
        if !is_environment_there {
            covered.bench.tables.clear().unwrap();
        }
        assert!(!covered.bench.verify(Level::Full).findings.is_empty());
        let done = covered.repair();
        assert_eq!((done.damages.len(), done.moved.len(), done.lost.len()), (1, 3, 0), "{done:?}");
        covered.check_entries();
        covered.check_rows();
    }
}

#[test]
fn damage_behind_what_history_covers_is_cut_as_ever() {
    let covered = Covered::new(false);
    let third = covered.bench.segments()[2].clone();
    covered.bench.disk.damage(&third, |bytes| {
        let second = frames(bytes)[1];
        bytes[second + 100] ^= 1;
    });
    // History of just these frames is damaged too.
    covered.bench.flip("history", &covered.names("history")[2]);
    let told = covered.try_repair(Act::Tell).unwrap();
    assert!(told.is_cut && told.damages.len() == 2, "{told:?}");
}

#[test]
fn damaged_history_is_moved_aside_where_the_journal_holds_its_frames() {
    let mut covered = Covered::new(false);
    let history = covered.names("history");
    covered.bench.flip("history", &history[2]);
    covered.bench.disk.damage(&PathBuf::from("/state/history").join(&history[4]), |bytes| bytes[0] ^= 1);
    let done = covered.repair();
    assert_eq!((done.damages.len(), done.lost.len()), (2, 0), "{done:?}");
    assert_eq!(done.moved, [&history[2], &history[4]].map(|name| format!("history/{name}")));
    covered.check_rows();
    // The keeper fills the gaps.
    let mut kept = Keeping::over(covered.bench);
    let (written, _) = kept.settle(Trim::Now);
    assert!(written >= 2, "{written}");
    assert!(kept.store.journal.reader().first_seq() > 25, "{:?}", kept.bench.segments());
    kept.bench.check_entries(&kept.store).unwrap();
    assert!(kept.bench.verify(Level::Full).findings.is_empty());
}

#[test]
fn damaged_history_of_frames_that_are_gone_is_written_anew_with_what_can_be_read() {
    let mut bench = Bench::new(17);
    (bench.options.segment_bytes, bench.options.hurried_bytes) = (256 * 1024, 256 * 1024);
    let mut kept = Keeping::over(bench);
    kept.append(400);
    kept.settle(Trim::Due);
    kept.snapshot().unwrap();
    kept.settle(Trim::Now);
    let mut covered = Covered::close(kept);
    let history = covered.names("history");
    // One block of several, and a header.
    covered.bench.flip("history", &history[0]);
    covered.bench.disk.damage(&PathBuf::from("/state/history").join(&history[1]), |bytes| bytes[0] ^= 1);
    let done = covered.repair();
    let numbers: Vec<Vec<u64>> = done
        .lost
        .iter()
        .map(|text| {
            text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
        })
        .collect();
    let [first, second] = numbers.as_slice() else { panic!("{:?}", done.lost) };
    // First frame, last frame, lost, of how many.
    assert!(first[0] == 1 && first[2] > 0 && first[2] < first[3], "{:?}", done.lost);
    assert!(second[0] == first[1] + 1 && second[2] > 0 && second[2] == second[3], "{:?}", done.lost);
    let notes = covered.bench.verify(Level::Full).notes;
    assert!(notes.iter().any(|note| note.contains(&format!("gave up {} entries", first[2]))), "{notes:?}");
    covered.check_rows();
    let store = covered.bench.open().unwrap();
    let reader = store.journal.reader();
    let mut missing = 0;
    for (&(partition, n), wanted) in &covered.bench.acknowledged {
        match reader.entry(partition, wanted.subject, n).unwrap() {
            Some(found) => assert_eq!(&found, wanted),
            None => missing += 1,
        }
    }
    assert_eq!(missing, first[2] + second[2], "{:?}", done.lost);
    drop(store);
    // Without a snapshot it is no way to the rows any longer, and says so.
    for name in covered.names("snapshot") {
        covered.bench.disk.lose(&PathBuf::from("/state/snapshot").join(name));
    }
    covered.bench.tables.clear().unwrap();
    assert_eq!(covered.bench.open().err().unwrap().code().0, 419);
}

#[test]
fn a_damaged_snapshot_is_moved_aside_where_something_else_leads_to_the_rows() {
    for (is_environment_there, is_history_whole, expected) in
        [(true, true, None), (false, true, None), (true, false, None), (false, false, Some(434))]
    {
        let mut covered = Covered::new(true);
        let snapshot = covered.names("snapshot").pop().unwrap();
        covered.bench.flip("snapshot", &snapshot);
        if !is_environment_there {
            covered.bench.tables.clear().unwrap();
        }
        if !is_history_whole {
            covered.bench.flip("history", &covered.names("history")[1]);
        }
        if let Some(code) = expected {
            let before = covered.bench.disk.files(&PathBuf::from("/state"));
            assert_eq!(covered.try_repair(Act::Do).unwrap_err().code().0, code);
            assert_eq!(
                covered.bench.disk.files(&PathBuf::from("/state")),
                before,
                "a refusal changes nothing"
            );
            continue;
        }
        let done = covered.repair();
        assert!(done.moved.contains(&format!("snapshot/{snapshot}")), "{done:?}");
        assert_eq!(done.lost.is_empty(), is_history_whole);
        let mut store = covered.bench.open().unwrap();
        assert_eq!(all_rows(&store), covered.rows);
        store.marker.stopped().unwrap();
    }
}
