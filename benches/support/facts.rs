//! The facts of a small case, and frames of them: what the benches of codec and fold work on.

use std::sync::Arc;

use knhk::case::encode;
use knhk::case::event::{Event, Finish, ItemNumber, Phase};
use knhk::engine::fold::EngineFold;
use knhk::engine::record::{Act, Body, KeyFact, Maker, Record};
use knhk::expr::Fragment;
use knhk::id::{CaseId, Partition, SpecNumber, Time};
use knhk::store::{self, Entry, Frame, Link, MemTables, Opened, RealDisk, Start, StoreId};

/// A store in `folder` whose rows are in memory.
pub(crate) type Store = Opened<RealDisk, MemTables>;

/// Opens a new store.
pub(crate) fn open(folder: &std::path::Path) -> Store {
    let options = store::Options {
        state_dir: folder.join("state"),
        cache_dir: folder.join("cache"),
        segment_bytes: 16 << 20,
        hurried_bytes: store::HURRIED_SEGMENT_BYTES,
        frame_bytes_max: 4 << 20,
        grace_us: 0,
        keep_us: 0,
        format_max: store::FORMAT,
        planted: None,
    };
    let start = Start { now: Time(1), fresh_id: StoreId([1; 16]) };
    let (disk, tables) = (Arc::new(RealDisk), Arc::new(MemTables::default()));
    store::open(disk, tables, Arc::new(EngineFold), &options, start, &mut |_| {}).expect("a new store")
}

/// What creating a case says.
pub(crate) fn created(note: &str) -> Vec<Event> {
    let data = vec![(0, Fragment::from_text(note))];
    vec![
        Event::Created { spec: SpecNumber(1), business_key: None },
        Event::Opened { instance: 0, net: 0, parent: None, place: 0, data },
        Event::Offered { item: 1, instance: 0, task: 0, verdict: None },
    ]
}

/// What completing an item says, in a net of one task that leads back to itself.
pub(crate) fn stepped(item: ItemNumber) -> Vec<Event> {
    let (taken, removed, put, wrote) = (vec![0], Vec::new(), vec![0], Vec::new());
    let step = Event::Stepped { instance: 0, task: 0, phase: Phase::Pass, taken, removed, put, wrote };
    let done = Event::Finished { item, how: Finish::Completed, data: Fragment::empty() };
    vec![step, done, Event::Offered { item: item + 1, instance: 0, task: 0, verdict: None }]
}

/// Returns the payload of an entry.
pub(crate) fn payload(events: &[Event]) -> Vec<u8> {
    let bytes = encode::events_to_bytes(events);
    let key = KeyFact { key: [7; 16], request: [9; 16], act: Act::Item(1), maker: Maker::Service };
    Record { at: Time(1), key: Some(key), body: Body::Case(&bytes) }.encode()
}

/// Cases that go on frame by frame, each with the chain of its entries.
pub(crate) struct Cases {
    all: Vec<(CaseId, Link, ItemNumber)>,
    positions: [u64; knhk::id::PARTITION_COUNT],
    next: usize,
}

impl Cases {
    /// Returns so many cases that are not created yet.
    pub(crate) fn new(count: usize) -> Self {
        let cases = (0..count as u64).map(|at| (CaseId((1 << 20) + at), Link::default(), 0));
        Self { all: cases.collect(), positions: [0; knhk::id::PARTITION_COUNT], next: 0 }
    }

    /// Returns the entries of the next frame: creates the cases one by one, then lets each take a step in turn.
    pub(crate) fn entries(&mut self, count: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = (0..count).map(|_| self.entry()).collect();
        // As the writer has them: partition by partition.
        entries.sort_by_key(|entry| (entry.partition, entry.n));
        entries
    }

    fn entry(&mut self) -> Entry {
        let at = self.next;
        self.next = (at + 1) % self.all.len();
        let (case, previous, item) = &mut self.all[at];
        let events = if *item == 0 { created("n00000001") } else { stepped(*item) };
        let n = &mut self.positions[case.partition().index()];
        *n += 1;
        let payload = payload(&events);
        let entry = Entry::new(case.partition(), *n, case.0, *previous, payload);
        (*previous, *item) = (entry.link(), *item + 1);
        entry
    }
}

/// Returns a frame that follows what a follower has folded.
pub(crate) fn frame(seq: u64, before: [u8; 32], entries: Vec<Entry>) -> Frame {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&seq.to_le_bytes());
    Frame { seq: seq + 1, before, hash, time: Time(2), entries }
}

/// Returns the first of the partitions of cases.
pub(crate) fn partitions() -> impl Iterator<Item = Partition> {
    Partition::all()
}
