//! Making the rows anew, when the working environment does not hold them or is not to be believed: from the newest
//! good snapshot and the journal behind it, else from the first frame on, out of history and journal.
//!
//! A file that is damaged ends one way and not all of them. It gives the same rows whichever way leads there.

use std::sync::Arc;

use super::beside::Beside;
use super::disk::Disk;
use super::error::Error;
use super::follower::{Fold, Follower};
use super::history::{HISTORY_FOLDER, History};
use super::open::{Ends, Progress, Work, disbelief};
use super::reader::JournalReader;
use super::snapshot::{SNAPSHOT_FOLDER, Snapshot};
use super::tables::{Meta, Tables};

/// What is told meanwhile.
pub(super) struct Told<'a> {
    pub(super) progress: &'a mut dyn FnMut(Progress),
    /// What a person should know.
    pub(super) warnings: Vec<String>,
    /// What a person may want to know.
    pub(super) notes: Vec<String>,
    /// Frames folded.
    pub(super) folded_frames: u64,
}

impl<'a> Told<'a> {
    pub(super) fn new(progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { progress, warnings: Vec::new(), notes: Vec::new(), folded_frames: 0 }
    }
}

/// Makes the rows anew up to the reader's end, which is that of `ends` or one frame before.
///
/// # Errors
/// No way leads there, or the rows cannot be written.
pub(super) fn anew<D: Disk, T: Tables>(
    (tables, fold): (Arc<T>, Arc<dyn Fold>),
    reader: &JournalReader<D>,
    ends: &Ends,
    beside: &Beside,
    told: &mut Told<'_>,
) -> Result<Follower<T>, Error> {
    let end_seq = if beside.believes_beyond { u64::MAX } else { ends.seq };
    for (&seq, meta) in beside.snapshots.range(reader.before().0..=end_seq).rev() {
        if seq <= ends.seq
            && let Some(reason) = disbelief(meta, reader, ends)?
        {
            told.warnings.push(format!("the snapshot of frame {seq} is left out: {reason}"));
            continue;
        }
        let loaded = load(&*tables, reader, seq, told).and_then(|()| {
            let mut follower = Follower::new(Arc::clone(&tables), Arc::clone(&fold), meta.clone());
            catch_up(&mut follower, reader, ends, told)?;
            Ok(follower)
        });
        match loaded {
            Ok(follower) => {
                told.notes.push(format!("the rows were loaded from the snapshot of frame {seq}"));
                return Ok(follower);
            }
            // Another way may lead to the rows: those that it gave are not what the journal goes on from.
            Err(error) if is_of_snapshot(&error, reader) || is_of_rows(&error) => {
                told.warnings.push(format!("the snapshot of frame {seq} is left out: {error}"));
            }
            Err(error) => return Err(error),
        }
    }
    tables.clear()?;
    let mut follower = Follower::new(tables, fold, Meta::empty(ends.store));
    fold_history(&mut follower, reader, beside, told)?;
    catch_up(&mut follower, reader, ends, told)?;
    Ok(follower)
}

/// Returns whether rows that were given, and not what is folded over them, may be what is wrong.
pub(super) fn is_of_rows(error: &Error) -> bool {
    error.is_of_tables() || matches!(error, Error::Fold { .. })
}

fn is_of_snapshot<D: Disk>(error: &Error, reader: &JournalReader<D>) -> bool {
    let folder = reader.shared.state_dir().join(SNAPSHOT_FOLDER);
    match error {
        Error::SealedDamaged { path, .. } | Error::Format { path, .. } | Error::Io { path, .. } => {
            path.starts_with(folder)
        }
        _ => false,
    }
}

fn load<D: Disk>(
    tables: &dyn Tables,
    reader: &JournalReader<D>,
    seq: u64,
    told: &mut Told<'_>,
) -> Result<(), Error> {
    let folder = reader.shared.state_dir().join(SNAPSHOT_FOLDER);
    let snapshot = Snapshot::open(&*reader.shared.disk, &folder, seq)?;
    snapshot.load(tables, &mut |_| {
        (told.progress)(Progress { work: Work::LoadSnapshot, seq, end_seq: seq });
        Ok(())
    })
}

/// Folds what no longer lies in the journal.
fn fold_history<D: Disk, T: Tables>(
    follower: &mut Follower<T>,
    reader: &JournalReader<D>,
    beside: &Beside,
    told: &mut Told<'_>,
) -> Result<(), Error> {
    let (end_seq, _) = reader.before();
    let folder = reader.shared.state_dir().join(HISTORY_FOLDER);
    while follower.seq() < end_seq {
        let seq = follower.seq() + 1;
        let missing = || Error::HistoryMissing { path: folder.clone(), seq, until: end_seq };
        let name = beside.history_name(seq).ok_or_else(missing)?;
        let history = History::open(&*reader.shared.disk, &folder, name)?;
        if history.about.lost > 0 {
            return Err(missing());
        }
        follower.apply_history(&history)?;
        let seq = follower.seq();
        (told.progress)(Progress { work: Work::FoldHistory, seq, end_seq });
    }
    Ok(())
}

/// Folds what lies in the journal.
pub(super) fn catch_up<D: Disk, T: Tables>(
    follower: &mut Follower<T>,
    reader: &JournalReader<D>,
    ends: &Ends,
    told: &mut Told<'_>,
) -> Result<(), Error> {
    let Told { progress, folded_frames, .. } = told;
    follower.catch_up(reader, &mut |seq| {
        *folded_frames += 1;
        progress(Progress { work: Work::FoldJournal, seq, end_seq: ends.seq });
    })
}
