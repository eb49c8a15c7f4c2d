//! Decides which user owns the files when root runs `serve` or `backup restore`.
//!
//! It is the user whose state it is, so that the unit can start again afterwards.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::Error;
use crate::config::{Account, Config, Environment};
use crate::engine::threads::{become_owner, become_user};

/// Mode of a folder that is made: its group may look, others may not.
const FOLDER_MODE: u32 = 0o750;
/// Mode of the folders above it that are made, which stay root's: the user goes through them.
const ABOVE_MODE: u32 = 0o755;

/// Whose files are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// Those of the user who started it.
    Caller,
    /// Root started it, and it has become this user.
    Owner(u32),
    /// Root's own: there is no other user whose state it is.
    Root,
}

/// Makes a process that root started the user whose state it is going to serve or to put there: on an installed system
/// the service's own, elsewhere the owner of `state_dir`, or of the nearest folder above it that is there. Folders that
/// only root can make are made first, for that user. `next` says what to do once a state of another user has been given
/// to that user.
///
/// # Errors
/// `state_dir` belongs to somebody else than the unit runs as, or the system refuses.
pub(super) fn become_of_service(
    environment: &Environment,
    config: &Config,
    next: &'static str,
) -> Result<Serves, Error> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Serves::Caller);
    }
    let account = Account::of(environment, config);
    let found = nearest(&config.state_dir);
    let (uid, gid) = if account.is_group_fixed {
        if let Ok(state) = fs::metadata(&config.state_dir)
            && state.uid() != account.uid
        {
            return Err(Error::StateOfAnother {
                state_dir: config.state_dir.clone(),
                wanted: account.name(),
                next,
            });
        }
        (account.uid, account.gid)
    } else {
        found.map_or((0, 0), |found| (found.uid(), found.gid()))
    };
    if uid == 0 {
        return Ok(Serves::Root);
    }
    let socket = config.socket.parent();
    let remote = config.remote().map(|_| config.remote_dir.as_path());
    let folders = [Some(config.state_dir.as_path()), Some(&config.cache_dir), socket, remote];
    for folder in folders.into_iter().flatten() {
        make(folder, uid, gid).map_err(Error::system("make a folder for the owner of the state"))?;
    }
    become_user(uid, gid).map_err(Error::system("become the owner of the state folder"))?;
    Ok(Serves::Owner(uid))
}

/// Makes a process that root started the owner of the state where `folder` is that user's too: root follows no link that
/// the owner may have put there. Elsewhere root stays root.
///
/// # Errors
/// The system refuses.
pub(super) fn become_where_owned(folder: &Path, config: &Config) -> Result<(), Error> {
    let owner = |path: &Path| fs::metadata(path).ok().map(|found| found.uid());
    if owner(folder).is_some() && owner(folder) == owner(&config.state_dir) {
        become_owner(&config.state_dir).map_err(Error::system("become the owner of the state folder"))?;
    }
    Ok(())
}

/// Returns the nearest of a folder and those above it that is there.
fn nearest(folder: &Path) -> Option<fs::Metadata> {
    folder.ancestors().find_map(|above| fs::metadata(above).ok())
}

/// Makes a folder that is missing where only root may make one. Elsewhere its owner makes it, so that root follows no link
/// that somebody else put there.
fn make(folder: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if folder.exists() || nearest(folder).is_none_or(|above| above.uid() != 0) {
        return Ok(());
    }
    let missing: Vec<&Path> = folder.ancestors().skip(1).take_while(|above| !above.exists()).collect();
    for above in missing.into_iter().rev() {
        make_with(above, ABOVE_MODE)?;
    }
    make_with(folder, FOLDER_MODE)?;
    lchown(folder, Some(uid), Some(gid))
}

/// Makes one folder, whatever modes this process gives to others.
fn make_with(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(mode))
}
