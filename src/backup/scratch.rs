//! Folders and files that are only there for a while. A process that was killed leaves them; the next one that makes a
//! backup takes them away.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

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
///
/// It is used by its descriptor and not by its name: the owner of the folder that it lies in may put a link in its place,
/// and root would then write and delete where that leads. Nobody but the user of this process can change what is in it.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The folder that it lies in.
    above: File,
    /// Its name in there.
    name: String,
    /// That name with the folder, for people.
    shown: PathBuf,
    /// Where it is for this process, whatever its name leads to.
    path: PathBuf,
    _own: OwnedFd,
}

impl Scratch {
    /// Makes it in the first of these folders that takes it.
    pub(super) fn make(folders: &[&Path]) -> Result<Self, Error> {
        let mut failed = None;
        for folder in folders {
            match Self::make_in(folder) {
                Ok(made) => return Ok(made),
                Err(error) => {
                    failed.get_or_insert(Error::io("make a folder in", folder)(error));
                }
            }
        }
        Err(failed.expect("invariant: called with at least one folder"))
    }

    fn make_in(folder: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let above =
            options.read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits()).open(folder)?;
        let name = name("unpacked");
        mkdirat(&above, name.as_str(), Mode::S_IRWXU)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let own = openat(&above, name.as_str(), flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", own.as_raw_fd()));
        // Another folder may have got its name before it was opened.
        let is_own = fs::metadata(&path)?.uid() == nix::unistd::geteuid().as_raw();
        if !is_own || fs::read_dir(&path)?.next().is_some() {
            return Err(io::Error::other("another folder was put in the place of the one that was made"));
        }
        Ok(Self { shown: folder.join(&name), above, name, path, _own: own })
    }

    /// Returns where it is, as long as this value lives.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the same error with the name that people know.
    pub(super) fn named(&self, error: Error) -> Error {
        match error {
            Error::Io { what, path, source } => {
                let path = path.strip_prefix(&self.path).map_or(path.clone(), |rest| self.shown.join(rest));
                Error::Io { what, path, source }
            }
            Error::NoSpace { path, free_bytes, needed_bytes, reserve_bytes } if path == self.path => {
                let path = self.shown.parent().unwrap_or(&self.shown).to_owned();
                Error::NoSpace { path, free_bytes, needed_bytes, reserve_bytes }
            }
            other => other,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is taken away by the next backup.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            drop(if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) });
        }
        let _ = unlinkat(&self.above, self.name.as_str(), UnlinkatFlags::RemoveDir);
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
    #[test]
    fn a_link_in_the_place_of_the_folder_is_followed_neither_to_write_nor_to_delete() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("precious"), "a letter").unwrap();
        let scratch = Scratch::make(&[folder.path()]).unwrap();
        // The owner of the folder does this while root unpacks.
        let (place, moved) = (folder.path().join(name("unpacked")), folder.path().join("moved"));
        fs::rename(&place, &moved).unwrap();
        std::os::unix::fs::symlink(other.path(), &place).unwrap();
        fs::create_dir_all(scratch.path().join("state/journal")).unwrap();
        fs::write(scratch.path().join("state/store"), "a store").unwrap();
        assert_eq!(fs::read(moved.join("state/store")).unwrap(), b"a store");
        let names = || -> Vec<_> {
            fs::read_dir(other.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(names(), ["precious"]);
        drop(scratch);
        assert_eq!(names(), ["precious"]);
        assert_eq!(fs::read_dir(&moved).unwrap().count(), 0);
        // Put there before, it is not followed either.
        assert!(Scratch::make(&[folder.path()]).is_err());
        assert_eq!(names(), ["precious"]);
    }

    #[test]
    fn errors_name_the_folder_as_people_know_it() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(&[folder.path()]).unwrap();
        let inside = scratch.path().join("state/store");
        let error = scratch.named(Error::io("write", &inside)(io::Error::other("why")));
        let shown = folder.path().join(name("unpacked")).join("state/store");
        assert_eq!(error.to_string(), format!("cannot write {}", shown.display()));
        drop(scratch);
        assert!(!folder.path().join(name("unpacked")).exists());
    }
}
