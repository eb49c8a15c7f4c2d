//! Looking at a store without writing to it: for commands while no service runs, or one that does not answer.
//!
//! Who can take the lock together with other readers keeps writers out meanwhile, and reads the working environment
//! with the journal's tail folded over it in memory. Beside somebody who has the lock alone, or where the environment
//! is not to be believed, the whole journal is folded in memory. No file is made, changed or taken away.

use std::io;
use std::sync::Arc;

use super::anew::{Told, anew};
use super::beside::Beside;
use super::chain::{Found, Listing};
use super::cut::{Where, find_good};
use super::disk::{Disk, Lock};
use super::error::Error;
use super::follower::{Fold, Follower, check_sums};
use super::identity::FORMAT;
use super::marker::Marker;
use super::mem::MemTables;
use super::open::{Ends, JOURNAL_FOLDER, LOCK_NAME, OpenReport, disbelief, find};
use super::reader::{JournalReader, Shared};
use super::segment::End;
use super::shelf::look_anew;
use super::tables::{Changes, Counted, Meta, Scrubbed, Sums, Table, Tables, VisitRow};
use super::{Options, identity};

/// A store that is looked at. Nobody can write to it as long as this is there, unless somebody already could.
pub struct Looked<D: Disk, T: Tables> {
    /// Frames and entries up to the end that was found.
    pub journal: JournalReader<D>,
    /// The rows at that end.
    pub follower: Follower<ReadTables<T>>,
    /// Whether another process has the store for itself, and may have gone on since.
    pub is_beside: bool,
    /// That process, where the system tells.
    pub holder: Option<u32>,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
    _lock: Option<Lock>,
}

/// Looks at a store; `tables` opens its working environment while nobody writes to it. Sums of the `checked` tables
/// must hold, or the environment is left aside. `None` when there is no store, and never was one.
///
/// # Errors
/// The journal cannot be read or is damaged. Whatever is wrong with the working environment is not an error.
pub fn look<D: Disk, T: Tables>(
    disk: &Arc<D>,
    tables: impl FnOnce() -> Result<Option<T>, Error>,
    fold: &Arc<dyn Fold>,
    options: &Options,
    checked: &[Table],
) -> Result<Option<Looked<D, T>>, Error> {
    let path = options.state_dir.join(LOCK_NAME);
    let (lock, is_beside) = match disk.lock_shared(&path) {
        Ok(lock) => (lock, true),
        // A copy that was never opened: nobody can be kept out, so only files that never change are read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, false),
        Err(error) => return Err(Error::io("lock", path)(error)),
    };
    let is_beside = is_beside && lock.is_none();
    let holder = if is_beside { disk.lock_holder(&path) } else { None };
    let looking = Looking { disk, fold, options, checked };
    let looked = if is_beside {
        // Whoever has the store may take files away meanwhile.
        look_anew(|looked: &Result<_, _>| looked.as_ref().err(), || looking.look(None::<fn() -> _>, true))?
    } else {
        looking.look(Some(tables).filter(|_| lock.is_some()), false)?
    };
    Ok(looked.map(|looked| Looked { holder, _lock: lock, ..looked }))
}

