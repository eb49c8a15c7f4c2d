//! Verifying a backup: it is unpacked to where it is not in the way, and verified as any other store.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::archive::{self, Lasts};
use super::error::{Error, Finding};
use super::record::{self, Record};
use super::room::Room;
use super::scratch::Scratch;
use super::{Host, Options};
use crate::id::Time;
use crate::store::{self, Level, LmdbTables, RealDisk, StoreId};

/// A good backup, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Files in it.
    pub files: u64,
    /// Bytes of these.
    pub state_bytes: u64,
    /// The store; `None` where its journal names none.
    pub store: Option<StoreId>,
    /// The last frame that an opening keeps.
    pub seq: u64,
    /// Its time, where the journal is whole.
    pub time: Option<Time>,
    /// Files and folders that were left out, because the store has none of their names; `notes` tells of the first.
    pub left_out: u64,
    /// What is worth knowing and not wrong, one sentence each.
    pub notes: Vec<String>,
}

/// Verifies a backup, and keeps beside it what came of it where that is possible.
///
/// # Errors
/// It cannot be read, or is damaged: the error says where.
pub fn check(options: &Options, path: &Path, now: Time, host: &mut dyn Host) -> Result<Checked, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let checked = check_file(options, path, file, Level::Full, host);
    let record = match &checked {
        Ok(checked) => Record { is_good: true, checked: now, seq: Some(checked.seq) },
        Err(Error::Archive { .. } | Error::NotState { .. } | Error::Damaged { .. }) => {
            Record { is_good: false, checked: now, seq: None }
        }
        Err(_) => return checked,
    };
    // Whoever may not write there has the answer all the same.
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    if let (Some(path), Some(folder)) = (whole(path), whole(&options.backup_dir))
        && path.parent() == Some(&folder)
    {
        drop(record::write(&path, &record));
    }
    checked
}

/// Verifies an open file.
pub(super) fn check_file(
    options: &Options,
    path: &Path,
    file: File,
    level: Level,
    host: &mut dyn Host,
) -> Result<Checked, Error> {
    let own = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = Scratch::make(&[own, &options.backup_dir, &options.store.cache_dir])?;
    let named = |error| scratch.named(error);
    let mut room = Room::take(scratch.path(), 0, options.reserve_bytes).map_err(named)?;
    let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    let unpacked = archive::unpack(path, file, scratch.path(), Lasts::No, &mut room, host).map_err(named)?;
    look(options, (path, bytes), (scratch.path(), unpacked), level, host)
}

/// Verifies what was unpacked into a folder out of a file of so many bytes.
pub(super) fn look(
    options: &Options,
    (path, bytes): (&Path, u64),
    (folder, unpacked): (&Path, archive::Unpacked),
    level: Level,
    host: &mut dyn Host,
) -> Result<Checked, Error> {
    let archive::Unpacked { root, files, bytes: state_bytes, left_out } = unpacked;
    let count = left_out.count;
    let mut notes = left_out.notes();
    let store = options_at(options, &root);
    let report = host.verify(&store, level);
    // Names as they stand in the archive.
    let unpacked = format!("{}/", folder.display());
    let told = |text: String| text.replace(&unpacked, "");
    if !report.findings.is_empty() {
        let finding = |error: &store::Error| Finding { code: error.code(), message: told(error.to_string()) };
        let findings = report.findings.iter().map(finding).collect();
        return Err(Error::Damaged { path: path.to_owned(), findings });
    }
    if report.segments == 0 {
        return Err(Error::NotState { path: path.to_owned(), reason: "no journal lies in it".to_owned() });
    }
    // All of a backup is copies.
    notes.extend(report.notes.into_iter().filter(|note| !note.ends_with("segments are copies")).map(told));
    let info = store::info(&RealDisk, None::<&LmdbTables>, &store).ok();
    let time = info.as_ref().filter(|info| info.seq == report.seq).map(|info| info.time);
    Ok(Checked {
        path: path.to_owned(),
        bytes,
        files,
        state_bytes,
        store: info.and_then(|info| info.store),
        seq: report.seq,
        time,
        left_out: count,
        notes,
    })
}

/// Returns the options of a store that lies elsewhere, and has no working environment.
pub(super) fn options_at(options: &Options, state_dir: &Path) -> store::Options {
    store::Options {
        state_dir: state_dir.to_owned(),
        cache_dir: state_dir.join("no-cache"),
        ..options.store.clone()
    }
}
