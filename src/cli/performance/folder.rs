//! Where a command measures the disk: a folder of its own on the file system of the state, gone with the command.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::engine::threads::ActingAsOwner;
use crate::store::{Disk, RealDisk};

/// Names of these folders begin so; the number of the process follows.
const NAME: &str = "benchmark-";
/// Most bytes that are written there at a time: two small stores and a file of zeros, and as much again.
const BYTES_MAX: u64 = 128 << 20;

/// The folder. Whatever is done in it is done as the owner of the state.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The folder above, if it was made for this one.
    made: Option<PathBuf>,
    /// Dropped last: who made files takes them away.
    _owner: ActingAsOwner,
}

impl Folder {
    /// Makes it; otherwise says why the disk is not measured.
    pub(super) fn make(config: &Config) -> Result<Self, String> {
        let above = above(&config.state_dir, &config.cache_dir).to_owned();
        let owner = ActingAsOwner::of(&config.state_dir)
            .map_err(|error| format!("cannot become the owner of the state: {error}"))?;
        let made = (!above.exists()).then(|| above.clone());
        fs::create_dir_all(&above).map_err(|error| cannot(&above, &error))?;
        take_away_stale(&above);
        let folder = Self { path: above.join(format!("{NAME}{}", std::process::id())), made, _owner: owner };
        fs::create_dir(&folder.path).map_err(|error| cannot(&above, &error))?;
        let free = RealDisk.free_bytes(&folder.path).map_err(|error| cannot(&above, &error))?;
        let needed = BYTES_MAX.saturating_add(config.disk_reserve_mb << 20);
        if free < needed {
            return Err(format!(
                "{free} bytes are free on the disk of {}, and {needed} are needed, so that disk_reserve_mb stays untouched",
                above.display()
            ));
        }
        Ok(folder)
    }

    /// Calls `measure` with a new folder inside, and takes that away again.
    pub(super) fn within<T>(&self, name: &str, measure: impl FnOnce(&Path) -> T) -> T {
        let inside = self.path.join(name);
        let measured = measure(&inside);
        // What stays goes with the whole.
        drop(fs::remove_dir_all(&inside));
        measured
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is taken away by the next run.
        drop(fs::remove_dir_all(&self.path));
        if let Some(made) = &self.made {
            drop(fs::remove_dir(made));
        }
    }
}

fn cannot(above: &Path, error: &std::io::Error) -> String {
    format!("cannot write in {}: {error}; use sudo, or be a user who may", above.display())
}

/// Returns the folder for what can be made anew, if it is on the disk of the state, otherwise that of the state: it is the
/// disk that counts.
fn above<'a>(state_dir: &'a Path, cache_dir: &'a Path) -> &'a Path {
    let device = |path: &Path| {
        path.ancestors().find_map(|path| fs::metadata(path).ok()).map(|found: Metadata| found.dev())
    };
    if device(state_dir) == device(cache_dir) || !state_dir.exists() { cache_dir } else { state_dir }
}

/// Takes away what runs left behind that were killed.
fn take_away_stale(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid: Option<u32> = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
