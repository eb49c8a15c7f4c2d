//! Which file may leave when, and why not yet. Pure: from what lies in the folders and what time it is.

use super::history;
use super::identity::FORMAT;
use super::keeper::Now;
use super::sealed::Moment;
use super::{Options, PlantedBug};
use crate::id::Time;

/// How long what is no longer needed stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// The grace that the options give.
    Due,
    /// Not at all; a copy that is being made may become incomplete.
    Now,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A segment of the journal.
    Segment,
    /// A segment of which nothing counts, because a later one holds what it held.
    Void,
    /// A history file.
    History,
    /// A snapshot.
    Snapshot,
    /// An archive file.
    Archive,
}

/// When a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In so many microseconds, if the service runs.
    In(u64),
    /// Not before something has happened.
    Not(Until),
}

/// What must happen before a file may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It is the head of the journal, or what the head made void: a later segment begins.
    Complete,
    /// A history file covers it.
    History,
    /// A snapshot covers it.
    Snapshot,
    /// It is the newest of its kind: a newer one is written.
    Newer,
    /// The store is upgraded from the format that the release before reads.
    Upgrade,
    /// It is damaged: what it covers is written anew, or somebody repairs the store.
    Read,
    /// It holds archived cases: they are restored.
    Restored,
}

/// A file, and when it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// What it is.
    pub kind: FileKind,
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it goes.
    pub when: When,
}

/// A segment of the journal.
#[derive(Debug, Clone)]
pub(super) struct SegmentFile {
    pub(super) n: u64,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    /// Its last frame, and that frame's time; of the head, none.
    pub(super) last: Option<(u64, Time)>,
}

/// A segment of which nothing counts.
#[derive(Debug, Clone)]
pub(super) struct VoidFile {
    pub(super) n: u64,
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A history file that can be read.
#[derive(Debug, Clone)]
pub(super) struct HistoryFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) generation: u32,
    pub(super) before_hash: [u8; 32],
    pub(super) after_hash: [u8; 32],
    pub(super) sealed: Moment,
}

/// A snapshot that can be read.
#[derive(Debug, Clone)]
pub(super) struct SnapshotFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) seq: u64,
    pub(super) sealed: Moment,
}

/// A history file or snapshot that covers nothing, because it cannot be read or is not whole.
#[derive(Debug, Clone)]
pub(super) struct BadFile {
    pub(super) kind: FileKind,
    pub(super) name: String,
    pub(super) bytes: u64,
    /// What is wrong with it.
    pub(super) why: String,
}

/// What lies in the folders.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The journal, oldest first; the last is the head.
    pub(super) segments: Vec<SegmentFile>,
    pub(super) voids: Vec<VoidFile>,
    /// By first frame, then generation.
    pub(super) history: Vec<HistoryFile>,
    /// By last frame.
    pub(super) snapshots: Vec<SnapshotFile>,
    pub(super) bad: Vec<BadFile>,
}

/// What decides when a file goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Nothing goes: the release before reads the store.
    pub(super) is_whole: bool,
    /// What is counted from where no moment of this run of the machine is known.
    pub(super) opened: Moment,
    pub(super) now: Now,
    pub(super) grace_us: u64,
    keep_us: u64,
    segment_grace_us: u64,
}

impl Rules {
    pub(super) fn new(options: &Options, format: u32, opened: Moment, now: Now, trim: Trim) -> Self {
        let grace_us = if trim == Trim::Now { 0 } else { options.grace_us };
        let segment_grace_us =
            if options.planted == Some(PlantedBug::DropBeforeGrace) { 0 } else { grace_us };
        let is_whole = format < FORMAT && options.planted != Some(PlantedBug::TrimBeforeUpgrade);
        Self { is_whole, opened, now, grace_us, keep_us: options.keep_us, segment_grace_us }
    }