/// Looks at a store that cannot be opened: at its journal as far as it is good from its beginning, or at the newest
/// snapshot where nothing of the journal is. The first warning says what is wrong.
///
/// # Errors
/// Nothing leads to rows, or the disk cannot be read.
pub fn look_before_damage<D: Disk, T: Tables>(
    disk: &Arc<D>,
    fold: &Arc<dyn Fold>,
    options: &Options,
) -> Result<Looked<D, T>, Error> {
    let beside = Beside::of_format(&**disk, options)?;
    let listing = Listing::read(&**disk, options)?;
    let good = find_good(&**disk, options, &listing, &beside.covered(), Where::Anywhere, &mut |_| {})?;
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let (segments, end, format, store, damage) = match good {
        (Some(mut found), damage) => {
            found.segments.retain(|segment| segment.header.before.seq < found.end.seq);
            (found.segments, found.end, found.format, found.store, damage)
        }
        (None, damage) => {
            let missing = || Error::JournalMissing { path: folder.clone() };
            let Some((_, meta)) = beside.snapshots.last_key_value() else {
                return Err(damage.unwrap_or_else(missing));
            };
            let (seq, hash, time, positions) = (meta.seq, meta.hash, meta.time, meta.positions);
            let end = End { seq, hash, time, positions, epochs: End::start().epochs };
            (Vec::new(), end, FORMAT, meta.store, damage)
        }
    };
    let told = damage.map_or_else(|| "the state is damaged".to_owned(), |damage| damage.to_string());
    let mut warnings =
        vec![format!("{told}; shown is the state up to frame {}, of {}", end.seq, end.time.rfc3339())];
    let ends = Ends { store, seq: end.seq, hash: end.hash };
    let shared = Shared::new(Arc::clone(disk), folder, segments, end, format);
    let journal = JournalReader::new(Arc::new(shared));
    let follower = in_memory(&journal, fold, &ends, &beside, &mut warnings)?;
    Ok(Looked { journal, follower, is_beside: false, holder: None, warnings, _lock: None })
}

/// What is looked at, and how.
struct Looking<'a, D> {
    disk: &'a Arc<D>,
    fold: &'a Arc<dyn Fold>,
    options: &'a Options,
    checked: &'a [Table],
}

impl<D: Disk> Looking<'_, D> {
    /// Looks once; `tables` is given while nobody can write.
    fn look<T: Tables>(
        &self,
        tables: Option<impl FnOnce() -> Result<Option<T>, Error>>,
        is_beside: bool,
    ) -> Result<Option<Looked<D, T>>, Error> {
        let Self { disk, fold, options, checked } = *self;
        let beside = Beside::of_format(&**disk, options)?;
        let Some((journal, ends, mut warnings)) = journal_of(disk, options, &beside)? else {
            return Ok(None);
        };
        let believed = tables.filter(|_| !Marker::is_doubtful(Arc::clone(disk), options.cache_dir.clone()));
        let stored = match believed {
            Some(tables) => over_stored(&journal, tables, fold, &ends, checked)?,
            None => None,
        };
        let follower = match stored {
            Some(follower) => follower,
            None => in_memory(&journal, fold, &ends, &beside, &mut warnings)?,
        };
        Ok(Some(Looked { journal, follower, is_beside, holder: None, warnings, _lock: None }))
    }
}

/// A reader of a journal, its end, and what a person should know.
type Journal<D> = (JournalReader<D>, Ends, Vec<String>);

/// Returns a reader of the journal up to its good end; `None` when there is no
/// store, and never was one.
pub(super) fn journal_of<D: Disk>(
    disk: &Arc<D>,
    options: &Options,
    beside: &Beside,
) -> Result<Option<Journal<D>>, Error> {
    let Some(found) = find_journal(&**disk, options, beside)? else { return Ok(None) };
    let Found { store, segments, end, cut, format, .. } = found;
    let warnings = cut.iter().map(|cut| cut.told(end.seq, None)).collect();
    let ends = Ends { store, seq: end.seq, hash: end.hash };
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let shared = Shared::new(Arc::clone(disk), folder, segments, end, format);
    Ok(Some((JournalReader::new(Arc::new(shared)), ends, warnings)))
}

/// Tells whether there is a store, or was one; nothing is made.
///
/// # Errors
/// The folders cannot be read.
pub fn exists<D: Disk>(disk: &D, options: &Options) -> Result<bool, Error> {
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let is_there = disk.exists(&folder).map_err(Error::io("look for", &folder))?;
    if is_there && !Listing::read(disk, options)?.names.is_empty() {
        return Ok(true);
    }
    Ok(identity::read(disk, options)?.is_some())
}

