//! What is written about the journal, and what may leave: history of complete segments, snapshots, and files that
//! nobody needs any longer.
//!
//! Nothing leaves too early. A copy reads folders in any order and sees only what was there when it entered, so a file
//! goes a grace after what takes its place was sealed: a segment after both a history file and a snapshot cover it, a
//! snapshot after a newer one, a history file after it was written anew. The clock is [`Moment`]; after the machine
//! began anew the grace begins with the opening. A store of format 1 loses nothing, because the release before knows
//! only the journal from its first frame.
//!
//! Nothing goes on the word of a file that was not read whole: directly before the first file goes because of it, every
//! byte of it is checked, once an opening. One that is damaged covers nothing. So what it covers stays, and as long as
//! its segments are there, history is written anew from them in its place, and another snapshot is made. Where they are
//! gone already, what the file held is lost, and holding back later segments would not bring it back: these go on to
//! leave on the word of their own history and snapshot, and the damaged file is told until somebody repairs the store.
//!
//! It does one bounded thing a call, and whoever calls it again after an error goes on where it was. Start at
//! [`Keeper::step`]; [`super::retention`] says what may go when, [`super::folders`] what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use super::disk::Disk;
use super::error::Error;
use super::folders::{history_file, is_damage, look, segment_file};
use super::history::{self, HISTORY_FOLDER, History, Pace};
use super::identity::Upgraded;
use super::leave::Leavings;
pub use super::leave::{Gone, Owner};
use super::open::JOURNAL_FOLDER;
use super::reader::JournalReader;
use super::retention::{FileKind, FileRow, Files, Rules, SnapshotFile, Trim, When};
use super::sealed::Moment;
use super::segment;
use super::snapshot::{self, SNAPSHOT_FOLDER, Snapshot};
use super::tables::Tables;
use crate::id::Time;

/// History is written as soon as segments of half a segment's full size are complete: a store that is opened often has
/// many small ones, and they share a file.
const HISTORY_SHARE: u64 = 2;

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the clock that counts the grace.
    pub moment: Moment,
    /// By the clock that frames carry.
    pub time: Time,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// There was nothing to do.
    Nothing,
    /// A history file was written.
    History {
        /// Its name.
        name: String,
        /// The last frame that it covers.
        seq: u64,
        /// Its length.
        bytes: u64,
    },
    /// A file was read whole, and others may go because of it.
    Checked {
        /// Its name.
        name: String,
    },
    /// A file is damaged, and none goes because of it.
    Damaged {
        /// What it is.
        kind: FileKind,
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A history file was written anew, without what is archived.
    Rewritten {
        /// The name of the new one.
        name: String,
        /// The length of the old one.
        before_bytes: u64,
        /// The length of the new one.
        bytes: u64,
    },
    /// A file that nobody needs was taken away.
    Removed {
        /// What it was.
        kind: FileKind,
        /// Its name.
        name: String,
        /// Its length.
        bytes: u64,
    },
}

/// A snapshot that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The last frame that it holds.
    pub seq: u64,
    /// Its length.
    pub bytes: u64,
}

/// Writes history and snapshots of an open store, and takes away what they replace.
pub struct Keeper<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) reader: JournalReader<D>,
    pub(super) options: Options,
    /// When it was first asked something.
    opened: Option<Moment>,
    /// Empty before the folders were looked at, and after an error.
    files: Option<Files>,
    /// By how much the journal had grown when the last snapshot was written.
    grown: Option<Grown>,
    /// By name, the files that were read whole since the opening, and what is wrong with each.
    checked: BTreeMap<String, Option<(FileKind, String)>>,
    pub(super) leavings: Leavings,
}

#[derive(Debug, Clone, Copy)]
struct Grown {
    /// Bytes of the segments that lay behind the last snapshot at the opening.
    before_bytes: u64,
    /// Bytes appended from the opening to the last snapshot.
    appended_bytes: u64,
}

