//! Which backups there are, and which are so old that they go.

use std::fs;
use std::path::{Path, PathBuf};

use super::Options;
use super::error::Error;
use super::record::{self, Verdict};
use crate::id::Time;

/// What the names of backups begin with.
pub(super) const NAME_BEGINNING: &str = "knhk-state-";
const NAME_ENDINGS: [&str; 3] = [".tar.gz", ".tgz", ".tar"];

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// When it was written.
    pub written: Time,
    /// What is known of it.
    pub verdict: Verdict,
    /// When it was verified.
    pub checked: Option<Time>,
    /// The last frame of the state in it, if it was verified.
    pub seq: Option<u64>,
}

impl Listed {
    /// Returns its name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Returns whether this is the name of a backup, by whatever program.
fn is_backup(name: &str) -> bool {
    name.starts_with(NAME_BEGINNING) && NAME_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Returns the backups in a folder, the newest first.
///
/// # Errors
/// The folder is not there or cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Listed>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoFolder { path: folder.to_owned() });
        }
        entries => entries.map_err(Error::io("list", folder))?,
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        if !is_backup(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        // One that was taken away just now is no longer one.
        let Ok(about) = fs::metadata(&path) else { continue };
        if !about.is_file() {
            continue;
        }
        let record = record::read(&path, &about);
        let verdict = record
            .as_ref()
            .map_or(Verdict::Unknown, |record| if record.is_good { Verdict::Good } else { Verdict::Damaged });
        out.push(Listed {
            bytes: about.len(),
            written: record::modified(&about),
            verdict,
            checked: record.as_ref().map(|record| record.checked),
            seq: record.and_then(|record| record.seq),
            path,
        });
    }
    out.sort_by(|one, other| (other.written, &other.path).cmp(&(one.written, &one.path)));
    Ok(out)
}

/// Returns when the newest backup was written that is not known to be damaged; `None` when there is none.
pub fn newest(folder: &Path) -> Option<Time> {
    let all = list(folder).ok()?;
    all.iter().find(|one| one.bytes > 0 && one.verdict != Verdict::Damaged).map(|one| one.written)
}

/// Takes away what is older than `backup_retain_days`, but never `kept`, which is good; returns what went.
pub(super) fn expire(options: &Options, now: Time, kept: &Path) -> Result<Vec<PathBuf>, Error> {
    let before = now.minus_us(options.retain_us);
    let mut gone = Vec::new();
    for old in list(&options.backup_dir)?.into_iter().filter(|one| one.written < before && one.path != kept) {
        fs::remove_file(&old.path).map_err(Error::io("delete", &old.path))?;
        record::forget(&old.path);
        gone.push(old.path);
    }
    forget_orphans(&options.backup_dir);
    Ok(gone)
}

/// Takes records away whose backup somebody else has deleted.
fn forget_orphans(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(backup) = name.strip_suffix(record::ENDING).filter(|name| is_backup(name)) else { continue };
        if !folder.join(backup).exists() {
            record::forget(&folder.join(backup));
        }
    }
}
