//! What lies beside the journal that rows can be made from: history files and snapshots, as an opening finds them.
//!
//! Only headers are read here. A file that cannot be read is told and left where it is: other ways may lead to the same
//! rows, and [`super::anew`] tries them. A file that says what this journal never said is moved aside by an opening.

use std::collections::BTreeMap;
use std::path::Path;

use super::aside::Aside;
use super::chain::{Covered, Found};
use super::disk::Disk;
use super::entry::StoreId;
use super::error::Error;
use super::history::{self, HISTORY_FOLDER, History};
use super::identity::FORMAT;
use super::segment::{End, Segment};
use super::snapshot::{self, SNAPSHOT_FOLDER, Snapshot};
use super::tables::Meta;
use super::{Options, PlantedBug};

/// A history file that can be read.
#[derive(Debug, Clone)]
pub(super) struct HistoryFile {
    pub(super) name: String,
    pub(super) store: StoreId,
    pub(super) about: history::About,
}

/// How much of each file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Header, footer and index.
    Headers,
    /// Every byte.
    Whole,
}

/// A file that cannot be read.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) folder: &'static str,
    pub(super) name: String,
    pub(super) error: Error,
}

/// What lies beside the journal.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// By first frame, the highest generation that can be read; `None` when none can.
    pub(super) history: BTreeMap<u64, Option<HistoryFile>>,
    /// All names of history files by first frame.
    names: BTreeMap<u64, Vec<String>>,
    /// By last frame.
    pub(super) snapshots: BTreeMap<u64, Meta>,
    pub(super) bad: Vec<Bad>,
    /// Snapshots beyond the journal's end are believed: a planted bug.
    pub(super) believes_beyond: bool,
}

impl Beside {
    /// Reads what there is; nothing in a release that knows only the journal.
    pub(super) fn of_format<D: Disk>(disk: &D, options: &Options) -> Result<Self, Error> {
        if options.format_max < FORMAT {
            return Ok(Self::default());
        }
        let believes_beyond = options.planted == Some(PlantedBug::SnapshotBeyondJournal);
        Ok(Self { believes_beyond, ..Self::read(disk, &options.state_dir, Depth::Headers)? })
    }

    /// Returns the last frame that any of it is of, 0 when there is nothing.
    pub(super) fn last_seq(&self) -> u64 {
        let history = self.history.values().flatten().map(|file| file.about.after.seq).max();
        history.max(self.snapshots.keys().next_back().copied()).unwrap_or_default()
    }

    /// Reads what there is; what is damaged as deep as it is read is left out.
    pub(super) fn read<D: Disk>(disk: &D, state_dir: &Path, depth: Depth) -> Result<Self, Error> {
        let mut out = Self::default();
        let folder = state_dir.join(HISTORY_FOLDER);
        for (first_seq, mut generations) in history::list(disk, &folder)? {
            generations.sort_unstable();
            let names: Vec<_> = generations.iter().map(|&g| history::name(first_seq, g)).collect();
            let mut best = None;
            for name in names.iter().rev() {
                let opened = History::open(disk, &folder, name).and_then(|file| {
                    if depth == Depth::Whole {
                        file.sealed.check(&mut |_| Ok(()))?;
                    }
                    Ok(file)
                });
                if let Some(found) = out.told(HISTORY_FOLDER, name, opened) {
                    let (name, store) = (name.clone(), found.sealed.store);
                    best = Some(HistoryFile { name, store, about: found.about });
                    break;
                }
            }
            out.history.insert(first_seq, best);
            out.names.insert(first_seq, names);
        }
        let folder = state_dir.join(SNAPSHOT_FOLDER);
        for seq in snapshot::list(disk, &folder)? {
            let opened = Snapshot::open(disk, &folder, seq).and_then(|file| {
                if depth == Depth::Whole {
                    file.check(&mut |_| Ok(()))?;
                }
                Ok(file)
            });
            if let Some(found) = out.told(SNAPSHOT_FOLDER, &snapshot::name(seq), opened) {
                out.snapshots.insert(seq, found.about.meta);
            }
        }
        Ok(out)
    }

