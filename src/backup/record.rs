//! What a verification said of a backup, kept beside it as `<name>.check`: a small JSON document. It counts as long as
//! the backup has the length and the time that it had then.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::Error;
use super::scratch::{self, Unfinished};
use crate::id::Time;

/// The ending of these files.
pub(super) const ENDING: &str = ".check";

/// What is known of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was verified, and is good.
    Good,
    /// It was verified, and is not.
    Damaged,
    /// It was not verified since it was written.
    Unknown,
}

impl Verdict {
    /// Returns its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "yes",
            Self::Damaged => "damaged",
            Self::Unknown => "no",
        }
    }
}

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) is_good: bool,
    pub(super) checked: Time,
    /// The last frame of the state.
    pub(super) seq: Option<u64>,
}

fn path_of(backup: &Path) -> PathBuf {
    let mut name = backup.as_os_str().to_owned();
    name.push(ENDING);
    name.into()
}

/// Returns when a file was last written.
pub(super) fn modified(about: &fs::Metadata) -> Time {
    let seconds = u64::try_from(about.mtime()).unwrap_or_default();
    Time(seconds.saturating_mul(1_000_000).saturating_add(about.mtime_nsec().unsigned_abs() / 1_000))
}

/// Returns what is known of a backup that has these properties now.
pub(super) fn read(backup: &Path, about: &fs::Metadata) -> Option<Record> {
    let text = fs::read(path_of(backup)).ok()?;
    let document: Value = serde_json::from_slice(&text).ok()?;
    let number = |name: &str| document.get(name).and_then(Value::as_u64);
    let is_same = number("bytes") == Some(about.len()) && number("modified_us") == Some(modified(about).0);
    let is_good = document.get("ok").and_then(Value::as_bool)?;
    is_same.then_some(Record { is_good, checked: Time(number("checked_us")?), seq: number("seq") })
}

/// Keeps what is known of a backup.
pub(super) fn write(backup: &Path, record: &Record) -> Result<(), Error> {
    let about = fs::metadata(backup).map_err(Error::io("look at", backup))?;
    let document = json!({
        "ok": record.is_good,
        "bytes": about.len(),
        "modified_us": modified(&about).0,
        "checked_us": record.checked.0,
        "checked": record.checked.rfc3339(),
        "seq": record.seq,
    });
    let path = path_of(backup);
    let temporary = path.with_file_name(scratch::name("check"));
    let unfinished = Unfinished(Some(temporary.clone()));
    // Root writes in a folder of others, and follows no link that they put there.
    drop(fs::remove_file(&temporary));
    let written = fs::File::create_new(&temporary)
        .and_then(|mut file| {
            super::create::give_file_like(&file, backup);
            file.write_all(format!("{document}\n").as_bytes()).and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::rename(&temporary, &path));
    written.map_err(Error::io("write", &path))?;
    drop(unfinished);
    Ok(())
}

/// Takes the record of a backup away that is gone.
pub(super) fn forget(backup: &Path) {
    drop(fs::remove_file(path_of(backup)));
}
