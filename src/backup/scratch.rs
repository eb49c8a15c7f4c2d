//! Folders and files that are only there for a while. A process that was killed leaves them; the next one that makes a
//! backup takes them away.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::Error;

/// What the names of all of them begin with, before the number of the process.
const PREFIX: &str = ".knhk-backup-";

/// Returns whether something of this name is only there for a while.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Returns the name of something of this process that is only there for a while.
pub(super) fn name(ending: &str) -> String {
    format!("{PREFIX}{}-{ending}", std::process::id())
}

/// A folder that goes with this value, and all that is in it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in the first of these folders that takes it.
    pub(super) fn make(folders: &[&Path]) -> Result<Self, Error> {
        let mut failed = None;
        for folder in folders {
            let path = folder.join(name("unpacked"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => {
                    failed.get_or_insert(Error::io("make a folder in", folder)(error));
                }
            }
        }
        Err(failed.expect("invariant: called with at least one folder"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is taken away by the next backup.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A file that goes with this value, unless it was kept.
#[derive(Debug)]
pub(super) struct Unfinished(pub(super) Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            drop(fs::remove_file(path));
        }
    }
}

/// Takes away what processes left that are no more.
pub(super) fn clean(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let Some(process) = rest.split('-').next().and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        if process != std::process::id() && !Path::new(&format!("/proc/{process}")).exists() {
            let path = entry.path();
            drop(if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_any_longer_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let own = name("tar");
        // Numbers of processes end far below this.
        let left = format!("{PREFIX}4294967295-unpacked");
        fs::create_dir_all(path(&left).join("state")).unwrap();
        for other in [own.as_str(), ".knhk-backup-x", "knhk-state-1.tar.gz"] {
            fs::write(path(other), "").unwrap();
        }
        clean(folder.path());
        assert!(!path(&left).exists());
        for other in [own.as_str(), ".knhk-backup-x", "knhk-state-1.tar.gz"] {
            assert!(path(other).exists(), "{other}");
        }
    }
}
