//! What a durable step costs on this machine's disk: the raw appends of the same bytes, the journal, and the whole
//! engine, one after the other in every round, so that their ratios mean something on a noisy machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::engine::clock::Clock;
use crate::engine::running::{Engine, open_store};
use crate::engine::service::{Answer, ItemAct, Once, Operation, Service};
use crate::engine::shared::Place;
use crate::engine::{self, fold::EngineFold};
use crate::id::{ItemId, Partition};
use crate::store::{self, Entry, Link, Log, MemTables, RealDisk, Start, StoreId};
use crate::telemetry::metrics::Metrics;

/// Bytes of an entry that stands for a step; a step's own entry is about as large.
const ENTRY_BYTES: usize = 128;
/// The file that raw appends go to is filled with zeros beforehand, as journal segments are.
const RAW_BYTES: usize = 8 << 20;

/// What one way of appending took, by entries in a commit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommitFigures {
    /// Entries made durable together.
    pub entries: usize,
    /// Median microseconds of a raw append and fdatasync of as many bytes.
    pub raw_us: u64,
    /// Median microseconds of a commit of the journal.
    pub journal_us: u64,
}

/// What a single append and its sync took, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SyncFigures {
    /// Bytes of an append.
    pub bytes: usize,
    /// Appends.
    pub rounds: usize,
    /// Microseconds that one in ten is below: the disk when nothing else holds the appending thread up.
    pub fastest_tenth_us: u64,
    /// Median microseconds.
    pub p50_us: u64,
    /// Microseconds that 99 in 100 are below.
    pub p99_us: u64,
}

/// What the whole engine did, without HTTP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineFigures {
    /// Operations handed over together.
    pub operations: usize,
    /// Durable operations a second, median of the rounds.
    pub steps_per_second: u64,
    /// Median microseconds of a round.
    pub round_us: u64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder cannot be used.
    #[error("cannot measure in {folder}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store or engine does not work there.
    #[error("cannot measure: {0}")]
    Engine(String),
}

