//! The chains of subjects, as a verification follows them: each entry continues the one before, unless that one is gone
//! because a later entry makes it dispensable. Which file has the history of an archived subject is noted on the way, and
//! looked at in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::archive::{Archive, ArchiveId};
use super::disk::Disk;
use super::entry::{Entry, Link, Positions};
use super::error::Error;
use super::follower::{Before, Fold};
use super::shelf::is_gone;
use super::verify::VerifyReport;
use crate::id::{CaseId, Partition};

/// Most findings of broken chains that are told one by one.
const CHAINS_TOLD_MAX: u64 = 1;

/// Chains of some partitions, as far as they were followed.
pub(super) struct Chains {
    fold: Arc<dyn Fold>,
    /// Up to there links to entries that were not seen are believed.
    start: Positions,
    /// Whether entries were left out of the history that was read so far.
    pub(super) has_gaps: bool,
    links: HashMap<(Partition, u64), Link>,
    /// Chains in which something is missing, and the entry behind that: a later one must make it dispensable.
    late: BTreeMap<(Partition, u64), u64>,
    /// Archived subjects: the file, the last entry that it must have, and whether history still has all before it.
    archived: HashMap<u64, (ArchiveId, Link, bool)>,
    broken: u64,
}

impl Chains {
    pub(super) fn new(fold: Arc<dyn Fold>, start: &Positions) -> Self {
        Self {
            fold,
            start: *start,
            has_gaps: false,
            links: HashMap::new(),
            late: BTreeMap::new(),
            archived: HashMap::new(),
            broken: 0,
        }
    }

    /// Follows the chain of an entry's subject.
    pub(super) fn follow(&mut self, entry: &Entry, report: &mut VerifyReport) {
        let (partition, subject) = (entry.partition, entry.subject);
        if subject == 0 {
            if entry.previous != Link::default() {
                self.broken(partition, entry.n, subject, report);
            }
            return;
        }
        let place = (partition, subject);
        let known = self.links.insert(place, entry.link());
        let is_seen = entry.previous.n == 0 || entry.previous.n > self.start[partition.index()];
        let fits = match known {
            Some(known) => known == entry.previous,
            None => entry.previous == Link::default() || !is_seen,
        };
        match self.fold.before(entry) {
            Before::Needed if fits => {}
            Before::Needed if self.has_gaps && known.is_none_or(|known| known.n < entry.previous.n) => {
                self.late.entry(place).or_insert(entry.n);
            }
            Before::Needed => self.broken(partition, entry.n, subject, report),
            before => {
                if !fits && known.is_some_and(|known| known.n >= entry.previous.n) {
                    self.broken(partition, entry.n, subject, report);
                }
                let is_whole = self.late.remove(&place).is_none() && fits && known.is_some();
                match before {
                    Before::Archived(id) => {
                        self.archived.insert(subject, (id, entry.previous, is_whole));
                    }
                    Before::Needed | Before::Within => drop(self.archived.remove(&subject)),
                }
            }
        }
    }

    fn broken(&mut self, partition: Partition, n: u64, subject: u64, report: &mut VerifyReport) {
        self.broken += 1;
        if self.broken <= CHAINS_TOLD_MAX {
            report.findings.push(Error::ChainBroken { partition, n, subject });
        }
    }

    /// Tells which chains begin late though nothing makes that right, and which archived subjects cannot be read.
    pub(super) fn end<D: Disk>(&mut self, disk: &D, state_dir: &Path, report: &mut VerifyReport) {
        for ((partition, subject), n) in std::mem::take(&mut self.late) {
            self.broken(partition, n, subject, report);
        }
        let mut by_file: BTreeMap<ArchiveId, BTreeMap<CaseId, (Link, bool)>> = BTreeMap::new();
        for (subject, (id, link, is_whole)) in self.archived.drain() {
            by_file.entry(id).or_default().insert(CaseId(subject), (link, is_whole));
        }
        for (id, mut wanted) in by_file {
            let read = Archive::open(disk, state_dir, id).and_then(|archive| {
                archive.each(&mut |case, end| {
                    if wanted.get(&case).is_some_and(|(link, _)| *link == end) {
                        wanted.remove(&case);
                    }
                    true
                })
            });
            let path = id.path(state_dir);
            let why = match read {
                _ if wanted.is_empty() => continue,
                Err(error) if is_gone(&error) && wanted.values().all(|(_, is_whole)| *is_whole) => {
                    let (path, count) = (path.display(), wanted.len());
                    report.notes.push(format!(
                        "{path} is missing, as in a copy that was made while cases were archived; history still has the \
                         {count} cases: restore and archive them"
                    ));
                    continue;
                }
                Ok(()) => format!("{} does not end where they were archived", path.display()),
                Err(error) if is_gone(&error) => format!("{} is missing", path.display()),
                Err(error) => error.to_string(),
            };
            report.findings.push(Error::ArchivedLost { why, cases: wanted.into_keys().collect() });
        }
    }
}
