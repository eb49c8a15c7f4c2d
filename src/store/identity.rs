//! The file `store` in the state folder: that there is a store here, and which.
//!
//! Segments name the store too; this file tells a store that lost its journal from a folder that never had one.

use std::path::Path;

use super::OpenReport;
use super::bytes::Fields;
use super::disk::{Disk, DiskFile};
use super::entry::StoreId;
use super::error::Error;
use super::segment::FORMAT;

const NAME: &str = "store";
const KIND: &[u8; 8] = b"KNHKSTOR";
const FILE_BYTES: usize = 8 + 4 + 16 + 4;

/// Reads which store lies here; `None` when there is no such file.
pub(super) fn read<D: Disk>(disk: &D, state_dir: &Path) -> Result<Option<StoreId>, Error> {
    let path = state_dir.join(NAME);
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
    if format != FORMAT {
        return Err(Error::Format { path, found: format, known: FORMAT });
    }
    Ok(Some(store))
}

/// Says so if another store lies here.
pub(super) fn check<D: Disk>(disk: &D, state_dir: &Path, expected: StoreId) -> Result<(), Error> {
    match read(disk, state_dir) {
        Ok(Some(found)) if found != expected => {
            Err(Error::Foreign { path: state_dir.join(NAME), found, expected })
        }
        Ok(_) | Err(Error::Damaged { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

/// Makes the file say that `store` lies here.
pub(super) fn ensure<D: Disk>(
    disk: &D,
    state_dir: &Path,
    store: StoreId,
    report: &mut OpenReport,
) -> Result<(), Error> {
    let path = state_dir.join(NAME);
    check(disk, state_dir, store)?;
    match read(disk, state_dir) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) if report.is_new => {}
        Ok(None) => {
            report.notes.push("the file that names the store was missing, and was made anew".to_owned());
        }
        Err(Error::Damaged { .. }) => {
            report.notes.push("the file that names the store was damaged, and was made anew".to_owned());
        }
        Err(other) => return Err(other),
    }
    let mut bytes = KIND.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&store.0);
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

/// Moves the file aside, so that the next opening makes a new store.
pub(super) fn set_aside<D: Disk>(disk: &D, state_dir: &Path, aside: &Path) -> Result<(), Error> {
    let path = state_dir.join(NAME);
    if !disk.exists(&path).map_err(Error::io("look for", &path))? {
        return Ok(());
    }
    disk.create_folder(aside).map_err(Error::io("make the folder", aside))?;
    disk.rename(&path, &aside.join(NAME)).map_err(Error::io("move aside", &path))?;
    disk.sync_folder(state_dir).map_err(Error::io("sync", state_dir))
}
