//! Space on disk: looked at before and while something large is written, so that the service keeps its reserve.

use std::path::{Path, PathBuf};

use super::error::Error;
use crate::store::{Disk, RealDisk};

/// Free space is looked at again each time that so much was written.
const LOOK_BYTES: u64 = 16 * 1024 * 1024;

/// Room in a folder, as it is used up.
#[derive(Debug)]
pub(super) struct Room {
    folder: PathBuf,
    reserve_bytes: u64,
    unseen_bytes: u64,
}

impl Room {
    /// Looks whether `needed_bytes` can be written and the reserve stays.
    pub(super) fn take(folder: &Path, needed_bytes: u64, reserve_bytes: u64) -> Result<Self, Error> {
        let room = Self { folder: folder.to_owned(), reserve_bytes, unseen_bytes: 0 };
        room.look(needed_bytes)?;
        Ok(room)
    }

    /// Returns the folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Hears that so many bytes are about to be written.
    pub(super) fn use_up(&mut self, bytes: u64) -> Result<(), Error> {
        self.unseen_bytes += bytes;
        if self.unseen_bytes < LOOK_BYTES {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.unseen_bytes);
        self.look(bytes)
    }

    fn look(&self, bytes: u64) -> Result<(), Error> {
        let path = &self.folder;
        let free_bytes = RealDisk.free_bytes(path).map_err(Error::io("look at", path))?;
        let reserve_bytes = self.reserve_bytes;
        let needed_bytes = bytes.saturating_add(reserve_bytes);
        if free_bytes < needed_bytes {
            return Err(Error::NoSpace { path: path.clone(), free_bytes, needed_bytes, reserve_bytes });
        }
        Ok(())
    }
}
