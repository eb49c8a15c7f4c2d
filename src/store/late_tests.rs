//! Journals that begin late: what history and snapshots hold has left them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::history::{self, HISTORY_FOLDER};
use super::sealed::{Moment, prepare_folder};
use super::snapshot::{self, SNAPSHOT_FOLDER};
use super::{
    Act, Before, Entry, Error, FORMAT, Fold, Level, Link, Log, MemTables, Opened, Options, Part, RealDisk,
    Rows, Start, StoreId, Table, Tables, VerifyReport, Work, format, look, open, recall, repair, verify,
};
use crate::id::{CaseId, Partition, Time};

const STORE: StoreId = StoreId([5; 16]);
const MOMENT: Moment = Moment { boot: [1; 16], us: 7 };
const ENDS: Table = Table(0);

/// Keeps the end of each subject's chain, and how long it is.
struct Chains;

impl Fold for Chains {
    fn fold(&self, rows: &mut Rows<'_>, entry: &Entry) -> Result<(), String> {
        let key = entry.subject.to_be_bytes();
        let before = rows.get(ENDS, &key)?.unwrap_or_default();
        let (n, count) = (number(&before, 0), number(&before, 8));
        if n != entry.previous.n {
            return Err(format!("subject {} stands at {n}", entry.subject));
        }
        rows.put(ENDS, &key, &[entry.n.to_le_bytes(), (count + 1).to_le_bytes()].concat())
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

type Store = Opened<RealDisk, MemTables>;

struct Bench {
    _folder: tempfile::TempDir,
    options: Options,
    tables: Arc<MemTables>,
    links: BTreeMap<u64, (Link, u64)>,
}

fn new(format_max: u32) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        state_dir: folder.path().join("state"),
        cache_dir: folder.path().join("cache"),
        segment_bytes: 64 * 1024,
        hurried_bytes: 64 * 1024,
        frame_bytes_max: 16 * 1024,
        grace_us: 0,
        keep_us: 0,
        format_max,
        planted: None,
    };
    Bench { _folder: folder, options, tables: Arc::default(), links: BTreeMap::new() }
}

impl Bench {
    /// Makes a store of five segments and more; the first `sealed` lie in history, and there is a snapshot behind them.
    fn sealed(count: usize) -> Self {
        let mut bench = new(FORMAT);
        let mut store = bench.open().unwrap();
        while store.journal.reader().spans(1).len() < 5 {
            bench.append(&mut store);
            if store.journal.reader().spans(1).len() == count {
                store.follower.checkpoint().unwrap();
                if bench.names(SNAPSHOT_FOLDER).is_empty() {
                    bench.seal(&store, count);
                }
            }
        }
        store.marker.stopped().unwrap();
        bench
    }

    fn seal(&self, store: &Store, count: usize) {
        let disk = Arc::new(RealDisk);
        for folder in [HISTORY_FOLDER, SNAPSHOT_FOLDER] {
            prepare_folder(&RealDisk, &self.folder(folder)).unwrap();
        }
        for span in &store.journal.reader().spans(1)[..count] {
            let spans = std::slice::from_ref(span);
            history::seal(&disk, &self.folder(HISTORY_FOLDER), spans, 1, MOMENT, &mut |_| Ok(())).unwrap();
        }
        snapshot::seal(&disk, &self.folder(SNAPSHOT_FOLDER), &*self.tables, MOMENT, &mut |_| Ok(())).unwrap();
    }

    /// Takes the oldest segments out of the journal.
    fn trim(&self, count: usize) {
        for name in &self.names("journal")[..count] {
            fs::remove_file(self.folder("journal").join(name)).unwrap();
        }
    }

    fn open(&self) -> Result<Store, Error> {
        let start = Start { now: Time(9), fresh_id: STORE };
        let tables = Arc::clone(&self.tables);
        let mut store =
            open(Arc::new(RealDisk), tables, Arc::new(Chains), &self.options, start, &mut |_| {})?;
        for partition in Partition::all() {
            store.journal.claim(partition)?;
        }
        Ok(store)
    }