fn find_journal<D: Disk>(disk: &D, options: &Options, beside: &Beside) -> Result<Option<Found>, Error> {
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    if disk.exists(&folder).map_err(Error::io("look for", &folder))? {
        let listing = Listing::read(disk, options)?;
        let mut report = OpenReport::default();
        return find(disk, &listing, &beside.covered(), options, &mut report, &mut |_| {});
    }
    match identity::read(disk, options)? {
        Some(_) => Err(Error::JournalMissing { path: folder }),
        None => Ok(None),
    }
}

/// Returns the rows of the environment with the journal's tail over them; `None` when it is not to be believed.
fn over_stored<D: Disk, T: Tables>(
    journal: &JournalReader<D>,
    tables: impl FnOnce() -> Result<Option<T>, Error>,
    fold: &Arc<dyn Fold>,
    ends: &Ends,
    checked: &[Table],
) -> Result<Option<Follower<ReadTables<T>>>, Error> {
    let Ok(Some(tables)) = tables() else { return Ok(None) };
    let Ok(Some(meta)) = tables.meta() else { return Ok(None) };
    if disbelief(&meta, journal, ends)?.is_some()
        || checked.iter().any(|&table| check_sums(&tables, table, None).is_err())
    {
        return Ok(None);
    }
    let from = meta.seq + 1;
    let mut follower = Follower::new(Arc::new(ReadTables::Stored(tables)), Arc::clone(fold), meta);
    let folded = journal.frames(from, &mut |frame| follower.apply(frame).map(|()| true));
    match folded {
        Err(error) if error.is_of_tables() || matches!(error, Error::Fold { .. }) => Ok(None),
        folded => folded.map(|()| Some(follower)),
    }
}

fn in_memory<D: Disk, T: Tables>(
    journal: &JournalReader<D>,
    fold: &Arc<dyn Fold>,
    ends: &Ends,
    beside: &Beside,
    warnings: &mut Vec<String>,
) -> Result<Follower<ReadTables<T>>, Error> {
    let tables = Arc::new(ReadTables::Folded(Box::default()));
    let mut silent = |_| {};
    let mut told = Told::new(&mut silent);
    let follower = anew((tables, Arc::clone(fold)), journal, ends, beside, &mut told)?;
    warnings.append(&mut told.warnings);
    Ok(follower)
}

/// Tables that a look reads: stored ones, which it never changes, or its own in memory.
pub enum ReadTables<T> {
    /// Of the working environment.
    Stored(T),
    /// Folded from the journal.
    Folded(Box<MemTables>),
}

impl<T: Tables> ReadTables<T> {
    fn inner(&self) -> &dyn Tables {
        match self {
            Self::Stored(tables) => tables,
            Self::Folded(tables) => &**tables,
        }
    }

    fn changeable(&self) -> Result<&MemTables, Error> {
        match self {
            Self::Stored(_) => Err(Error::Tables { reason: "it was opened for reading".to_owned() }),
            Self::Folded(tables) => Ok(tables),
        }
    }
}

impl<T: Tables> Tables for ReadTables<T> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner().get(table, key)
    }

    fn rows(&self, table: Table, from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), Error> {
        self.inner().rows(table, from, visit)
    }

    fn commit(&self, changes: &dyn Changes, meta: &Meta) -> Result<(), Error> {
        self.changeable()?.commit(changes, meta)
    }

    fn fill(&self, rows: &dyn Changes, end: Option<(&Meta, &Sums)>) -> Result<(), Error> {
        self.changeable()?.fill(rows, end)
    }

    fn meta(&self) -> Result<Option<Meta>, Error> {
        self.inner().meta()
    }

    fn sums(&self) -> Result<Sums, Error> {
        self.inner().sums()
    }

    fn count(&self, table: Table) -> Result<Counted, Error> {
        self.inner().count(table)
    }

    fn scrub(&self, table: Table, rows_max: usize) -> Result<Scrubbed, Error> {
        self.inner().scrub(table, rows_max)
    }

    fn clear(&self) -> Result<(), Error> {
        self.changeable()?.clear()
    }
}
