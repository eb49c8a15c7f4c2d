//! Which history files there are, and the few that are open: what a reader of entries looks through where the journal
//! has no longer what it wants.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::Disk;
use super::entry::Entry;
use super::error::Error;
use super::history::{self, About, History};
use crate::id::Partition;

/// History files that are kept open, each with its index and one block of rows.
const OPEN_COUNT_MAX: usize = 16;

/// The history files of a store, looked for when somebody first wants one.
pub(super) struct Shelf<D: Disk> {
    folder: PathBuf,
    state: Mutex<State<D>>,
}

struct State<D: Disk> {
    /// Empty before anybody looked, and when what is known is no longer so.
    known: Option<Arc<Known>>,
    /// By name, the last used at the back.
    open: VecDeque<(String, Arc<History<D::File>>)>,
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The files that count, by their first frame.
    pub(super) files: Vec<Arc<About>>,
    /// Names of files that cannot be read.
    pub(super) unreadable: Vec<String>,
}

impl Known {
    fn find(&self, partition: Partition, n: u64) -> Option<&Arc<About>> {
        let place = self.files.partition_point(|about| about.after.positions[partition.index()] < n);
        self.files.get(place).filter(|about| about.before.positions[partition.index()] < n)
    }
}

impl<D: Disk> Shelf<D> {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, state: Mutex::new(State { known: None, open: VecDeque::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().expect("invariant: nobody panics with the shelf's lock held")
    }

    /// Forgets what is known, because files came or went.
    pub(super) fn look_again(&self) {
        self.lock().known = None;
    }

    /// Closes a file that is about to be taken away: as long as it is open its space is not free.
    pub(super) fn close(&self, name: &str) {
        let mut state = self.lock();
        state.open.retain(|open| open.0 != name);
        state.known = None;
    }

    /// Returns what lies in the folder. A file that cannot be read hides no other: of a frame's files the highest
    /// generation that can be read counts.
    pub(super) fn known(&self, disk: &D) -> Result<Arc<Known>, Error> {
        if let Some(known) = &self.lock().known {
            return Ok(Arc::clone(known));
        }
        let mut known = Known::default();
        for (first_seq, mut generations) in history::list(disk, &self.folder)? {
            generations.sort_unstable();
            for generation in generations.into_iter().rev() {
                let name = history::name(first_seq, generation);
                match History::open(disk, &self.folder, &name) {
                    Ok(file) => {
                        known.files.push(Arc::new(file.about));
                        break;
                    }
                    Err(Error::SealedDamaged { .. }) => known.unreadable.push(name),
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let known = Arc::new(known);
        self.lock().known = Some(Arc::clone(&known));
        Ok(known)
    }

    /// Returns the entry of a subject at a position; `None` when history has none there.
    ///
    /// # Errors
    /// The file that should have it cannot be read.
    pub(super) fn entry(
        &self,
        disk: &D,
        partition: Partition,
        subject: u64,
        n: u64,
    ) -> Result<Option<Entry>, Error> {
        let mut is_second = false;
        loop {
            let known = self.known(disk)?;
            let found = known.find(partition, n).map(|about| self.open(disk, &about.name()));
            match found {
                Some(Ok(file)) => return file.entry(partition, subject, n),
                Some(Err(error)) if is_second || !is_gone(&error) => return Err(error),
                None if is_second => return self.why_missing(disk, &known),
                // Somebody may have written it, or written it anew, since it was looked for.
                _ => self.look_again(),
            }
            is_second = true;
        }
    }

    /// An entry that no readable file has may lie in one that cannot be read.
    fn why_missing(&self, disk: &D, known: &Known) -> Result<Option<Entry>, Error> {
        let mut damaged = known.unreadable.iter().map(|name| History::open(disk, &self.folder, name));
        damaged.find_map(Result::err).map_or(Ok(None), Err)
    }

    fn open(&self, disk: &D, name: &str) -> Result<Arc<History<D::File>>, Error> {
        {
            let mut state = self.lock();
            if let Some(place) = state.open.iter().position(|open| open.0 == name)
                && let Some(found) = state.open.remove(place)
            {
                let file = Arc::clone(&found.1);
                state.open.push_back(found);
                return Ok(file);
            }
        }
        let file = Arc::new(History::open(disk, &self.folder, name)?);
        let mut state = self.lock();
        if state.open.len() >= OPEN_COUNT_MAX {
            state.open.pop_front();
        }
        state.open.push_back((name.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    /// Visits the entries of a partition by position from `from` to `last`, until `visit` returns false or fails;
    /// returns whether it wants more.
    pub(super) fn entries(
        &self,
        disk: &D,
        partition: Partition,
        (from, last): (u64, u64),
        visit: &mut dyn FnMut(&Entry) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let known = self.known(disk)?;
        let mut is_wanted = true;
        let starts = |about: &About| about.after.positions[partition.index()] < from;
        for about in &known.files[known.files.partition_point(|about| starts(about))..] {
            if !is_wanted || about.before.positions[partition.index()] >= last {
                break;
            }
            let file = self.open(disk, &about.name())?;
            file.by_position(partition, from, &mut |entry| {
                if entry.n <= last {
                    is_wanted = visit(entry)?;
                }
                Ok(is_wanted && entry.n < last)
            })?;
        }
        Ok(is_wanted)
    }
}

/// How often something is looked at in all, because a running service took a file away meanwhile.
const LOOK_COUNT_MAX: u32 = 16;

/// Looks, and a few times anew when what was found wrong may only be that a running service took a file away after its
/// name was read.
pub(super) fn look_anew<R>(wrong: fn(&R) -> Option<&Error>, mut look: impl FnMut() -> R) -> R {
    for _ in 1..LOOK_COUNT_MAX {
        let found = look();
        if !wrong(&found).is_some_and(may_have_moved) {
            return found;
        }
    }
    look()
}

/// Tells whether a running service may have taken a file away that was just seen.
fn may_have_moved(error: &Error) -> bool {
    match error {
        Error::SegmentMissing { .. } | Error::DamagedCopy { .. } => true,
        error => is_gone(error),
    }
}

/// Tells whether somebody took a file away since its name was read.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