    /// Returns how much of a grace that began at `since` is left.
    pub(super) fn left(&self, grace_us: u64, since: Moment) -> u64 {
        let now = self.now.moment;
        let is_of_now = since.boot == now.boot && since.us <= now.us;
        let since_us = if is_of_now { since.us } else { self.opened.us };
        grace_us.saturating_sub(now.us.saturating_sub(since_us))
    }
}

impl Files {
    /// Returns the files that count of history: of each first frame the highest generation.
    pub(super) fn history_that_counts(&self) -> impl Iterator<Item = &HistoryFile> {
        let next = self.history.iter().skip(1).map(Some).chain([None]);
        let pairs = self.history.iter().zip(next);
        pairs
            .filter(|(file, next)| next.is_none_or(|next| next.first_seq != file.first_seq))
            .map(|(file, _)| file)
    }

    /// Returns the last frame up to which history holds everything that still lies in the journal. What is damaged of
    /// what was there before is lost with its file, and holding back what came later does not bring it back.
    pub(super) fn history_end(&self) -> u64 {
        let gone = self.segments.first().map_or(0, |first| first.first_seq.saturating_sub(1));
        let mut end = (0, [0; 32]);
        for file in self.history_that_counts() {
            let continues = file.first_seq == end.0 + 1 && file.before_hash == end.1;
            if !continues && file.first_seq > gone + 1 {
                break;
            }
            end = (file.last_seq, file.after_hash);
        }
        end.0.max(gone)
    }

    /// Returns the first frame of the next history file behind `end`, good or bad: one that is written in a gap before
    /// it ends there.
    pub(super) fn next_history(&self, end: u64) -> Option<u64> {
        let bad = self.bad.iter().filter_map(|bad| history::parse_name(&bad.name));
        let firsts =
            self.history.iter().map(|file| file.first_seq).chain(bad.map(|(first_seq, _)| first_seq));
        firsts.filter(|&first_seq| first_seq > end + 1).min()
    }

    /// Returns the generation of the damaged history file that begins with a frame, which takes its place when it is
    /// written anew; the first one if there is none.
    pub(super) fn generation(&self, first_seq: u64) -> u32 {
        let bad = self.bad.iter().filter_map(|bad| history::parse_name(&bad.name));
        bad.filter(|bad| bad.0 == first_seq).map(|(_, generation)| generation).max().unwrap_or(1)
    }

    /// Returns the files because of which a file may go.
    pub(super) fn relied_on(&self, kind: FileKind, name: &str) -> Vec<(FileKind, &str)> {
        match kind {
            // A later segment holds what it held; and nothing takes an archive's place.
            FileKind::Void | FileKind::Archive => Vec::new(),
            FileKind::Segment => {
                let segment = self.segments.iter().find(|segment| segment.name == name);
                let Some((last_seq, _)) = segment.and_then(|segment| segment.last) else { return Vec::new() };
                let covers = |file: &&HistoryFile| file.first_seq <= last_seq && last_seq <= file.last_seq;
                let history = self.history_that_counts().find(covers);
                let history = history.map(|file| (FileKind::History, file.name.as_str()));
                let snapshot = self.snapshots.iter().find(|snapshot| snapshot.seq >= last_seq);
                let snapshot = snapshot.map(|file| (FileKind::Snapshot, file.name.as_str()));
                history.into_iter().chain(snapshot).collect()
            }
            FileKind::History => {
                let file = self.history.iter().find(|file| file.name == name);
                let newest =
                    self.history.iter().rfind(|other| file.is_some_and(|f| f.first_seq == other.first_seq));
                newest.into_iter().map(|file| (FileKind::History, file.name.as_str())).collect()
            }
            FileKind::Snapshot => {
                let newer = self.snapshots.iter().skip_while(|file| file.name != name).nth(1);
                newer.into_iter().map(|file| (FileKind::Snapshot, file.name.as_str())).collect()
            }
        }
    }

