//! Moving files aside: nothing that somebody may want back is deleted.

use std::path::PathBuf;

use super::Options;
use super::disk::Disk;
use super::error::Error;
use crate::id::Time;

/// A folder `aside-<microseconds>` in the state folder, made when the first file comes. It has the folders of the
/// state folder, and is never read.
pub(super) struct Aside {
    state_dir: PathBuf,
    pub(super) path: PathBuf,
}

impl Aside {
    pub(super) fn new(options: &Options, now: Time) -> Self {
        let state_dir = options.state_dir.clone();
        Self { path: state_dir.join(format!("aside-{}", now.0)), state_dir }
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
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
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