impl<D: Disk> Keeper<D> {
    /// Returns a keeper of an open store; it looks at nothing yet.
    pub fn new(disk: Arc<D>, reader: JournalReader<D>, options: &Options) -> Self {
        Self {
            disk,
            reader,
            options: options.clone(),
            opened: None,
            files: None,
            grown: None,
            checked: BTreeMap::new(),
            leavings: Leavings::default(),
        }
    }

    /// Does at most one thing: takes away one file that may go, or checks one because of which it may, or else writes
    /// one history file.
    ///
    /// # Errors
    /// A file cannot be read, written or taken away. Nothing is lost; the next call looks at the folders anew.
    pub fn step(&mut self, now: Now, trim: Trim, pace: &mut Pace<'_>) -> Result<Kept, Error> {
        let done = match self.remove_one(now, trim, pace) {
            Ok(Kept::Nothing) => self.write_history(now.moment, trim, pace),
            done => done,
        };
        self.seen(done)
    }

    /// Takes away at most one file that may go, or checks one because of which it may, and writes nothing: for when the
    /// disk is low.
    ///
    /// # Errors
    /// A file cannot be read or taken away.
    pub fn remove(&mut self, now: Now, trim: Trim, pace: &mut Pace<'_>) -> Result<Kept, Error> {
        let done = self.remove_one(now, trim, pace);
        self.seen(done)
    }