    /// Takes a file that is not whole out of those that cover something.
    pub(super) fn set_bad(&mut self, kind: FileKind, name: &str, why: &str) {
        let mut bytes = 0;
        self.history.retain(|file| {
            let is_it = kind == FileKind::History && file.name == name;
            bytes += if is_it { file.bytes } else { 0 };
            !is_it
        });
        self.snapshots.retain(|file| {
            let is_it = kind == FileKind::Snapshot && file.name == name;
            bytes += if is_it { file.bytes } else { 0 };
            !is_it
        });
        self.bad.push(BadFile { kind, name: name.to_owned(), bytes, why: why.to_owned() });
    }

    /// Says of each file when it goes: void segments, the others, history, snapshots, each oldest first.
    pub(super) fn sheet(&self, rules: &Rules) -> Vec<FileRow> {
        let mut out = Vec::new();
        let whens = self.segment_whens(rules);
        for void in &self.voids {
            // It goes with the segment that made it void, or before.
            let place = self.segments.iter().position(|segment| segment.n > void.n);
            let when = place.map_or(When::Not(Until::Complete), |place| whens[place]);
            out.push(row(FileKind::Void, &void.name, void.bytes, when));
        }
        for (segment, when) in self.segments.iter().zip(&whens) {
            out.push(row(FileKind::Segment, &segment.name, segment.bytes, *when));
        }
        for (place, file) in self.history.iter().enumerate() {
            let newer = self.history[place + 1..].iter().rfind(|other| other.first_seq == file.first_seq);
            let when = newer
                .map_or(When::Not(Until::Newer), |newer| When::In(rules.left(rules.grace_us, newer.sealed)));
            out.push(row(FileKind::History, &file.name, file.bytes, when));
        }
        for (place, file) in self.snapshots.iter().enumerate() {
            let newer = self.snapshots.get(place + 1);
            let when = newer
                .map_or(When::Not(Until::Newer), |newer| When::In(rules.left(rules.grace_us, newer.sealed)));
            out.push(row(FileKind::Snapshot, &file.name, file.bytes, when));
        }
        for bad in &self.bad {
            out.push(row(bad.kind, &bad.name, bad.bytes, When::Not(Until::Read)));
        }
        if rules.is_whole {
            for row in out.iter_mut().filter(|row| matches!(row.when, When::In(_))) {
                row.when = When::Not(Until::Upgrade);
            }
        }
        out
    }

    /// Says of each segment when it goes: not before those that are older.
    fn segment_whens(&self, rules: &Rules) -> Vec<When> {
        let history_end = self.history_end();
        let mut older = When::In(0);
        let mut out = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            older = match (older, self.segment_when(segment, history_end, rules)) {
                (When::In(older), When::In(own)) => When::In(older.max(own)),
                (When::Not(until), _) if segment.last.is_some() => When::Not(until),
                (_, own) => own,
            };
            out.push(older);
        }
        out
    }

    fn segment_when(&self, segment: &SegmentFile, history_end: u64, rules: &Rules) -> When {
        let Some((last_seq, time)) = segment.last else { return When::Not(Until::Complete) };
        // The first that covered it counts, for as long as it is there.
        let covers = |file: &&HistoryFile| file.first_seq <= last_seq && last_seq <= file.last_seq;
        let history = self.history.iter().find(covers).filter(|_| last_seq <= history_end);
        let Some(history) = history else { return When::Not(Until::History) };
        let snapshot = self.snapshots.iter().find(|snapshot| snapshot.seq >= last_seq);
        let Some(snapshot) = snapshot else { return When::Not(Until::Snapshot) };
        let left = |since| rules.left(rules.segment_grace_us, since);
        // The clock was set back since a time that is ahead of it: what covers the frames is not older than they are.
        let young_us = if time <= rules.now.time {
            time.plus_us(rules.keep_us).0.saturating_sub(rules.now.time.0)
        } else {
            rules.left(rules.keep_us, history.sealed)
        };
        When::In(left(history.sealed).max(left(snapshot.sealed)).max(young_us))
    }
}

fn row(kind: FileKind, name: &str, bytes: u64, when: When) -> FileRow {
    FileRow { kind, name: name.to_owned(), bytes, when }
}
