//! Making a backup: packed under a name that nobody takes for one, synced, verified, and only then named.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::check::{self, Checked};
use super::error::{Error, Finding};
use super::list::{self, NAME_BEGINNING};
use super::pack::{self, Packed};
use super::record::{self, Record};
use super::room::Room;
use super::scratch::{self, Unfinished};
use super::{Host, Options};
use crate::id::Time;
use crate::store::{self, Disk, Level, LmdbTables, RealDisk};

/// The file by which backups keep each other out.
const LOCK: &str = ".knhk-backup.lock";
/// How often a backup is tried: files may be trimmed while a first try takes its time.
const TRIES_MAX: u32 = 2;
/// How much is written at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// What takes the most space is compressed already; the rest has long runs of zeros, for which the least effort does.
pub const EFFORT: u32 = 1;

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// To the folder of the configuration, where old ones are deleted.
    BackupDir,
    /// To another folder, under the usual name.
    Folder(PathBuf),
    /// To this file.
    File(PathBuf),
}

impl To {
    /// Returns the folder in which the backup will lie.
    pub fn folder<'a>(&'a self, backup_dir: &'a Path) -> &'a Path {
        match self {
            Self::BackupDir => backup_dir,
            Self::Folder(folder) => folder,
            Self::File(file) => folder_of(file),
        }
    }
}

/// A backup that was made, and is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// What is in it.
    pub checked: Checked,
    /// Backups that were deleted because of their age.
    pub deleted: Vec<PathBuf>,
}

/// Makes a backup, beside a running service or without one, and verifies that it is whole.
///
/// # Errors
/// There is no state or no space, or what was packed is not good; nothing is left of it then, and no other backup is
/// deleted.
pub fn create(options: &Options, to: &To, now: Time, host: &mut dyn Host) -> Result<Created, Error> {
    if !store::exists(&RealDisk, &options.store)? {
        return Err(Error::NoState { state_dir: options.store.state_dir.clone() });
    }
    let target = target(options, to, now);
    let folder = folder_of(&target);
    if !folder.is_dir() {
        return Err(Error::NoFolder { path: folder.to_owned() });
    }
    let lock = RealDisk.lock(&folder.join(LOCK)).map_err(Error::io("make a file in", folder))?;
    let _lock = lock.ok_or_else(|| Error::Busy { path: folder.to_owned() })?;
    // Root may be the first to make one, and the service's user the next. In a folder of others the name may already lead
    // to another file.
    if fs::metadata(folder).is_ok_and(|about| about.uid() == 0) {
        give_like(&folder.join(LOCK), &options.store.state_dir);
    }
    if target.exists() {
        return Err(Error::Exists { path: target });
    }
    scratch::clean(folder);
    let temporary = folder.join(scratch::name("packed"));
    let mut unfinished = Unfinished(Some(temporary.clone()));
    let mut tries = 0;
    let (checked, file) = loop {
        tries += 1;
        match pack_once(options, &temporary, host) {
            Err(Error::Behind { .. } | Error::Damaged { .. }) if tries < TRIES_MAX => {}
            done => break done?,
        }
    };
    give_file_like(&file, &options.store.state_dir);
    fs::rename(&temporary, &target).map_err(Error::io("name", &target))?;
    unfinished.0 = None;
    RealDisk.sync_folder(folder).map_err(Error::io("sync", folder))?;
    let checked = Checked { path: target.clone(), ..checked };
    let mut deleted = Vec::new();
    if *to == To::BackupDir {
        record::write(&target, &Record { is_good: true, checked: now, seq: Some(checked.seq) })?;
        deleted = list::expire(options, now, &target)?;
    }
    Ok(Created { checked, deleted })
}