    /// Returns what is wrong with each file that is known to be damaged.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub fn damages(&mut self) -> Result<Vec<String>, Error> {
        let mut damages = self.leavings.damages();
        damages.extend(self.files()?.bad.iter().map(|bad| bad.why.clone()));
        Ok(damages)
    }

    /// Returns which files there are, and when each goes.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub fn sheet(&mut self, now: Now, trim: Trim) -> Result<Vec<FileRow>, Error> {
        let rules = self.rules(now, trim);
        Ok(self.files()?.sheet(&rules))
    }

    pub(super) fn rules(&mut self, now: Now, trim: Trim) -> Rules {
        let opened = *self.opened.get_or_insert(now.moment);
        Rules::new(&self.options, self.reader.format(), opened, now, trim)
    }

    /// Returns the last frame that the newest snapshot holds; 0 when there is none.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub fn snapshot_seq(&mut self) -> Result<u64, Error> {
        Ok(self.files()?.snapshots.last().map_or(0, |snapshot| snapshot.seq))
    }

    /// Raises the store to the newest format; what waited for that may go from now on.
    ///
    /// # Errors
    /// The file that names the store cannot be read or written; then nothing was changed.
    pub fn upgrade(&mut self) -> Result<Upgraded, Error> {
        self.reader.upgrade(&self.options)
    }

    /// Tells whether the journal has grown enough for another snapshot: by the bytes of the environment, and at least
    /// by those of a segment. `appended_bytes` are those since the opening.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub fn wants_snapshot(&mut self, appended_bytes: u64, environment_bytes: u64) -> Result<bool, Error> {
        let grown = if let Some(grown) = self.grown {
            grown
        } else {
            let last = self.snapshot_seq()?;
            let segments = self.files()?.segments.iter();
            let behind = segments.filter(|segment| segment.last.is_some_and(|(seq, _)| seq > last));
            let before_bytes = behind.map(|segment| segment.bytes).sum();
            *self.grown.insert(Grown { before_bytes, appended_bytes: 0 })
        };
        let bytes = grown.before_bytes + appended_bytes.saturating_sub(grown.appended_bytes);
        // A damaged one is replaced at once.
        let last = snapshot::name(self.snapshot_seq()?);
        let is_newest_bad =
            self.files()?.bad.iter().any(|bad| bad.kind == FileKind::Snapshot && bad.name > last);
        Ok(is_newest_bad || bytes >= environment_bytes.max(self.options.segment_bytes))
    }

    /// Writes a snapshot of the environment, which nobody may change meanwhile. `None` when it holds nothing yet, or
    /// no more than the last snapshot.
    ///
    /// # Errors
    /// The environment is damaged, or the file cannot be written; nothing is left of it then.
    pub fn snapshot(
        &mut self,
        tables: &dyn Tables,
        now: Moment,
        appended_bytes: u64,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Sealed>, Error> {
        let done = self.write_snapshot(tables, now, pace);
        // Without one that holds more, nothing has grown either.
        if done.is_ok() {
            self.grown = Some(Grown { before_bytes: 0, appended_bytes });
        }
        self.seen(done)
    }

    fn write_snapshot(
        &mut self,
        tables: &dyn Tables,
        now: Moment,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Sealed>, Error> {
        let last = self.snapshot_seq()?;
        if tables.meta()?.is_none_or(|meta| meta.seq <= last) {
            return Ok(None);
        }
        let folder = self.options.state_dir.join(SNAPSHOT_FOLDER);
        let sealed = snapshot::seal(&self.disk, &folder, tables, now, pace)?;
        let Some((about, bytes)) = sealed else { return Ok(None) };
        let seq = about.meta.seq;
        let name = snapshot::name(seq);
        self.checked.remove(&name);
        let files = self.files()?;
        files.bad.retain(|bad| bad.name != name);
        files.snapshots.push(SnapshotFile { name, bytes, seq, sealed: now });
        Ok(Some(Sealed { seq, bytes }))
    }

    /// Looks at the folders anew after an error: what was known may be what was wrong.
    pub(super) fn seen<R>(&mut self, done: Result<R, Error>) -> Result<R, Error> {
        if done.is_err() {
            self.files = None;
            self.reader.shared.shelf.look_again();
        }
        done
    }

    /// Returns what lies in the folders, with the segments that were made since.
    pub(super) fn files(&mut self) -> Result<&mut Files, Error> {
        let mut files = match self.files.take() {
            Some(files) => files,
            None => self.look()?,
        };
        let known = files.segments.last().and_then(|last| last.last).map_or(0, |(seq, _)| seq);
        for span in self.reader.spans(known + 1) {
            files.segments.push(segment_file(&*self.disk, &span)?);
        }
        Ok(self.files.insert(files))
    }

    /// Looks at what lies in the folders; what was found damaged before is so still.
    fn look(&mut self) -> Result<Files, Error> {
        let mut files = look(&*self.disk, &self.reader, &self.options)?;
        for (name, damage) in &self.checked {
            let is_there = files.history.iter().map(|file| &file.name).any(|other| other == name)
                || files.snapshots.iter().map(|file| &file.name).any(|other| other == name);
            if let Some((kind, why)) = damage.as_ref().filter(|_| is_there) {
                files.set_bad(*kind, name, why);
            }
        }
        Ok(files)
    }

    /// Reads a file whole.
    fn check(&mut self, kind: FileKind, name: String, pace: &mut Pace<'_>) -> Result<Kept, Error> {
        let disk = &*self.disk;
        let checked = if kind == FileKind::History {
            let folder = self.options.state_dir.join(HISTORY_FOLDER);
            History::open(disk, &folder, &name).and_then(|file| file.sealed.check(pace))
        } else {
            let folder = self.options.state_dir.join(SNAPSHOT_FOLDER);
            let seq = snapshot::parse_name(&name).unwrap_or_default();
            Snapshot::open(disk, &folder, seq).and_then(|file| file.check(pace))
        };
        match checked {
            Ok(()) => {
                self.checked.insert(name.clone(), None);
                Ok(Kept::Checked { name })
            }
            Err(error) if is_damage(&error) => {
                let why = error.to_string();
                self.checked.insert(name.clone(), Some((kind, why.clone())));
                self.files()?.set_bad(kind, &name, &why);
                Ok(Kept::Damaged { kind, name, why })
            }
            Err(error) => Err(error),
        }
    }

    fn remove_one(&mut self, now: Now, trim: Trim, pace: &mut Pace<'_>) -> Result<Kept, Error> {
        let sheet = self.sheet(now, trim)?;
        let Some(due) = sheet.into_iter().find(|row| row.when == When::In(0)) else {
            return Ok(Kept::Nothing);
        };
        let FileRow { kind, name, bytes, .. } = due;
        let unchecked = {
            let Self { files, checked, .. } = self;
            let relied_on = files.as_ref().map(|files| files.relied_on(kind, &name)).unwrap_or_default();
            let mut relied_on = relied_on.into_iter();
            relied_on
                .find(|(_, name)| !checked.contains_key(*name))
                .map(|(kind, name)| (kind, name.to_owned()))
        };
        if let Some((kind, name)) = unchecked {
            return self.check(kind, name, pace);
        }
        self.checked.remove(&name);
        let folder = self.options.state_dir.join(match kind {
            FileKind::Segment | FileKind::Void => JOURNAL_FOLDER,
            FileKind::History => HISTORY_FOLDER,
            FileKind::Snapshot => SNAPSHOT_FOLDER,
            FileKind::Archive => unreachable!("invariant: archives are not on the sheet"),
        });
        let files = self.files()?;
        match kind {
            FileKind::Segment => files.segments.retain(|file| file.name != name),
            FileKind::Void => files.voids.retain(|file| file.name != name),
            FileKind::History => files.history.retain(|file| file.name != name),
            FileKind::Snapshot => files.snapshots.retain(|file| file.name != name),
            FileKind::Archive => {}
        }
        let shared = &self.reader.shared;
        if kind == FileKind::History {
            shared.shelf.close(&name);
        }
        if let (FileKind::Segment, Some((_, n))) = (kind, segment::parse_name(&name)) {
            // Readers look for its entries in history from now on.
            self.reader.forget(n);
        }
        let path = folder.join(&name);
        match self.disk.unlink(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path)(error));
            }
            _ => {}
        }
        self.disk.sync_folder(&folder).map_err(Error::io("sync", &folder))?;
        Ok(Kept::Removed { kind, name, bytes })
    }

    fn write_history(&mut self, now: Moment, trim: Trim, pace: &mut Pace<'_>) -> Result<Kept, Error> {
        let least_bytes = if trim == Trim::Now { 1 } else { self.options.segment_bytes / HISTORY_SHARE };
        let (end, wanted, generation) = {
            let files = self.files()?;
            let end = files.history_end();
            let next = files.next_history(end);
            let mut bytes = 0;
            let waiting = files.segments.iter().filter(|segment| segment.first_seq > end);
            let taken = waiting.take_while(|segment| {
                let is_wanted = bytes < least_bytes && next.is_none_or(|next| segment.first_seq < next);
                bytes += if is_wanted { segment.bytes } else { 0 };
                is_wanted
            });
            let wanted = taken.last().map(|last| last.first_seq);
            // What is missing before a later file is written whatever its size.
            let is_much = bytes >= least_bytes || next.is_some();
            (end, wanted.filter(|_| is_much), files.generation(end + 1))
        };
        let Some(last_first_seq) = wanted else { return Ok(Kept::Nothing) };
        let mut spans = self.reader.spans(end + 1);
        spans.retain(|span| span.segment.header.first_seq() <= last_first_seq);
        let folder = self.options.state_dir.join(HISTORY_FOLDER);
        match spans.first() {
            Some(first) if first.segment.header.first_seq() == end + 1 => {}
            // History ends within a segment: nothing can be written in the place of what is missing.
            Some(first) => {
                let until = first.segment.header.before.seq;
                return Err(Error::HistoryMissing { path: folder, seq: end + 1, until });
            }
            None => return Ok(Kept::Nothing),
        }
        let (about, bytes) = history::seal(&self.disk, &folder, &spans, generation, now, pace)?;
        let (name, seq) = (about.name(), about.after.seq);
        // It may have taken the place of a damaged one.
        self.reader.shared.shelf.close(&name);
        self.checked.remove(&name);
        let files = self.files()?;
        files.bad.retain(|bad| bad.name != name);
        files.history.push(history_file(&about, bytes));
        files.history.sort_by_key(|file| (file.first_seq, file.generation));
        Ok(Kept::History { name, seq, bytes })
    }
}
