//! One case out of a backup: all that happened in it, with the specifications that it runs.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::archive::{self, Lasts};
use super::check::options_at;
use super::error::Error;
use super::room::Room;
use super::scratch::Scratch;
use super::{Host, Options};
use crate::id::CaseId;
use crate::store::{self, CaseHistory, Entry, Fold, RealDisk};

/// Returns the history of a case out of a backup: ours, or a tar file of the state folder, gzipped or not. `fold` makes the
/// rows of specifications; `specification_of` says which one an entry of a case names, if it names one.
///
/// Only what the case needs has to be whole: its own chain is checked, and whatever else is damaged in the backup does not
/// matter.
///
/// # Errors
/// The archive cannot be read, knows no such case, or has lost a part of it.
pub fn case_history(
    options: &Options,
    path: &Path,
    case: CaseId,
    fold: &Arc<dyn Fold>,
    specification_of: &dyn Fn(&Entry) -> Option<u32>,
    host: &mut dyn Host,
) -> Result<CaseHistory, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let own = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = Scratch::make(&[own, &options.backup_dir, &options.store.cache_dir])?;
    let named = |error| scratch.named(error);
    let mut room = Room::take(scratch.path(), 0, options.reserve_bytes).map_err(named)?;
    let unpacked = archive::unpack(path, file, scratch.path(), Lasts::No, &mut room, host).map_err(named)?;
    let store = options_at(options, &unpacked.root);
    let found = store::recall(&Arc::new(RealDisk), &store, case, fold, specification_of)?;
    found.ok_or_else(|| Error::NoCase { path: path.to_owned(), case })
}
