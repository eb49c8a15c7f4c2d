//! The store: what was acknowledged is there, whatever happened to process, power and disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knhk::id::{Partition, Time};
use knhk::store::{
    AppendError, Entry, Error, Fold, Level, Link, Log, MemTables, Opened, Options, Part, Rows, Start,
    StoreId, Table, VerifyReport, open, verify,
};

use crate::sim::disk::SimDisk;

mod copies;
mod crash;
mod damage;
mod keeper;
mod lmdb;
mod mend;
mod rules;
mod sealed;

const SUBJECTS: Table = Table(0);
const FACTS: Table = Table(1);
/// Small, so that a few frames fill a segment.
const SEGMENT_BYTES: u64 = 24 * 1024;
/// The grace of a file that nobody needs any longer.
const GRACE_US: u64 = 60_000_000;

/// Keeps the end of each subject's chain, and the facts whose first byte is even; byte 255 deletes the subject's row.
struct Chains;

impl Fold for Chains {
    fn fold(&self, rows: &mut Rows<'_>, entry: &Entry) -> Result<(), String> {
        let subject = entry.subject.to_be_bytes();
        let before = rows.get(SUBJECTS, &subject)?.map_or(Link::default(), |row| link(&row));
        if entry.subject != 0 && before != entry.previous {
            return Err(format!("subject {} stands at {}", entry.subject, before.n));
        }
        match entry.payload.first() {
            Some(255) => rows.delete(FACTS, &subject)?,
            Some(first) if first % 2 == 0 => rows.put(FACTS, &subject, &entry.payload)?,
            _ => {}
        }
        let link = entry.link();
        rows.put(SUBJECTS, &subject, &[&link.n.to_be_bytes()[..], &link.hash].concat())
    }
}

fn link(row: &[u8]) -> Link {
    Link { n: u64::from_be_bytes(row[..8].try_into().unwrap()), hash: row[8..].try_into().unwrap() }
}

type Store = Opened<SimDisk, MemTables>;

