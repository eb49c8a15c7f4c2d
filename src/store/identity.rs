//! The file `store` in the state folder: that there is a store here, which, and in what format.
//!
//! Segments name store and format too; this file tells a store that lost its journal from a folder that never had one,
//! and keeps the format until [`upgrade`] raises it: a release writes what the one before it can read until then.

use std::path::{Path, PathBuf};

use super::bytes::Fields;
use super::disk::{Disk, DiskFile};
use super::entry::StoreId;
use super::error::Error;
use super::{OpenReport, Options};

/// The newest format of a store: journal, history and snapshots, where what the latter two hold leaves the journal.
pub const FORMAT: u32 = 2;
/// The oldest format that is read and written: the journal alone, from its first frame on.
pub const FORMAT_OLDEST: u32 = 1;

/// The file's name.
pub(super) const NAME: &str = "store";
const KIND: &[u8; 8] = b"KNHKSTOR";
const FILE_BYTES: usize = 8 + 4 + 16 + 4;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) store: StoreId,
    pub(super) format: u32,
}

/// Says whether files of a format can be read here.
pub(super) fn check_format(path: &Path, found: u32, options: &Options) -> Result<(), Error> {
    if (FORMAT_OLDEST..=options.format_max).contains(&found) {
        return Ok(());
    }
    Err(Error::Format { path: path.to_owned(), found, known: options.format_max })
}

/// Reads which store lies here; `None` when there is no such file.
pub(super) fn read<D: Disk>(disk: &D, options: &Options) -> Result<Option<Identity>, Error> {
    let path = path(options);
    if !disk.exists(&path).map_err(Error::io("look for", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path).map_err(Error::io("open", &path))?;
    let mut bytes = [0; FILE_BYTES];
    let count = file.read_at(0, &mut bytes).map_err(Error::io("read", &path))?;
    let damaged = || Error::Damaged {
        path: path.clone(),
        offset: 0,
        reason: "this is not what was written here".to_owned(),
    };
    let mut fields = Fields::new(&bytes[..count]);
    if fields.take(KIND.len()) != Some(KIND) {
        return Err(damaged());
    }
    let format = fields.u32().ok_or_else(damaged)?;
    let store = StoreId(fields.array().ok_or_else(damaged)?);
    let checksum = fields.u32().ok_or_else(damaged)?;
    if checksum != crc32c::crc32c(&bytes[..FILE_BYTES - 4]) {
        return Err(damaged());
    }
    check_format(&path, format, options)?;
    Ok(Some(Identity { store, format }))
}

/// Says so if another store lies here; returns the format that the file names, if it can be read.
pub(super) fn check<D: Disk>(disk: &D, options: &Options, expected: StoreId) -> Result<Option<u32>, Error> {
    match read(disk, options) {
        Ok(Some(Identity { store: found, .. })) if found != expected => {
            Err(Error::Foreign { path: path(options), found, expected })
        }
        Ok(found) => Ok(found.map(|found| found.format)),
        Err(Error::Damaged { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Makes the file say that this store lies here, in at least this format.
pub(super) fn ensure<D: Disk>(
    disk: &D,
    options: &Options,
    wanted: Identity,
    report: &mut OpenReport,
) -> Result<(), Error> {
    check(disk, options, wanted.store)?;
    match read(disk, options) {
        Ok(Some(found)) if found.format >= wanted.format => return Ok(()),
        Ok(Some(found)) => report.notes.push(format!(
            "the file that names the store said format {}, and now says {}, as the journal does",
            found.format, wanted.format
        )),
        Ok(None) if report.is_new => {}
        Ok(None) => {
            report.notes.push("the file that names the store was missing, and was made anew".to_owned());
        }
        Err(Error::Damaged { .. }) => {
            report.notes.push("the file that names the store was damaged, and was made anew".to_owned());
        }
        Err(other) => return Err(other),
    }
    write(disk, &options.state_dir, wanted)
}

/// Makes the file say this, durably and at once.
pub(super) fn write<D: Disk>(disk: &D, state_dir: &Path, wanted: Identity) -> Result<(), Error> {
    let path = state_dir.join(NAME);
    let mut bytes = KIND.to_vec();
    bytes.extend_from_slice(&wanted.format.to_le_bytes());
    bytes.extend_from_slice(&wanted.store.0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let temporary = state_dir.join(format!("{NAME}.tmp"));
    let write = || {
        let file = disk.create(&temporary)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(&temporary, &path)?;
        disk.sync_folder(state_dir)
    };
    write().map_err(Error::io("write", &path))
}

/// What an upgrade came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgraded {
    /// The store's format before.
    pub from: u32,
    /// Its format now.
    pub to: u32,
}

/// Returns the format of the store that lies here; `None` where there is none.
///
/// # Errors
/// The file that names the store cannot be read, is damaged, or names a format unknown here.
pub fn format<D: Disk>(disk: &D, options: &Options) -> Result<Option<u32>, Error> {
    Ok(read(disk, options)?.map(|found| found.format))
}

/// Makes the file name the newest format, for a process that goes by format `from`. What the file says does not count:
/// it may say so since a try that failed before it was durable.
pub(super) fn raise<D: Disk>(disk: &D, options: &Options, from: u32) -> Result<Upgraded, Error> {
    let gone = || Error::io("open", path(options))(std::io::ErrorKind::NotFound.into());
    let found = read(disk, options)?.ok_or_else(gone)?;
    let to = options.format_max;
    if from < to {
        write(disk, &options.state_dir, Identity { format: to, ..found })?;
    }
    Ok(Upgraded { from, to })
}

fn path(options: &Options) -> PathBuf {
    options.state_dir.join(NAME)
}
