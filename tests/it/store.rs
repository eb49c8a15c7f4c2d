//! The store: what was acknowledged is there, whatever happened to process, power and disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knhk::id::{Partition, Time};
use knhk::store::{
    AppendError, Entry, Error, Fold, Link, Log, MemTables, Opened, Options, PlantedBug, Rows, Start, StoreId,
    Table, open,
};

use crate::sim::disk::{Faults, SimDisk};

const SUBJECTS: Table = Table(0);
const FACTS: Table = Table(1);
/// Small, so that a few frames fill a segment.
const SEGMENT_BYTES: u64 = 24 * 1024;

/// Keeps the end of each subject's chain, and the facts whose first byte is even; byte 255 deletes the subject's row.
struct Chains;

impl Fold for Chains {
    fn fold(&self, rows: &mut Rows<'_>, _time: Time, entry: &Entry) -> Result<(), String> {
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
            frame_bytes_max: 16 * 1024,
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
            let entry = Entry { partition, n: positions[partition.index()], subject, previous, payload };
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
        let reader = store.journal.reader();
        for (&(partition, n), wanted) in &self.acknowledged {
            let found = reader.entry(partition, n).map_err(|error| error.to_string())?;
            if found.as_ref().map(|(_, entry)| entry) != Some(wanted) {
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
        self.check_rows(store)
    }

    fn check_rows(&self, store: &Store) -> Result<(), String> {
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
        let found_ends =
            found_ends.into_iter().map(|(key, row)| (key, link(&row))).collect::<BTreeMap<_, _>>();
        if found_ends != ends || rows(store, FACTS) != facts {
            return Err("the rows are not those that the journal gives".to_owned());
        }
        Ok(())
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = self.disk.files(Path::new("/state/journal"));
        files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).collect()
    }
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

#[test]
fn what_was_appended_is_there_after_the_power_was_lost() {
    let mut bench = Bench::new(1);
    for _ in 0..5 {
        let mut store = bench.open().unwrap();
        for step in 0..20 {
            bench.append(&mut store).unwrap();
            if step == 11 {
                store.follower.checkpoint().unwrap();
            }
        }
        bench.check(&store).unwrap();
        drop(store);
        bench.disk.power_cycle();
    }
    let store = bench.open().unwrap();
    bench.check(&store).unwrap();
    assert!(bench.segments().len() > 10, "segments are rolled: {:?}", bench.segments());
}

/// How a run is interrupted.
#[derive(Debug, Clone, Copy)]
enum End {
    Restart,
    PowerCycle,
}

/// Opens, appends and checkpoints until the disk crashes or the work is done; errors of the disk are taken as they come.
fn work(bench: &mut Bench, frames: u64) -> Result<(), String> {
    let mut store = match bench.open() {
        Ok(store) => store,
        Err(_) if bench.disk.is_crashed() => return Ok(()),
        Err(Error::Io { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    bench.check(&store).or_else(|error| if bench.disk.is_crashed() { Ok(()) } else { Err(error) })?;
    let mut preparer = store.journal.preparer();
    for step in 0..frames {
        if step % 5 == 3 {
            let _ = preparer.step();
        }
        if let Err(error) = bench.append(&mut store)
            && !error.is_outcome_unknown()
        {
            return Err(error.to_string());
        }
        if step % 7 == 6 {
            store.follower.checkpoint().map_err(|error| error.to_string())?;
        }
    }
    let _ = store.marker.stopped();
    Ok(())
}

/// Works, crashes after `crash_at` calls, works on, loses power, and checks.
fn run(seed: u64, crash_at: u64, faults: Faults, planted: Option<PlantedBug>) -> Result<(), String> {
    let mut bench = Bench::new(seed);
    bench.options.planted = planted;
    bench.disk.set_faults(faults);
    bench.disk.crash_at(Some(crash_at));
    let ends = if seed.is_multiple_of(2) {
        [End::PowerCycle, End::PowerCycle, End::PowerCycle]
    } else {
        [End::Restart, End::PowerCycle, End::Restart]
    };
    for end in ends {
        work(&mut bench, 12)?;
        match end {
            End::Restart => bench.disk.restart(),
            End::PowerCycle => bench.disk.power_cycle(),
        }
    }
    bench.disk.set_faults(Faults::default());
    bench.disk.power_cycle();
    let store = bench.open().map_err(|error| error.to_string())?;
    bench.check(&store)
}

const ROUGH: Faults = Faults { write_errors: 20, sync_errors: 60, late_syncs: 20 };

#[test]
fn a_crash_between_any_two_disk_calls_loses_nothing_acknowledged() {
    for seed in 0..4 {
        let mut bench = Bench::new(seed);
        work(&mut bench, 12).unwrap();
        let calls = bench.disk.calls();
        assert!(calls > 30, "{calls}");
        for crash_at in 0..=calls {
            run(seed, crash_at, Faults::default(), None)
                .unwrap_or_else(|error| panic!("SEED={seed} crash at {crash_at}: {error}"));
        }
    }
}

#[test]
fn errors_of_the_disk_lose_nothing_acknowledged() {
    for seed in 0..150 {
        run(seed, 20 + seed * 7 % 100, ROUGH, None).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    }
}

/// Returns the first seed that finds a planted bug.
fn first_finding(planted: PlantedBug) -> Option<(u64, String)> {
    (0..300).find_map(|seed| {
        run(seed, 20 + seed * 7 % 100, ROUGH, Some(planted)).err().map(|error| (seed, error))
    })
}

#[test]
fn planted_bugs_are_found() {
    for planted in [
        PlantedBug::AcknowledgeBeforeSync,
        PlantedBug::WriteOnAfterFailedSync,
        PlantedBug::TrustLastFrame,
        PlantedBug::SkipTornTailCut,
    ] {
        let found = first_finding(planted).unwrap_or_else(|| panic!("{planted:?} is not found"));
        println!("{planted:?}: SEED={} {}", found.0, found.1);
    }
}