    fn append(&mut self, store: &mut Store) {
        let mut positions = store.journal.positions();
        let mut entries = Vec::new();
        for subject in 1..=9 {
            let partition = Partition(u16::try_from(subject % 3 * 32).unwrap());
            positions[partition.index()] += 1;
            let (link, count) = self.links.get(&subject).copied().unwrap_or_default();
            let n = positions[partition.index()];
            // Nothing that can be compressed: rows are most of a file.
            let mut payload = vec![0; 900];
            blake3::Hasher::new()
                .update(&[link.hash.as_slice(), &subject.to_le_bytes()].concat())
                .finalize_xof()
                .fill(&mut payload);
            let entry = Entry::new(partition, n, subject, link, payload);
            self.links.insert(subject, (entry.link(), count + 1));
            entries.push(entry);
        }
        let frame = store.journal.append(Time(2), entries).unwrap();
        store.follower.apply(&frame).unwrap();
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.options.state_dir.join(name)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        super::sealed::names(&RealDisk, &self.folder(folder)).unwrap()
    }

    fn path(&self, folder: &str, place: usize) -> PathBuf {
        self.folder(folder).join(&self.names(folder)[place])
    }

    /// Forgets the environment.
    fn forget(&mut self) {
        self.tables = Arc::default();
    }

    fn verify(&self) -> VerifyReport {
        let fold = Arc::new(Chains);
        verify(&RealDisk, Some(&*self.tables), fold, &self.options, Level::Full, Part::WHOLE, &mut |_| {})
    }

    /// Checks that each subject's row is that of all its entries.
    fn check(&self, store: &Store) {
        for (subject, (link, count)) in &self.links {
            let row = store.follower.get(ENDS, &subject.to_be_bytes()).unwrap().unwrap_or_default();
            assert_eq!((number(&row, 0), number(&row, 8)), (link.n, *count), "subject {subject}");
        }
    }

    /// Opens, checks, goes on, and opens again; returns what a person was told.
    fn goes_on(&mut self) -> Vec<String> {
        let mut store = self.open().unwrap();
        self.check(&store);
        self.append(&mut store);
        store.marker.stopped().unwrap();
        let told = [store.report.warnings.clone(), store.report.notes.clone()].concat();
        drop(store);
        let mut store = self.open().unwrap();
        self.check(&store);
        store.marker.stopped().unwrap();
        told
    }