    fn told<T>(&mut self, folder: &'static str, name: &str, opened: Result<T, Error>) -> Option<T> {
        match opened {
            Ok(found) => Some(found),
            // A running service has removed it just now.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.bad.push(Bad { folder, name: name.to_owned(), error });
                None
            }
        }
    }

    /// Returns whether there is nothing, good or bad.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.snapshots.is_empty() && self.bad.is_empty()
    }

    /// Forgets a file that turned out to be damaged.
    pub(super) fn leave_out(&mut self, folder: &str, name: &str) {
        if folder == SNAPSHOT_FOLDER {
            self.snapshots.retain(|&seq, _| snapshot::name(seq) != name);
        } else {
            self.history.values_mut().for_each(|file| drop(file.take_if(|file| file.name == name)));
        }
    }

    /// Returns the name of the history file that begins with a frame, whether it can be read or not.
    pub(super) fn history_name(&self, first_seq: u64) -> Option<&str> {
        match self.history.get(&first_seq)? {
            Some(file) => Some(&file.name),
            None => self.names.get(&first_seq)?.last().map(String::as_str),
        }
    }

    /// Returns the names of the history files that begin with a frame, the highest generation last.
    pub(super) fn names_of(&self, first_seq: u64) -> &[String] {
        self.names.get(&first_seq).map_or(&[], Vec::as_slice)
    }

    /// Returns whether files from which nothing is lost hold all frames from `from` up to an end.
    pub(super) fn holds(&self, from: u64, end: &End) -> bool {
        if from > end.seq {
            return true;
        }
        let mut at: Option<&End> = None;
        for about in self.history.values().flatten().map(|file| &file.about) {
            if about.after.seq < from {
                continue;
            }
            let continues = match at {
                None => about.first_seq() <= from,
                Some(at) => (at.seq, at.hash) == (about.before.seq, about.before.hash),
            };
            if !continues || about.lost > 0 {
                return false;
            }
            if about.after.seq >= end.seq {
                return about.after.seq > end.seq || about.after.hash == end.hash;
            }
            at = Some(&about.after);
        }
        false
    }

    /// Returns up to where history follows from the first frame on. Behind a file that cannot be read it is believed to
    /// go on where the next one begins: what is lost with it is no part of the journal.
    pub(super) fn covered(&self) -> Covered {
        let mut out = Covered::default();
        let mut end_seq = Some(0);
        for (&first_seq, file) in &self.history {
            if end_seq.is_some_and(|end_seq| first_seq != end_seq + 1) {
                break;
            }
            let Some(file) = file else {
                end_seq = None;
                out.unknown_from = Some(first_seq);
                continue;
            };
            let before = &file.about.before;
            if end_seq.is_some() && before.seq > 0 && out.ends.get(&before.seq) != Some(&before.hash) {
                break;
            }
            out.unknown_from = None;
            out.ends.insert(before.seq, before.hash);
            out.ends.insert(file.about.after.seq, file.about.after.hash);
            end_seq = Some(file.about.after.seq);
        }
        out
    }

    /// Returns the files that say what this journal never said: history that does not end where a segment does, and
    /// snapshots of other frames. Forgets them.
    pub(super) fn take_strangers(
        &mut self,
        seams: &Seams,
        in_chain: &mut dyn FnMut(&Meta) -> Result<bool, Error>,
    ) -> Result<Strangers, Error> {
        let mut out = Strangers::default();
        let strange = self.history.iter().find(|(first, file)| match file {
            Some(file) => seams.is_strange(file),
            None => **first > seams.last_seq,
        });
        if let Some((&from, _)) = strange {
            // What follows continues it.
            self.history.split_off(&from);
            out.history = self.names.split_off(&from).into_values().flatten().collect();
            self.bad.retain(|bad| bad.folder != HISTORY_FOLDER || !out.history.contains(&bad.name));
        }
        let mut strange = Vec::new();
        for (&seq, meta) in self.snapshots.range(seams.first_seq..) {
            let is_believed = self.believes_beyond && seq > seams.last_seq;
            if !is_believed && !in_chain(meta)? {
                strange.push(seq);
            }
        }
        self.snapshots.retain(|seq, _| !strange.contains(seq));
        out.snapshots = strange.into_iter().map(snapshot::name).collect();
        Ok(out)
    }
}

/// Where a journal's segments end: there, and nowhere else, history files end.
#[derive(Debug)]
pub(super) struct Seams {
    store: StoreId,
    /// The frame before the first.
    first_seq: u64,
    /// The frame before the last, which an opening holds again in another segment.
    last_seq: u64,
    ends: BTreeMap<u64, [u8; 32]>,
}

impl Seams {
    pub(super) fn of(found: &Found) -> Self {
        Self::new(found.store, &found.segments, &found.before_last)
    }

    /// Returns those of segments up to `last`, behind which nothing is sealed.
    pub(super) fn new(store: StoreId, segments: &[Segment], last: &End) -> Self {
        let befores = segments.iter().map(|segment| &segment.header.before).chain([last]);
        Self {
            store,
            first_seq: segments.first().map_or(last.seq, |first| first.header.before.seq),
            last_seq: last.seq,
            ends: befores.filter(|end| end.seq <= last.seq).map(|end| (end.seq, end.hash)).collect(),
        }
    }

    /// Returns whether a history file is not of this journal. What left the journal cannot be compared.
    fn is_strange(&self, file: &HistoryFile) -> bool {
        let after = &file.about.after;
        let is_gone = after.seq < self.first_seq;
        file.store != self.store || (!is_gone && self.ends.get(&after.seq) != Some(&after.hash))
    }
}

/// Files that say what the journal never said.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    pub(super) history: Vec<String>,
    pub(super) snapshots: Vec<String>,
}

impl Strangers {
    /// Moves them aside; returns a sentence for each folder.
    pub(super) fn move_aside<D: Disk>(&self, disk: &D, aside: &Aside) -> Result<Vec<String>, Error> {
        let mut told = Vec::new();
        for (folder, names) in [(HISTORY_FOLDER, &self.history), (SNAPSHOT_FOLDER, &self.snapshots)] {
            aside.take(disk, folder, names)?;
            if let [first, ..] = names.as_slice() {
                told.push(format!(
                    "{} files of the folder {folder}, {first} the first, hold what the journal does not, and lie in {} now",
                    names.len(),
                    aside.path.display()
                ));
            }
        }
        Ok(told)
    }
}