/// A disk with a store on it, and what its client knows.
struct Bench {
    disk: SimDisk,
    tables: Arc<MemTables>,
    options: Options,
    random: u64,
    clock: u64,
    acknowledged: BTreeMap<(Partition, u64), Entry>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let options = Options {
            state_dir: PathBuf::from("/state"),
            cache_dir: PathBuf::from("/cache"),
            segment_bytes: SEGMENT_BYTES,
            hurried_bytes: SEGMENT_BYTES,
            frame_bytes_max: 16 * 1024,
            grace_us: GRACE_US,
            keep_us: 0,
            format_max: knhk::store::FORMAT,
            planted: None,
        };
        Self {
            disk: SimDisk::new(seed),
            tables: Arc::default(),
            options,
            random: seed,
            clock: 1_800_000_000_000_000,
            acknowledged: BTreeMap::new(),
        }
    }

    fn open(&mut self) -> Result<Store, Error> {
        self.clock += 1_000_000;
        let start = Start { now: Time(self.clock), fresh_id: StoreId([7; 16]) };
        let disk = Arc::new(self.disk.clone());
        let mut opened =
            open(disk, Arc::clone(&self.tables), Arc::new(Chains), &self.options, start, &mut |_| {})?;
        for partition in Partition::all() {
            opened.journal.claim(partition)?;
        }
        Ok(opened)
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// Makes the entries of one frame: some subjects of some partitions, each once or more.
    fn entries(&mut self, store: &Store) -> Vec<Entry> {
        let mut positions = store.journal.positions();
        let mut links: BTreeMap<u64, Link> = BTreeMap::new();
        let mut out = Vec::new();
        for _ in 0..=self.draw(4) {
            let partition = Partition(u16::try_from(self.draw(3) * 31).unwrap());
            let subject = 1 + u64::from(partition.0) + 100 * self.draw(3);
            let row = store.follower.get(SUBJECTS, &subject.to_be_bytes()).unwrap();
            let previous = links.get(&subject).copied();
            let previous = previous.unwrap_or_else(|| row.map_or(Link::default(), |row| link(&row)));
            positions[partition.index()] += 1;
            let mut payload = vec![u8::try_from(self.draw(256)).unwrap()];
            payload.resize(1 + usize::try_from(self.draw(3000)).unwrap(), 0x5a);
            let entry = Entry::new(partition, positions[partition.index()], subject, previous, payload);
            links.insert(subject, entry.link());
            out.push(entry);
        }
        out
    }

    /// Appends one frame and folds it, and notes what was acknowledged.
    fn append(&mut self, store: &mut Store) -> Result<(), AppendError> {
        let entries = self.entries(store);
        self.clock += 1_000;
        let frame = store.journal.append(Time(self.clock), entries)?;
        store.follower.apply(&frame).unwrap();
        for entry in &frame.entries {
            self.acknowledged.insert((entry.partition, entry.n), entry.clone());
        }
        Ok(())
    }

    /// Checks that everything acknowledged is there, in place and in rows.
    fn check(&self, store: &Store) -> Result<(), String> {
        self.check_entries(store)?;
        check_rows(store)
    }

    /// Checks that everything acknowledged is there, in place, in the journal or in history.
    fn check_entries(&self, store: &Store) -> Result<(), String> {
        let reader = store.journal.reader();
        for (&(partition, n), wanted) in &self.acknowledged {
            let found = reader.entry(partition, wanted.subject, n).map_err(|error| error.to_string())?;
            if found.as_ref() != Some(wanted) {
                return Err(format!("entry {n} of partition {} is not what was acknowledged", partition.0));
            }
        }
        for partition in Partition::all() {
            let mut expected = 1;
            let read = store.journal.read(partition, 1, &mut |entry| {
                let is_next = entry.n == expected;
                expected += 1;
                is_next
            });
            read.map_err(|error| error.to_string())?;
            if expected != store.journal.positions()[partition.index()] + 1 {
                return Err(format!("positions of partition {} have a gap before {expected}", partition.0));
            }
        }
        Ok(())
    }

    fn verify(&self, level: Level) -> VerifyReport {
        let fold = Arc::new(Chains);
        let report =
            verify(&self.disk, Some(&*self.tables), fold, &self.options, level, Part::WHOLE, &mut |_| {});
        assert!(report.segments > 0 || !report.findings.is_empty(), "nothing was looked at");
        self.verify_in_parts(level, &report);
        report
    }

    /// Verifies part by part, and holds what comes of it against what all at once gave.
    fn verify_in_parts(&self, level: Level, whole: &VerifyReport) {
        let part = |number| {
            let (fold, part) = (Arc::new(Chains), Part { number, count: 3, rows_max: 1 });
            verify(&self.disk, Some(&*self.tables), fold, &self.options, level, part, &mut |_| {})
        };
        let mut together = part(0);
        (1..3).for_each(|number| together.join(part(number)));
        let said = |report: &VerifyReport| {
            let mut findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
            findings.sort();
            // Rows beside one that is wrong are counted where they are in another part.
            let rows = if findings.is_empty() { report.rows } else { 0 };
            let VerifyReport { frames, entries, history_entries, .. } = report;
            (findings, report.notes.clone(), *frames, *entries, rows, *history_entries)
        };
        assert_eq!(said(&together), said(whole), "in parts, and all at once");
    }

    /// Changes a byte of the rows of a sealed file: its header, which says how long it is, stays whole.
    fn flip(&self, folder: &str, name: &str) {
        self.disk.damage(&self.options.state_dir.join(folder).join(name), |bytes| {
            let about_bytes = u32::from_le_bytes(bytes[28..32].try_into().unwrap());
            let rows_at = 32 + usize::try_from(about_bytes).unwrap() + 4;
            bytes[rows_at + 16] ^= 1;
        });
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = self.disk.files(Path::new("/state/journal"));
        files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).collect()
    }
}

/// Checks that the rows are those that the journal gives.
fn check_rows(store: &Store) -> Result<(), String> {
    let mut ends: BTreeMap<Vec<u8>, Link> = BTreeMap::new();
    let mut facts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let frames = store.journal.reader().frames(1, &mut |frame| {
        for entry in &frame.entries {
            let key = entry.subject.to_be_bytes().to_vec();
            ends.insert(key.clone(), entry.link());
            match entry.payload[0] {
                255 => drop(facts.remove(&key)),
                first if first % 2 == 0 => drop(facts.insert(key, entry.payload.clone())),
                _ => {}
            }
        }
        Ok(true)
    });
    frames.map_err(|error| error.to_string())?;
    let found_ends = rows(store, SUBJECTS);
    let found_ends = found_ends.into_iter().map(|(key, row)| (key, link(&row))).collect::<BTreeMap<_, _>>();
    if found_ends != ends || rows(store, FACTS) != facts {
        return Err("the rows are not those that the journal gives".to_owned());
    }
    Ok(())
}

fn rows(store: &Store, table: Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut out = BTreeMap::new();
    let scanned = store.follower.scan(table, &[], &mut |key, value| {
        assert!(out.insert(key.to_vec(), value.to_vec()).is_none(), "a key is visited twice");
        true
    });
    scanned.unwrap();
    out
}