    /// Checks that a look sees the same.
    fn look(&self) {
        let fold: Arc<dyn Fold> = Arc::new(Chains);
        let looked =
            look(&Arc::new(RealDisk), || Ok(None::<MemTables>), &fold, &self.options, &[]).unwrap().unwrap();
        for (subject, (_, count)) in &self.links {
            let row = looked.follower.get(ENDS, &subject.to_be_bytes()).unwrap().unwrap_or_default();
            assert_eq!(number(&row, 8), *count, "subject {subject}");
        }
    }
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn middle(path: &Path) -> usize {
    usize::try_from(fs::metadata(path).unwrap().len() / 2).unwrap()
}

#[test]
fn a_journal_that_begins_late_opens_from_the_snapshot_and_goes_on() {
    let mut bench = Bench::sealed(3);
    assert!(bench.verify().findings.is_empty(), "{:?}", bench.verify().findings);
    bench.trim(3);
    let report = bench.verify();
    assert!(report.findings.is_empty() && report.files == 4, "{report:?}");
    assert!(report.history_entries > 0 && report.rows == 9, "{report:?}");
    bench.forget();
    bench.look();
    let told = bench.goes_on();
    assert!(told.iter().any(|note| note.starts_with("the rows were loaded from the snapshot")), "{told:?}");
    let report = bench.verify();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn an_environment_is_believed_where_the_journal_begins_late() {
    let bench = Bench::sealed(3);
    bench.trim(3);
    let store = bench.open().unwrap();
    assert_eq!(store.report.discarded, None);
    bench.check(&store);
}

#[test]
fn without_a_snapshot_history_and_journal_are_folded_from_the_first_frame() {
    let mut bench = Bench::sealed(3);
    bench.trim(3);
    bench.forget();
    fs::remove_file(bench.path(SNAPSHOT_FOLDER, 0)).unwrap();
    bench.look();
    let mut works = Vec::new();
    let start = Start { now: Time(9), fresh_id: STORE };
    let tables = Arc::clone(&bench.tables);
    let store = open(Arc::new(RealDisk), tables, Arc::new(Chains), &bench.options, start, &mut |progress| {
        if works.last() != Some(&progress.work) {
            works.push(progress.work);
        }
    });
    bench.check(&store.unwrap());
    assert_eq!(works, [Work::FoldHistory, Work::FoldJournal]);
    bench.goes_on();
}

#[test]
fn a_damaged_snapshot_costs_only_time_and_is_named() {
    let mut bench = Bench::sealed(3);
    bench.trim(3);
    bench.forget();
    let path = bench.path(SNAPSHOT_FOLDER, 0);
    flip(&path, middle(&path));
    let findings = bench.verify().findings;
    assert!(
        matches!(&findings[..], [Error::SealedDamaged { path: named, .. }] if *named == path),
        "{findings:?}"
    );
    bench.look();
    let told = bench.goes_on();
    assert!(
        told.iter().any(|warning| warning.contains("snapshot") && warning.contains("left out")),
        "{told:?}"
    );
}

#[test]
fn damaged_history_is_named_and_no_reason_to_refuse_while_a_snapshot_is_good() {
    for (place, is_whole) in [(0, true), (1, true), (2, true), (1, false), (2, false)] {
        let mut bench = Bench::sealed(3);
        bench.trim(3);
        bench.forget();
        let path = bench.path(HISTORY_FOLDER, place);
        // A block of rows, or the header.
        flip(&path, if is_whole { middle(&path) } else { 60 });
        let findings = bench.verify().findings;
        let names =
            |error: &Error| matches!(error, Error::SealedDamaged { path: named, .. } if *named == path);
        assert!(findings.iter().any(names), "{findings:?}");
        bench.look();
        let told = bench.goes_on();
        assert_eq!(is_whole, !told.iter().any(|warning| warning.contains("left out")), "{told:?}");
        // Without the snapshot nothing leads to the rows, and nothing is written.
        bench.forget();
        fs::remove_file(bench.path(SNAPSHOT_FOLDER, 0)).unwrap();
        let before = bench.names("journal");
        let code = bench.open().err().unwrap().code().0;
        assert_eq!((code, bench.names("journal")), (430, before));
    }
}

#[test]
fn history_that_is_missing_is_a_missing_segment() {
    let bench = Bench::sealed(3);
    bench.trim(3);
    fs::remove_file(bench.path(HISTORY_FOLDER, 1)).unwrap();
    assert_eq!(bench.open().err().unwrap().code().0, 404);
    let before = bench.names("journal");
    let error = repair(&Arc::new(RealDisk), &bench.options, None, Time(1), Act::Do).unwrap_err();
    assert_eq!((error.code().0, bench.names("journal")), (404, before), "a repair leaves nothing of it");
}

#[test]
fn a_segment_that_is_missing_in_the_middle_is_replaced_by_its_history() {
    let mut bench = Bench::sealed(3);
    fs::remove_file(bench.path("journal", 1)).unwrap();
    bench.forget();
    let report = bench.verify();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    bench.goes_on();
}

#[test]
fn what_lies_behind_the_journals_end_is_moved_aside() {
    let mut bench = Bench::sealed(3);
    bench.forget();
    // The journal as it was before what was sealed: its second segment is the head.
    for name in bench.names("journal").split_off(2) {
        fs::remove_file(bench.folder("journal").join(name)).unwrap();
    }
    assert_eq!(bench.verify().findings.len(), 3, "{:?}", bench.verify().findings);
    let store = bench.open().unwrap();
    assert_eq!((bench.names(HISTORY_FOLDER).len(), bench.names(SNAPSHOT_FOLDER).len()), (1, 0));
    assert_eq!((bench.names("aside-9/history").len(), bench.names("aside-9/snapshot").len()), (2, 1));
    assert_eq!(store.report.warnings.len(), 2, "{:?}", store.report.warnings);
    drop(store);
    assert!(bench.verify().findings.is_empty(), "{:?}", bench.verify().findings);
    assert!(bench.open().unwrap().report.warnings.is_empty());
}

#[test]
fn a_running_service_makes_its_rows_anew_from_a_snapshot_or_history() {
    for is_snapshot_there in [true, false] {
        let mut bench = Bench::sealed(3);
        bench.trim(3);
        let mut store = bench.open().unwrap();
        if !is_snapshot_there {
            fs::remove_file(bench.path(SNAPSHOT_FOLDER, 0)).unwrap();
        }
        bench.append(&mut store);
        bench.tables.clear().unwrap();
        store.follower.rebuild(&store.journal.reader()).unwrap();
        bench.check(&store);
    }
}

#[test]
fn a_store_of_format_1_is_written_so_that_the_release_before_reads_it_until_it_is_upgraded() {
    let mut bench = new(1);
    let mut store = bench.open().unwrap();
    bench.append(&mut store);
    assert_eq!(store.journal.reader().format(), 1);
    store.marker.stopped().unwrap();
    drop(store);
    bench.options.format_max = FORMAT;
    bench.goes_on();
    assert_eq!(format(&RealDisk, &bench.options).unwrap(), Some(1));
    // Back to the release before, and forth again.
    bench.options.format_max = 1;
    bench.forget();
    bench.goes_on();
    bench.options.format_max = FORMAT;
    bench.goes_on();
    let upgraded = bench.open().unwrap().journal.reader().upgrade(&bench.options).unwrap();
    assert_eq!((upgraded.from, upgraded.to), (1, 2));
    let files = bench.names("journal");
    bench.options.format_max = 1;
    assert_eq!(bench.open().err().unwrap().code().0, 405);
    assert_eq!(bench.names("journal"), files, "a refusal writes nothing");
    bench.options.format_max = FORMAT;
    bench.goes_on();
    // The file that says so may be lost: the segments say it too.
    fs::remove_file(bench.folder("store")).unwrap();
    bench.goes_on();
    assert_eq!(format(&RealDisk, &bench.options).unwrap(), Some(2));
}

#[test]
fn a_store_is_upgraded_by_who_has_it() {
    let mut bench = new(1);
    drop(bench.open().unwrap());
    bench.options.format_max = FORMAT;
    let store = bench.open().unwrap();
    assert_eq!(bench.open().err().unwrap().code().0, 401);
    assert_eq!(store.journal.reader().upgrade(&bench.options).unwrap().to, 2);
    assert_eq!(store.journal.reader().format(), 2);
    drop(store);
    assert_eq!(bench.open().unwrap().journal.reader().format(), 2);
}

#[test]
fn partitions_are_shared_out_by_their_rows() {
    let mut sums = super::Sums::new();
    for (partition, rows) in [(0, 5), (1, 5), (2, 1), (7, 100)] {
        sums.insert((ENDS, Partition(partition)), super::Sum { rows, hashes: 0 });
    }
    let shares = super::compare::shares(&sums, Part { rows_max: 10, ..Part::WHOLE });
    let firsts: Vec<u16> = shares.iter().map(|share| share[0].0).collect();
    assert_eq!(firsts, [0, 2, 7, 8]);
    assert_eq!(shares.concat(), Partition::all().collect::<Vec<_>>());
    let parts =
        (0..3).map(|number| super::compare::shares(&sums, Part { number, count: 3, rows_max: 10 }).concat());
    let mut together = parts.collect::<Vec<_>>().concat();
    together.sort_unstable();
    assert_eq!(together, shares.concat());
}

#[test]
fn a_journal_of_which_nothing_is_good_is_not_given_up_while_history_holds_what_was_before() {
    let bench = Bench::sealed(3);
    bench.trim(3);
    let files = |bench: &Bench| ["journal", "history", "snapshot"].map(|folder| bench.names(folder));
    let before = files(&bench);
    // The first frame of the first segment.
    flip(&bench.path("journal", 0), 4096 + 20);
    let error = repair(&Arc::new(RealDisk), &bench.options, None, Time(1), Act::Do).unwrap_err();
    assert_eq!(error.code().0, 433, "{error}");
    assert_eq!(files(&bench), before);
}

/// Says whether an entry that continues one holds what was before it.
struct Holds(bool);

impl Fold for Holds {
    fn fold(&self, _rows: &mut Rows<'_>, _entry: &Entry) -> Result<(), String> {
        Ok(())
    }

    fn before(&self, entry: &Entry) -> Before {
        if self.0 && entry.previous.n != 0 { Before::Within } else { Before::Needed }
    }
}

#[test]
fn a_case_is_recalled_from_the_entry_that_holds_what_was_before_it() {
    let bench = new(FORMAT);
    let mut store = bench.open().unwrap();
    let (case, partition) = (CaseId(64), Partition(0));
    let gone = Link { n: 2, hash: [9; 16] };
    let first = Entry::new(partition, 3, case.0, gone, vec![2]);
    let second = Entry::new(partition, 4, case.0, first.link(), vec![3]);
    let others = (1..=2).map(|n| Entry::new(partition, n, 0, Link::default(), vec![1]));
    store.journal.append(Time(2), others.chain([first.clone(), second.clone()]).collect()).unwrap();
    drop(store);
    let recalled = |holds| {
        let fold: Arc<dyn Fold> = Arc::new(Holds(holds));
        recall(&Arc::new(RealDisk), &bench.options, case, &fold, &|_| None)
    };
    assert_eq!(recalled(true).unwrap().unwrap().entries, [first, second]);
    assert!(matches!(recalled(false), Err(Error::ChainBroken { n: 3, .. })));
}
