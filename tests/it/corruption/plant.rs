//! The kinds of damage, and what is to be found of each. What a frame holds is read from the file itself, as
//! docs/reference/store.md describes it, by code that shares nothing with the store's own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use knhk::backup::{Host, Options, Work};
use knhk::case::encode::events_from_bytes;
use knhk::engine::fold::EngineFold;
use knhk::engine::proof::specification_of;
use knhk::engine::record::{Body, Record};
use knhk::id::CaseId;
use knhk::store::{self, Fold, Level, VerifyReport};

use crate::faults::flips::rest::{Kind, Rest, Resting, ending};
use crate::support::load;
use crate::support::service::Place;

pub(super) const HISTORY_BLOCK: &str = "flipped byte in a history block";
pub(super) const ENVIRONMENT: &str = "flipped bytes in the environment";

/// Damage of one kind.
pub(super) struct Damage {
    pub(super) name: &'static str,
    /// Plants it, and says what is to be found.
    pub(super) plant: fn(&Rest, &Place) -> Expected,
}

/// What is to be found.
pub(super) struct Expected {
    /// What the findings name.
    pub(super) words: Vec<String>,
    /// The cases that have lost an entry, where that follows from the file itself.
    pub(super) lost: Option<BTreeSet<String>>,
    /// Whether an opening refuses.
    pub(super) is_closed: bool,
}

impl Expected {
    fn new(words: &[&str], is_closed: bool) -> Self {
        Self { words: words.iter().map(|&word| word.to_owned()).collect(), lost: None, is_closed }
    }

    fn lost(self, cases: BTreeSet<String>) -> Self {
        Self { lost: Some(cases), ..self }
    }

    /// No case has lost anything.
    fn nothing(words: &[&str], is_closed: bool) -> Self {
        Self::new(words, is_closed).lost(BTreeSet::new())
    }
}

pub(super) fn all() -> Vec<Damage> {
    let damage = |name, plant| Damage { name, plant };
    vec![
        damage("flipped byte in the body of a frame", frame_body),
        damage("flipped byte in the head of a frame", frame_head),
        damage("flipped byte in a segment's header", segment_header),
        damage(HISTORY_BLOCK, history_block),
        damage("flipped byte in a history file's index", history_index),
        damage("flipped byte in a snapshot", snapshot),
        damage(ENVIRONMENT, environment),
        damage("flipped byte in the file store", identity),
        damage("segment cut short", truncated_segment),
        damage("missing segment", missing_segment),
        damage("zeroed pages", zeroed_pages),
        damage("two segments swapped", swapped_segments),
        damage("segment of another store", foreign_segment),
        damage("missing history file", missing_history),
    ]
}

/// Returns the segments that there are, oldest first.
pub(super) fn segments(rest: &Rest) -> Vec<&Resting> {
    let mut all: Vec<&Resting> = rest.files.iter().filter(|file| ending(&file.name) == "jnl").collect();
    all.retain(|file| file.path.exists());
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn only(rest: &Rest, kind: Kind) -> &Resting {
    let all = rest.of_kind(kind);
    &rest.files[*all.last().unwrap()]
}

/// Returns the history file of what the journal no longer has.
fn oldest_history(rest: &Rest) -> &Resting {
    let all = rest.of_kind(Kind::History).into_iter().map(|index| &rest.files[index]);
    all.min_by(|one, other| one.name.cmp(&other.name)).unwrap()
}

fn write(file: &Resting, offset: usize, bytes: &[u8]) {
    let opened = File::options().write(true).open(&file.path).unwrap();
    opened.write_all_at(bytes, u64::try_from(offset).unwrap()).unwrap();
}

fn flip(file: &Resting, offset: usize) {
    write(file, offset, &[file.bytes[offset] ^ 0x20]);
}

const HEADER_BYTES: usize = 4096;
const ALIGN_BYTES: usize = 512;
const FRAME_HEAD_BYTES: usize = 64;
const GROUP_BYTES: usize = 22;
const ENTRY_HEAD_BYTES: usize = 36;

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    let mut wide = [0; 8];
    wide[..length].copy_from_slice(&bytes[at..at + length]);
    usize::try_from(u64::from_le_bytes(wide)).unwrap()
}

/// Returns where the frames of a segment begin, and how long each is.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let tag = bytes[HEADER_BYTES..HEADER_BYTES + 8].to_vec();
    let (mut out, mut at) = (Vec::new(), HEADER_BYTES);
    while bytes.get(at..at + 8) == Some(&tag[..]) {
        let length = number(bytes, at + 8, 4);
        out.push((at, length));
        at += length.next_multiple_of(ALIGN_BYTES);
    }
    out
}