/// Packs and verifies; returns the file too, which stays the same whatever its name leads to meanwhile.
fn pack_once(options: &Options, temporary: &Path, host: &mut dyn Host) -> Result<(Checked, File), Error> {
    let needed_seq = durable_seq(options)?;
    let folder = folder_of(temporary);
    let sizes = pack::sizes(options)?;
    // Once packed, and once unpacked to be verified.
    let mut room = Room::take(folder, sizes.used_bytes.saturating_mul(2), options.reserve_bytes)?;
    let mut options_of_file = File::options();
    // What a process of this number left was taken away before; a first try of this one may have left something.
    drop(fs::remove_file(temporary));
    options_of_file.read(true).write(true).create_new(true).mode(0o640);
    let file = options_of_file.open(temporary).map_err(Error::io("make a file in", folder))?;
    let out = GzEncoder::new(BufWriter::with_capacity(BUFFER_BYTES, file), Compression::new(EFFORT));
    let (out, Packed { files, bytes, left_out }) = pack::pack(options, out, sizes, &mut room, host)?;
    let write = || -> std::io::Result<File> {
        let mut buffer = out.finish()?;
        buffer.flush()?;
        let mut file = buffer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        file.rewind()?;
        Ok(file)
    };
    let file = write().map_err(Error::io("write the archive in", folder))?;
    let packed = file.try_clone().map_err(Error::io("open", temporary))?;
    // What is in it was folded when it happened; that a copy has each byte of it is proven by reading.
    let checked = check::check_file(options, temporary, packed, Level::Whole, host)?;
    if checked.seq < needed_seq {
        return Err(Error::Behind { seq: checked.seq, needed_seq });
    }
    let mut checked = Checked { files, state_bytes: bytes, left_out: left_out.count, ..checked };
    checked.notes.extend(left_out.notes());
    Ok((checked, file))
}

/// Returns the last frame that is durable now, and must be in a backup that begins now.
fn durable_seq(options: &Options) -> Result<u64, Error> {
    let info = store::info(&RealDisk, None::<&LmdbTables>, &options.store)?;
    // A copy that nobody has opened yet may end anywhere.
    let is_copy = info.segments.last().is_some_and(|head| head.is_copy);
    match info.damage {
        None if !is_copy => Ok(info.seq.max(info.beside_seq)),
        None | Some(store::Error::DamagedCopy { .. }) => Ok(info.seq),
        Some(error) => {
            let findings = vec![Finding { code: error.code(), message: error.to_string() }];
            Err(Error::Damaged { path: options.store.state_dir.clone(), findings })
        }
    }
}

fn target(options: &Options, to: &To, now: Time) -> PathBuf {
    match to {
        To::BackupDir => options.backup_dir.join(name(now)),
        To::Folder(folder) => folder.join(name(now)),
        To::File(file) => file.clone(),
    }
}

/// Returns the name of a backup that is made at a time, in UTC.
fn name(now: Time) -> String {
    let microseconds = i64::try_from(now.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_microsecond(microseconds).unwrap_or(jiff::Timestamp::MAX);
    format!("{NAME_BEGINNING}{}.tar.gz", time.strftime("%Y%m%d_%H%M%S"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives a file of root's to whom another belongs, so that the service can read it.
pub(super) fn give_file_like(file: &File, like: &Path) {
    if let Some((user, group)) = owner_for(like) {
        drop(std::os::unix::fs::fchown(file, Some(user), Some(group)));
    }
}

/// The same by name: only where nobody but root and that user can put another file there.
pub(super) fn give_like(path: &Path, like: &Path) {
    if let Some((user, group)) = owner_for(like) {
        // A link that somebody put there is not followed.
        drop(std::os::unix::fs::lchown(path, Some(user), Some(group)));
    }
}

/// Returns whom root gives a file to; where the system refuses, it stays root's, and is as good.
fn owner_for(like: &Path) -> Option<(u32, u32)> {
    let about = fs::metadata(like).ok().filter(|_| nix::unistd::geteuid().is_root())?;
    Some((about.uid(), about.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_when_in_utc() {
        assert_eq!(name(Time(0)), "knhk-state-19700101_000000.tar.gz");
        assert_eq!(name(Time(1_764_122_405_999_999)), "knhk-state-20251126_020005.tar.gz");
    }
}