fn text(error: impl std::fmt::Display) -> Error {
    Error::Engine(error.to_string())
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn store_options(folder: &Path) -> store::Options {
    store::Options {
        state_dir: folder.join("state"),
        cache_dir: folder.join("cache"),
        // Small, so that filling the next one with zeros is over before anything is timed.
        segment_bytes: 8 << 20,
        hurried_bytes: store::HURRIED_SEGMENT_BYTES,
        frame_bytes_max: 4 << 20,
        grace_us: 0,
        keep_us: 0,
        format_max: store::FORMAT,
        planted: None,
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    /// Most rounds.
    pub most: usize,
    /// After so many microseconds no more rounds begin, but for the first [`ROUNDS_MIN`].
    pub us_max: u64,
}

impl Rounds {
    fn goes_on(self, done: usize, passed_us: u64) -> bool {
        done < self.most && (passed_us < self.us_max || done < ROUNDS_MIN)
    }
}

/// So many rounds are done however long they take: fewer have no median worth the name.
const ROUNDS_MIN: usize = 5;

/// Makes a file that is filled with zeros, in a folder that is made if need be.
fn raw_file(folder: &Path) -> Result<File, Error> {
    let failed = |source| Error::Folder { folder: folder.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    let raw = options.create(true).truncate(true).read(true).write(true).open(folder.join("raw"));
    let raw = raw.map_err(failed)?;
    raw.write_all_at(&vec![0; RAW_BYTES], 0).and_then(|()| raw.sync_all()).map_err(failed)?;
    Ok(raw)
}

/// Measures appends of the bytes of one entry, each made durable, in an empty folder.
///
/// # Errors
/// The folder cannot be written.
pub fn syncs(folder: &Path, rounds: Rounds, clock: &dyn Clock) -> Result<SyncFigures, Error> {
    let failed = |source| Error::Folder { folder: folder.display().to_string(), source };
    let raw = raw_file(folder)?;
    let bytes = [1; ENTRY_BYTES];
    let began = clock.monotonic_us();
    let mut took = Vec::new();
    while rounds.goes_on(took.len(), clock.monotonic_us() - began) {
        let offset = took.len() * ENTRY_BYTES % RAW_BYTES;
        let before = clock.monotonic_us();
        raw.write_all_at(&bytes, offset as u64).and_then(|()| raw.sync_data()).map_err(failed)?;
        took.push(clock.monotonic_us() - before);
    }
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or(0);
    Ok(SyncFigures {
        bytes: ENTRY_BYTES,
        rounds: took.len(),
        fastest_tenth_us: at(10),
        p50_us: at(50),
        p99_us: at(99),
    })
}

/// Measures commits of `entries` entries, each way in turn, in an empty folder.
///
/// # Errors
/// The folder cannot be written.
pub fn commits(
    folder: &Path,
    entries: usize,
    rounds: Rounds,
    clock: &dyn Clock,
) -> Result<CommitFigures, Error> {
    let failed = |source| Error::Folder { folder: folder.display().to_string(), source };
    let raw = raw_file(folder)?;
    let start = Start { now: clock.now(), fresh_id: StoreId([1; 16]) };
    let tables = Arc::new(MemTables::default());
    let opened = store::open(
        Arc::new(RealDisk),
        tables,
        Arc::new(EngineFold),
        &store_options(folder),
        start,
        &mut |_| {},
    );
    let mut journal = opened.map_err(text)?.journal;
    journal.claim(Partition(0)).map_err(text)?;
    let bytes = vec![1; entries * ENTRY_BYTES];
    let mut offset = 0;
    let (mut raws, mut journals) = (Vec::new(), Vec::new());
    let mut n = journal.positions()[0];
    let first = clock.monotonic_us();
    while rounds.goes_on(raws.len(), clock.monotonic_us() - first) {
        if offset + bytes.len() > RAW_BYTES {
            offset = 0;
        }
        let began = clock.monotonic_us();
        raw.write_all_at(&bytes, offset as u64).and_then(|()| raw.sync_data()).map_err(failed)?;
        offset += bytes.len();
        let between = clock.monotonic_us();
        let frame = (0..entries).map(|_| {
            n += 1;
            Entry::new(Partition(0), n, 0, Link::default(), vec![1; ENTRY_BYTES])
        });
        let frame: Vec<Entry> = frame.collect();
        let made = clock.monotonic_us();
        journal.append(clock.now(), frame).map_err(text)?;
        raws.push(between - began);
        journals.push(clock.monotonic_us() - made);
    }
    Ok(CommitFigures { entries, raw_us: median(raws), journal_us: median(journals) })
}

/// A net of one task that leads back to itself, so that a case gives a step as often as one likes.
pub const LOOP: &str = r#"<specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="4.0">
<specification uri="loop"><metaData/>
<decomposition id="Loop" isRootNet="true" xsi:type="NetFactsType"><processControlElements>
<inputCondition id="begin"><flowsInto><nextElementRef id="turn"/></flowsInto></inputCondition>
<task id="turn"><flowsInto><nextElementRef id="turn"/><predicate ordering="0">true()</predicate></flowsInto>
<flowsInto><nextElementRef id="end"/><isDefaultFlow/></flowsInto>
<join code="xor"/><split code="xor"/><decomposesTo id="Turn"/></task>
<outputCondition id="end"/></processControlElements></decomposition>
<decomposition id="Turn" xsi:type="WebServiceGatewayFactsType"/>
</specification></specificationSet>"#;

/// Measures the engine with as many cases as operations go together, each doing one step a round.
///
/// # Errors
/// The folder cannot be written, or the engine does not do what it is asked.
pub fn steps(
    folder: &Path,
    operations: usize,
    rounds: Rounds,
    options: engine::Options,
    clock: &Arc<dyn Clock>,
) -> Result<EngineFigures, Error> {
    let disk = Arc::new(RealDisk);
    let start = Start { now: clock.now(), fresh_id: StoreId([1; 16]) };
    let store_options = store_options(folder);
    let (opened, _) =
        open_store(Arc::clone(&disk), Arc::new(MemTables::default()), &store_options, start, &mut |_| {})
            .map_err(text)?;
    let metrics = Arc::new(Metrics::new());
    let place = Place { disk, state_dir: store_options.state_dir, cache_dir: store_options.cache_dir };
    let engine = Engine::start(options, opened, Arc::clone(clock), metrics, place).map_err(text)?;
    let measured = measure_steps(&engine, operations, rounds, clock.as_ref());
    engine.stop();
    measured
}

fn measure_steps(
    service: &dyn Service,
    operations: usize,
    rounds: Rounds,
    clock: &dyn Clock,
) -> Result<EngineFigures, Error> {
    service.register(LOOP.as_bytes(), &Once::default()).map_err(text)?;
    let create = || Operation::Create { workflow: "loop".to_owned(), data: Vec::new(), business_key: None };
    let created = service.operate((0..operations).map(|_| (create(), Once::default())).collect());
    let mut items = Vec::with_capacity(operations);
    for answer in created {
        let Answer::Created(view, _) = answer.map_err(text)? else {
            return Err(text("a create was not answered by its case"));
        };
        items.push(ItemId { case: view.id, number: 1 });
    }
    let mut took = Vec::with_capacity(rounds.most);
    // A fifth more before what counts: a new service has segments to prepare and caches to fill.
    let warming = rounds.most.div_ceil(5);
    let mut round = 0;
    let first = clock.monotonic_us();
    while rounds.goes_on(took.len(), clock.monotonic_us() - first) {
        let act = |item: &ItemId| (Operation::Item(*item, ItemAct::Complete(Vec::new())), Once::default());
        let batch = items.iter().map(act).collect();
        let began = clock.monotonic_us();
        let answers = service.operate(batch);
        // On a slow disk the time is over before they are.
        if round >= warming || began - first >= rounds.us_max / 5 {
            took.push(clock.monotonic_us() - began);
        }
        round += 1;
        for answer in answers {
            answer.map_err(text)?;
        }
        for item in &mut items {
            item.number += 1;
        }
    }
    let round_us = median(took).max(1);
    Ok(EngineFigures { operations, steps_per_second: operations as u64 * 1_000_000 / round_us, round_us })
}