/// Returns the cases that have entries in the frame at a place.
fn cases_in(bytes: &[u8], frame: usize) -> BTreeSet<String> {
    let groups = number(bytes, frame + FRAME_HEAD_BYTES - 4, 4);
    let counts =
        (0..groups).map(|group| number(bytes, frame + FRAME_HEAD_BYTES + group * GROUP_BYTES + 18, 4));
    let entries: usize = counts.sum();
    let mut at = frame + FRAME_HEAD_BYTES + groups * GROUP_BYTES;
    let mut out = BTreeSet::new();
    for _ in 0..entries {
        let subject = u64::try_from(number(bytes, at, 8)).unwrap();
        if subject != 0 {
            out.insert(CaseId(subject).to_string());
        }
        at += ENTRY_HEAD_BYTES + number(bytes, at + 32, 4);
    }
    out
}

/// Returns the places of a segment's frames that are not void, and that of one in their middle that has cases.
fn middle(rest: &Rest, file: &Resting) -> (Vec<usize>, usize) {
    let after = segments(rest).into_iter().find(|other| other.name > file.name);
    let void_from = after.map_or(usize::MAX, |after| after.name[..20].parse().unwrap());
    let frames = frames(&file.bytes).into_iter().map(|(at, _)| at);
    let frames: Vec<usize> = frames.filter(|at| number(&file.bytes, at + 12, 8) < void_from).collect();
    let inner = &frames[1..frames.len() - 1];
    let mut from_middle = inner[inner.len() / 2..].iter().chain(inner).copied();
    let found = from_middle.find(|frame| !cases_in(&file.bytes, *frame).is_empty());
    let found = found.expect("a frame of cases");
    (frames, found)
}

/// Returns the newest segment, which every opening reads.
fn head(rest: &Rest) -> &Resting {
    segments(rest).pop().unwrap()
}

/// Returns the segment before it, which few openings read.
fn before_head(rest: &Rest) -> &Resting {
    let mut all = segments(rest);
    all.pop();
    all.pop().unwrap()
}

/// Tells whether the store does without a segment, because history holds what it holds.
fn is_in_history(place: &Place, file: &Resting) -> bool {
    let away = file.path.with_extension("away");
    fs::rename(&file.path, &away).unwrap();
    let is_dispensable = place.knhk(&["state", "verify", "--quick"]).status.success();
    fs::rename(&away, &file.path).unwrap();
    is_dispensable
}

fn frame_body(rest: &Rest, _: &Place) -> Expected {
    let file = head(rest);
    let (_, frame) = middle(rest, file);
    flip(file, frame + number(&file.bytes, frame + 8, 4) - 6);
    Expected::new(&[&file.name], true).lost(cases_in(&file.bytes, frame))
}

fn frame_head(rest: &Rest, place: &Place) -> Expected {
    let file = before_head(rest);
    let (_, frame) = middle(rest, file);
    let is_in_history = is_in_history(place, file);
    // Its length.
    flip(file, frame + 9);
    let lost = if is_in_history { BTreeSet::new() } else { cases_in(&file.bytes, frame) };
    Expected::new(&[&file.name], false).lost(lost)
}

fn segment_header(rest: &Rest, _: &Place) -> Expected {
    let file = before_head(rest);
    flip(file, 100);
    // Its frames can be read all the same.
    Expected::nothing(&[&file.name], true)
}

fn history_block(rest: &Rest, _: &Place) -> Expected {
    let file = oldest_history(rest);
    flip(file, file.bytes.len() / 2);
    Expected::new(&[&file.name], false)
}

fn history_index(rest: &Rest, _: &Place) -> Expected {
    let file = oldest_history(rest);
    // Footer: where the index begins, its length, blocks, rows, hash, checksum, kind.
    let footer = file.bytes.len() - 72;
    let index = number(&file.bytes, footer, 8);
    flip(file, index + 1);
    Expected::new(&[&file.name], false)
}

fn snapshot(rest: &Rest, _: &Place) -> Expected {
    let file = only(rest, Kind::Snapshot);
    flip(file, file.bytes.len() / 2);
    Expected::nothing(&[&file.name], false)
}

