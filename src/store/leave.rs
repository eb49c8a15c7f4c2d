//! What archived cases leave behind, and how it goes: their entries out of history, and archive files of which nothing
//! speaks.
//!
//! Entries go a grace after a snapshot was sealed that knows the case as archived, and only when its archive file was read
//! whole, so that neither a copy that is being made nor a damaged archive loses them. A history file is written anew when
//! enough of it is gone; the old one goes as any other of an older generation does.

use std::collections::BTreeMap;

use super::archive::{Archive, ArchiveId};
use super::disk::Disk;
use super::entry::{Entry, Positions};
use super::error::Error;
use super::folders::{history_file, is_damage};
use super::history::{HISTORY_FOLDER, History, Pace};
use super::keeper::{Keeper, Kept, Now};
use super::retention::{FileKind, Trim};
use super::sealed::Moment;
use super::shelf::is_gone;
use super::snapshot::{SNAPSHOT_FOLDER, Snapshot};
use crate::id::{CaseId, Partition};

/// A history file is written anew when one part in so many of its bytes is of archived cases.
const GONE_SHARE: u64 = 4;

/// Returns for a subject that is archived the position of the entry that says so, and the archive file.
pub type Gone<'a> = dyn Fn(Partition, u64) -> Result<Option<(u64, ArchiveId)>, Error> + 'a;

/// Who has a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This archive file.
    Archive(ArchiveId),
    /// The live store.
    Store,
    /// Nobody.
    Nobody,
}

/// What is known of archives since the opening.
#[derive(Debug, Default)]
pub(super) struct Leavings {
    /// Archive files that were read whole: what is wrong with each.
    checked: BTreeMap<ArchiveId, Option<String>>,
    /// By name, up to which snapshot history files were looked through, and whether nothing was to stay.
    looked: BTreeMap<String, (u64, bool)>,
    /// Archive files of an earlier process, of which it is not known whether anything speaks of them, and when each was
    /// written, once that was read. What this process writes is not among them: whoever asks for the events may still be
    /// waiting.
    unknown: Option<BTreeMap<ArchiveId, Option<Moment>>>,
    /// What a snapshot knows, by its last frame.
    told: Option<(u64, Positions)>,
}

impl Leavings {
    pub(super) fn damages(&self) -> Vec<String> {
        self.checked.values().flatten().cloned().collect()
    }
}

/// What of a history file is gone.
#[derive(Default)]
struct Share {
    gone: u64,
    gone_bytes: u64,
    bytes: u64,
}

