//! Moving files aside: nothing that somebody may want back is deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Options;
use super::disk::Disk;
use super::error::Error;
use crate::id::Time;

/// What the names of these folders begin with; the microsecond follows in which they were made.
pub const ASIDE_PREFIX: &str = "aside-";
/// From this age on, in microseconds, what lies aside is reported: 30 days. Those who wanted something back have had the time.
pub const ASIDE_TOLD_US: u64 = 30 * 86_400_000_000;
/// Deepest folder in one that is looked at: the store's own are two deep.
const DEPTH_MAX: usize = 8;
/// Most entries of one that are looked at: more than a journal may have files.
const ENTRIES_MAX: u64 = 1 << 20;

/// Returns whether this is the name of a folder to which files were moved.
pub fn is_aside(name: &str) -> bool {
    made(name).is_some()
}

fn made(name: &str) -> Option<Time> {
    let digits = name.strip_prefix(ASIDE_PREFIX)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok().map(Time)).flatten()
}

/// A folder to which files were moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The folder.
    pub path: PathBuf,
    /// When they were moved.
    pub made: Time,
    /// Files in it, up to a million.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl SetAside {
    /// Returns its name in the state folder.
    pub fn name(&self) -> String {
        format!("{ASIDE_PREFIX}{}", self.made.0)
    }
}

/// Returns what lies aside in a state folder, the oldest first; nothing where that cannot be looked at.
pub fn asides(state_dir: &Path) -> Vec<SetAside> {
    list_asides(state_dir).unwrap_or_default()
}

/// As [`asides`], for those who must know whether it could be looked at.
///
/// # Errors
/// The state folder is there and cannot be read.
pub fn list_asides(state_dir: &Path) -> Result<Vec<SetAside>, Error> {
    let entries = match fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", state_dir))?,
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", state_dir))?;
        let Some(made) = entry.file_name().to_str().and_then(made) else { continue };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let mut found = SetAside { path: entry.path(), made, files: 0, bytes: 0 };
            count(&entry.path(), DEPTH_MAX, &mut found);
            out.push(found);
        }
    }
    out.sort_by_key(|found| found.made);
    Ok(out)
}

/// Deletes what lies aside in one of these folders, and the folder.
///
/// # Errors
/// The system refuses; a part may be gone then.
pub fn delete_aside(aside: &SetAside) -> Result<(), Error> {
    fs::remove_dir_all(&aside.path).map_err(Error::io("delete", &aside.path))
}

fn count(folder: &Path, depth: usize, found: &mut SetAside) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if found.files >= ENTRIES_MAX {
            return;
        }
        match entry.metadata() {
            Ok(about) if about.is_dir() && depth > 0 => count(&entry.path(), depth - 1, found),
            Ok(about) => {
                found.files += 1;
                found.bytes += about.len();
            }
            Err(_) => {}
        }
    }
}

/// A folder `aside-<microseconds>` in the state folder, made when the first file comes. It has the folders of the
/// state folder, and is never read.
pub(super) struct Aside {
    state_dir: PathBuf,
    pub(super) path: PathBuf,
}

impl Aside {
    pub(super) fn new(options: &Options, now: Time) -> Self {
        let state_dir = options.state_dir.clone();
        Self { path: state_dir.join(format!("{ASIDE_PREFIX}{}", now.0)), state_dir }
    }

    /// Moves files of a folder of the state folder ("" is that folder itself) here. One that is gone already was
    /// moved before, or is not missed.
    pub(super) fn take<D: Disk>(&self, disk: &D, folder: &str, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        let (from, to) = (self.state_dir.join(folder), self.path.join(folder));
        disk.create_folder(&to).map_err(Error::io("make the folder", &to))?;
        for name in names {
            let path = from.join(name);
            match disk.rename(&path, &to.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("move aside", path)(error));
                }
                _ => {}
            }
        }
        for touched in [&to, &self.path, &from, &self.state_dir] {
            disk.sync_folder(touched).map_err(Error::io("sync", touched))?;
        }
        Ok(())
    }
}