fn environment(rest: &Rest, _: &Place) -> Expected {
    let file = only(rest, Kind::Environment);
    let at = file.bytes.windows(8).enumerate().filter(|(_, window)| window == b"customer").map(|(at, _)| at);
    // All of them: some lie in pages that are free.
    let all: Vec<usize> = at.collect();
    assert!(!all.is_empty(), "no row has its words");
    for at in all {
        write(file, at, b"CUSTOMER");
    }
    Expected::new(&[], false)
}

fn identity(rest: &Rest, _: &Place) -> Expected {
    let file = only(rest, Kind::Identity);
    flip(file, 14);
    Expected::nothing(&["/store"], false)
}

fn truncated_segment(rest: &Rest, place: &Place) -> Expected {
    let file = before_head(rest);
    let (frames, frame) = middle(rest, file);
    let is_in_history = is_in_history(place, file);
    let length = u64::try_from(frame + 100).unwrap();
    File::options().write(true).open(&file.path).unwrap().set_len(length).unwrap();
    let gone = frames.into_iter().filter(|at| *at >= frame && !is_in_history);
    Expected::new(&[&file.name], false).lost(gone.flat_map(|frame| cases_in(&file.bytes, frame)).collect())
}

fn missing_segment(rest: &Rest, _: &Place) -> Expected {
    fs::remove_file(&head(rest).path).unwrap();
    // The environment has folded what lay there.
    Expected::new(&["the journal ends at frame"], true)
}

fn zeroed_pages(rest: &Rest, _: &Place) -> Expected {
    let file = head(rest);
    let (_, frame) = middle(rest, file);
    let (from, to) = (frame / 4096 * 4096, (frame + 4096).next_multiple_of(4096));
    let from = from.max(HEADER_BYTES);
    write(file, from, &vec![0; to - from]);
    Expected::new(&[&file.name], true)
}

fn swapped_segments(rest: &Rest, _: &Place) -> Expected {
    let (one, other) = (head(rest), before_head(rest));
    let between = one.path.with_extension("between");
    fs::rename(&one.path, &between).unwrap();
    fs::rename(&other.path, &one.path).unwrap();
    fs::rename(between, &other.path).unwrap();
    // Every frame can be read.
    Expected::nothing(&[".jnl"], true)
}

fn foreign_segment(rest: &Rest, _: &Place) -> Expected {
    let small = [("segment_bytes", "65536"), ("frame_bytes_max", "32768"), ("body_bytes_max", "32768")];
    let mut other = Place::with(&small);
    let mut service = other.start();
    load::register(&service);
    assert!(service.stop().success());
    let file = before_head(rest);
    let entries = fs::read_dir(other.path("state/journal")).unwrap().map(|entry| entry.unwrap().path());
    let foreign =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).min().unwrap();
    fs::copy(foreign, &file.path).unwrap();
    Expected::new(&[&file.name], true)
}

fn missing_history(rest: &Rest, _: &Place) -> Expected {
    let file = oldest_history(rest);
    fs::remove_file(&file.path).unwrap();
    // It held what the journal begins behind.
    Expected::new(&["is missing"], true)
}

/// Returns how many events a case has in a backup.
pub(super) fn recall(place: &Place, backup: &Path, case: &str) -> usize {
    let store = store::Options {
        state_dir: place.path("state"),
        cache_dir: place.path("cache"),
        segment_bytes: 65_536,
        hurried_bytes: 65_536,
        frame_bytes_max: 32_768,
        grace_us: 0,
        keep_us: 0,
        format_max: store::FORMAT,
        planted: None,
    };
    let options = Options { store, backup_dir: place.path("backup"), retain_us: 0, reserve_bytes: 0 };
    let fold: Arc<dyn Fold> = Arc::new(EngineFold);
    let case = CaseId::parse(case).unwrap();
    let found = knhk::backup::case_history(&options, backup, case, &fold, &specification_of, &mut Nobody);
    let found = found.unwrap_or_else(|error| panic!("{case}: {error}"));
    let events = |entry: &store::Entry| match Record::decode(&entry.payload).unwrap().body {
        Body::Case(payload) => events_from_bytes(payload).unwrap().len(),
        body => panic!("an entry of a case: {body:?}"),
    };
    found.entries.iter().map(events).sum()
}

/// Nobody who looks or verifies.
struct Nobody;

impl Host for Nobody {
    fn verify(&mut self, _options: &store::Options, _level: Level) -> VerifyReport {
        panic!("one case is proven by its own chain")
    }

    fn progress(&mut self, _work: Work, _done_bytes: u64, _total_bytes: u64) {}
}
