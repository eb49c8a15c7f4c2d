//! Putting a backup in the place of the state: unpacked and verified beside it first, and what was there is moved aside.
//!
//! A crash at any moment leaves the old state, the new one, or one that no opening takes: as long as the file `store` is
//! there and no journal, an opening refuses, and makes no new store. The restoring is done again then.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::archive::{self, Lasts};
use super::check::{self, Checked};
use super::error::Error;
use super::room::Room;
use super::scratch::{self, Scratch};
use super::{Host, Options};
use crate::id::Time;
use crate::store::{ASIDE_PREFIX, Disk, LOCK_NAME as LOCK, Level, Lock, RealDisk, is_aside};

/// What is renamed last, so that nothing opens before all is there.
const JOURNAL: &str = "journal";
/// The file that names the store.
const STORE: &str = "store";
/// Mode of a state folder that is made: its group may look, others may not.
const FOLDER_MODE: u32 = 0o750;

/// A backup that is unpacked beside the state, verified, and not yet in its place.
pub struct Ready {
    /// What is in it.
    pub checked: Checked,
    /// The folder to which what is there now would be moved; `None` when nothing is there.
    pub aside: Option<PathBuf>,
    state_dir: PathBuf,
    root: PathBuf,
    _scratch: Scratch,
    _lock: Lock,
}

/// What a restoring came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was restored.
    pub checked: Checked,
    /// The folder to which the state before was moved.
    pub aside: Option<PathBuf>,
}

/// Unpacks and verifies a backup beside the state, which nobody may use meanwhile. `file` is the open backup.
///
/// # Errors
/// The service runs, there is no space, or the backup is not good; nothing has changed then.
pub fn prepare(
    options: &Options,
    path: &Path,
    file: File,
    now: Time,
    host: &mut dyn Host,
) -> Result<Ready, Error> {
    let state_dir = options.store.state_dir.clone();
    let mut folder = DirBuilder::new();
    let made = folder.recursive(true).mode(FOLDER_MODE).create(&state_dir);
    made.map_err(Error::io("make the folder", &state_dir))?;
    let lock_path = state_dir.join(LOCK);
    let lock = RealDisk.lock(&lock_path).map_err(Error::io("lock", &lock_path))?;
    let lock = lock
        .ok_or_else(|| Error::InUse { holder: RealDisk.lock_holder(&lock_path), path: lock_path.clone() })?;
    scratch::clean(&state_dir);
    let scratch = Scratch::make(&[&state_dir])?;
    let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    let mut room = Room::take(&state_dir, bytes, options.reserve_bytes)?;
    let named = |error| scratch.named(error);
    let unpacked = archive::unpack(path, file, scratch.path(), Lasts::Yes, &mut room, host).map_err(named)?;
    let root = unpacked.root.clone();
    let checked = check::look(options, (path, bytes), (scratch.path(), unpacked), Level::Full, host)?;
    let aside = state_dir.join(format!("{ASIDE_PREFIX}{}", now.0));
    let aside = (!moved(&state_dir)?.is_empty()).then_some(aside);
    Ok(Ready { checked, aside, state_dir, root, _scratch: scratch, _lock: lock })
}

impl Ready {
    /// Moves the state aside and the backup into its place.
    ///
    /// # Errors
    /// A file cannot be moved; doing it again goes on.
    pub fn replace(self) -> Result<Restored, Error> {
        let Self { checked, aside, state_dir, root, .. } = &self;
        if let Some(aside) = aside {
            move_aside(state_dir, aside)?;
        }
        let mut names = names_in(root)?;
        names.retain(|name| name != LOCK && name != JOURNAL);
        // Last of all, and the file `store` before it.
        names.sort_by_key(|name| name == STORE);
        let has_store = names.last().is_some_and(|name| name == STORE);
        for name in &names {
            rename(&root.join(name), &state_dir.join(name))?;
        }
        sync(state_dir)?;
        rename(&root.join(JOURNAL), &state_dir.join(JOURNAL))?;
        if !has_store && let Err(error) = fs::remove_file(state_dir.join(STORE)) {
            // The journal says which store it is.
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(Error::io("take away", state_dir.join(STORE))(error));
            }
        }
        sync(state_dir)?;
        Ok(Restored { checked: checked.clone(), aside: aside.clone() })
    }
}

/// Moves what is there aside, the journal first; the file `store` stays beside its copy until another takes its place.
fn move_aside(state_dir: &Path, aside: &Path) -> Result<(), Error> {
    fs::create_dir(aside).map_err(Error::io("make the folder", aside))?;
    let mut names = moved(state_dir)?;
    names.sort_by_key(|name| name != JOURNAL);
    for name in &names {
        let (from, to) = (state_dir.join(name), aside.join(name));
        if name == STORE {
            fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
        } else {
            rename(&from, &to)?;
        }
        sync(state_dir)?;
    }
    super::create::give_like(aside, state_dir);
    sync(aside)?;
    sync(state_dir)
}

/// Returns what a restoring moves aside.
fn moved(state_dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = names_in(state_dir)?;
    names.retain(|name| name != LOCK && !is_aside(name) && !scratch::is_one(name));
    Ok(names)
}

fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    RealDisk.list(folder).map_err(Error::io("list", folder))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("move", from))
}

fn sync(folder: &Path) -> Result<(), Error> {
    RealDisk.sync_folder(folder).map_err(Error::io("sync", folder))
}
