//! The working environment, walked in a process of its own: a damaged one can kill whoever reads it, and then that
//! says what is wrong.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::Error;
use crate::config::Config;
use crate::store::{self, LmdbTables};

/// This program, also after its file was replaced.
const SELF: &str = "/proc/self/exe";
/// What tells the program to walk and nothing else.
const ARGUMENTS: [&str; 3] = ["state", "verify", "--environment-only"];

/// Opens the environment for reading, if a process that read all of it lived to the end. `None` when there is none,
/// or it may not be read; then with why.
pub(super) fn open(config: &Config) -> Result<(Option<LmdbTables>, Option<store::Error>), Error> {
    if let Some(reason) = deadly()? {
        return Ok((None, Some(store::Error::Tables { reason })));
    }
    Ok(match LmdbTables::open_existing(&config.cache_dir) {
        Ok(tables) => (tables, None),
        Err(error) => (None, Some(error)),
    })
}

/// Has another process walk, and returns what killed it.
fn deadly() -> Result<Option<String>, Error> {
    let status = Command::new(SELF)
        .args(ARGUMENTS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(Error::system("start the process that walks the environment"))?;
    Ok(status.signal().map(|number| {
        let name =
            Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |name| name.to_string());
        format!("whoever reads all of it is killed by {name}")
    }))
}

/// Walks. Whatever is found, the process that asked finds it again by itself; only living to the end counts.
pub(super) fn walk(config: &Config) {
    // Dying here is expected, and nobody needs its memory on disk.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if let Ok(Some(tables)) = LmdbTables::open_existing(&config.cache_dir) {
        store::walk(&tables);
    }
}