impl<D: Disk> Keeper<D> {
    /// Writes at most one history file anew, without entries of cases that are archived; `gone` tells which are, and
    /// must know every case of the newest snapshot.
    ///
    /// # Errors
    /// A file cannot be read or written; nothing is lost.
    pub fn rewrite(
        &mut self,
        now: Now,
        trim: Trim,
        gone: &Gone<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Kept, Error> {
        let done = self.rewrite_one(now, trim, gone, pace);
        self.seen(done)
    }

    fn rewrite_one(
        &mut self,
        now: Now,
        trim: Trim,
        gone: &Gone<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Kept, Error> {
        let Some((seq, until)) = self.told_long_ago(now, trim)? else { return Ok(Kept::Nothing) };
        let names: Vec<_> = self.files()?.history_that_counts().map(|file| file.name.clone()).collect();
        let looked = (seq, trim == Trim::Now);
        for name in names {
            if self.leavings.looked.get(&name).is_some_and(|known| *known == looked) {
                continue;
            }
            let folder = self.options.state_dir.join(HISTORY_FOLDER);
            let history = History::open(&*self.disk, &folder, &name)?;
            if history.about.lost > 0 {
                self.leavings.looked.insert(name, looked);
                continue;
            }
            let (share, ends) = self.share(&history, &until, gone, pace)?;
            let is_much = share.gone_bytes.saturating_mul(GONE_SHARE) >= share.bytes;
            if share.gone == 0 || !(is_much || trim == Trim::Now) {
                self.leavings.looked.insert(name, looked);
                continue;
            }
            let is_gone = |entry: &Entry| is_before(&ends, entry);
            let (about, bytes) =
                history.rewrite(&self.disk, &folder, (share.gone, &is_gone), now.moment, pace)?;
            let new_name = about.name();
            self.leavings.looked.insert(new_name.clone(), looked);
            self.reader.shared.shelf.look_again();
            let files = self.files()?;
            files.history.push(history_file(&about, bytes));
            files.history.sort_by_key(|file| (file.first_seq, file.generation));
            return Ok(Kept::Rewritten { name: new_name, before_bytes: history.sealed.bytes, bytes });
        }
        Ok(Kept::Nothing)
    }

    /// Returns the newest snapshot that was sealed a grace ago, and the positions that it knows.
    fn told_long_ago(&mut self, now: Now, trim: Trim) -> Result<Option<(u64, Positions)>, Error> {
        let rules = self.rules(now, trim);
        if rules.is_whole {
            return Ok(None);
        }
        let snapshots = &self.files()?.snapshots;
        let old = snapshots.iter().rfind(|file| rules.left(rules.grace_us, file.sealed) == 0);
        let Some(seq) = old.map(|file| file.seq) else { return Ok(None) };
        if self.leavings.told.is_none_or(|told| told.0 != seq) {
            let folder = self.options.state_dir.join(SNAPSHOT_FOLDER);
            let snapshot = Snapshot::open(&*self.disk, &folder, seq)?;
            self.leavings.told = Some((seq, snapshot.about.meta.positions));
        }
        Ok(self.leavings.told)
    }

    /// Goes through a history file; returns what of it is gone, and by subject the entry before which it is.
    fn share(
        &mut self,
        history: &History<D::File>,
        until: &Positions,
        gone: &Gone<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<(Share, BTreeMap<u64, u64>), Error> {
        let (mut share, mut ends) = (Share::default(), BTreeMap::new());
        let mut last: Option<(u64, Option<u64>)> = None;
        history.each(&mut |entry| {
            let end = match last {
                Some((subject, end)) if subject == entry.subject => end,
                _ => self.end_of(entry, until, gone, pace)?,
            };
            last = Some((entry.subject, end));
            let bytes = entry.stored_bytes() as u64;
            share.bytes += bytes;
            if let Some(end) = end.filter(|end| entry.n < *end) {
                share.gone += 1;
                share.gone_bytes += bytes;
                ends.insert(entry.subject, end);
            }
            Ok(true)
        })?;
        pace(history.sealed.bytes)?;
        Ok((share, ends))
    }

    /// Returns the position of the entry before which a subject's entries are gone.
    fn end_of(
        &mut self,
        entry: &Entry,
        until: &Positions,
        gone: &Gone<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Option<u64>, Error> {
        if entry.subject == 0 {
            return Ok(None);
        }
        let told = gone(entry.partition, entry.subject)?;
        let Some((n, id)) = told.filter(|told| told.0 <= until[entry.partition.index()]) else {
            return Ok(None);
        };
        Ok(self.is_whole(id, pace)?.then_some(n))
    }

    /// Tells whether an archive file is whole, which is read once since the opening.
    fn is_whole(&mut self, id: ArchiveId, pace: &mut Pace<'_>) -> Result<bool, Error> {
        if let Some(known) = self.leavings.checked.get(&id) {
            return Ok(known.is_none());
        }
        let read = Archive::open(&*self.disk, &self.options.state_dir, id)
            .and_then(|archive| archive.check(pace, &mut |_, _| true));
        let wrong = match read {
            Ok(()) => None,
            Err(error) if is_damage(&error) || is_gone(&error) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        let is_whole = wrong.is_none();
        self.leavings.checked.insert(id, wrong);
        Ok(is_whole)
    }

    /// Takes away at most one archive file of an earlier process of which nothing speaks, a grace after it was written.
    /// One that holds a case which the store does not know stays.
    ///
    /// # Errors
    /// It cannot be read or taken away.
    pub fn remove_left_over(
        &mut self,
        now: Now,
        trim: Trim,
        owner: &dyn Fn(CaseId) -> Result<Owner, Error>,
    ) -> Result<Kept, Error> {
        let rules = self.rules(now, trim);
        if rules.is_whole {
            return Ok(Kept::Nothing);
        }
        if self.leavings.unknown.is_none() {
            let archives = self.reader.archives()?;
            self.leavings.unknown = Some(archives.into_iter().map(|id| (id, None)).collect());
        }
        let is_young =
            |written: Option<Moment>| written.is_some_and(|written| rules.left(rules.grace_us, written) > 0);
        let unknown = self.leavings.unknown.iter().flatten().filter(|(_, written)| !is_young(**written));
        let unknown: Vec<ArchiveId> = unknown.map(|(id, _)| *id).collect();
        for id in unknown {
            let archive = match Archive::open(&*self.disk, &self.options.state_dir, id) {
                Ok(archive) => archive,
                Err(error) if is_damage(&error) || is_gone(&error) => {
                    self.known(id);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if is_young(Some(archive.written)) {
                self.leavings.unknown.iter_mut().for_each(|unknown| {
                    unknown.insert(id, Some(archive.written));
                });
                continue;
            }
            let mut is_needed = Ok(false);
            let read = archive.each(&mut |case, _| {
                is_needed = owner(case).map(|owner| match owner {
                    Owner::Archive(other) => other == id,
                    Owner::Store => false,
                    Owner::Nobody => true,
                });
                matches!(is_needed, Ok(false))
            });
            let is_needed = is_needed? || read.is_err();
            self.known(id);
            if !is_needed {
                let bytes = archive.sealed.bytes;
                self.reader.remove_archive(id)?;
                return Ok(Kept::Removed { kind: FileKind::Archive, name: id.to_string(), bytes });
            }
        }
        Ok(Kept::Nothing)
    }

    fn known(&mut self, id: ArchiveId) {
        if let Some(unknown) = &mut self.leavings.unknown {
            unknown.remove(&id);
        }
    }
}

fn is_before(ends: &BTreeMap<u64, u64>, entry: &Entry) -> bool {
    ends.get(&entry.subject).is_some_and(|end| entry.n < *end)
}
