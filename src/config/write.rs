//! A configuration file replaced as a whole, by one process at a time: whoever reads it sees the old or the new one.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Uid, User, geteuid};

use super::error::Error;
use super::layers::FILE_BYTES_MAX;
use crate::engine::clock::{deadline_in_us, until};
use crate::engine::threads::pause_us;

/// How long a command waits while another one changes the file, in microseconds.
const LOCK_WAIT_US: u64 = 5_000_000;
/// How often it looks meanwhile, in microseconds.
const LOCK_LOOK_US: u64 = 10_000;
/// Mode of a file that was not there: it holds no secrets, and the service must read it whoever made it.
const NEW_FILE_MODE: u32 = 0o644;
/// Mode of its folder, if that was not there either.
const NEW_FOLDER_MODE: u32 = 0o755;
/// Most copies of one file that are kept under one name with numbers.
const COPIES_MAX: u32 = 1_000;

/// A file that no other command changes as long as this lives.
#[derive(Debug)]
pub(super) struct Held {
    /// The file itself, if its name is that of a link.
    path: PathBuf,
    /// Its folder, which is locked: a file of its own for that would lie about.
    folder: Flock<File>,
    before: Option<Metadata>,
    bytes: Vec<u8>,
}

impl Held {
    /// Waits until no other command changes the file, and reads it. A file that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read, belongs to somebody else, is too large, or others change it all the time.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let failed = |source| Error::Write { path: path.clone(), source };
        let parent = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let parent = parent.map_or_else(|| PathBuf::from("."), Path::to_owned);
        if !parent.exists() {
            fs::create_dir_all(&parent).map_err(failed)?;
            fs::set_permissions(&parent, fs::Permissions::from_mode(NEW_FOLDER_MODE)).map_err(failed)?;
        }
        let folder = lock(File::open(&parent).map_err(failed)?, &path)?;
        let before = match fs::metadata(&path) {
            Ok(found) if found.is_file() => Some(found),
            Ok(_) => return Err(failed(io::Error::new(ErrorKind::InvalidInput, "it is not a file"))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(found) = before.as_ref().filter(|found| !may_replace(found)) {
            let owner = Uid::from_raw(found.uid());
            let owner =
                User::from_uid(owner).ok().flatten().map_or_else(|| owner.to_string(), |user| user.name);
            return Err(Error::NotOwner { path, owner });
        }
        let mut bytes = Vec::new();
        if before.is_some() {
            let file = File::open(&path).map_err(failed)?;
            file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let why = format!("it is larger than {FILE_BYTES_MAX} bytes");
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, why)));
        }
        Ok(Self { path, folder, before, bytes })
    }

    /// Returns what the file holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts other bytes in the place of the file, with its owner and mode, and returns when they are on stable storage.
    ///
    /// # Errors
    /// The file is as it was, unless only the last sync of the folder failed.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        let put = || {
            // Left behind by a command that was killed; nobody else writes it.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.write(&new, bytes)?;
            fs::rename(&new, &self.path)?;
            self.folder.sync_all()
        };
        put().map_err(|source| {
            let _ = fs::remove_file(&new);
            Error::Write { path: self.path.clone(), source }
        })
    }

    /// Keeps what the file holds under its name with `ending`, and a number if that is taken; returns the path.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, ending: &str) -> Result<PathBuf, Error> {
        for number in 1..=COPIES_MAX {
            let mut name = self.path.as_os_str().to_owned();
            name.push(ending);
            if number > 1 {
                name.push(format!("-{number}"));
            }
            let copy = PathBuf::from(name);
            match self.write(&copy, &self.bytes).and_then(|()| self.folder.sync_all()) {
                Ok(()) => return Ok(copy),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Write { path: copy, source }),
            }
        }
        let source = io::Error::new(ErrorKind::AlreadyExists, "too many copies of it");
        Err(Error::Write { path: self.path.clone(), source })
    }

    /// Writes a file that is not there yet, with the owner and mode of this one.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mode = match &self.before {
            Some(before) => {
                if (before.uid(), before.gid()) != owner_of(&file)? {
                    fchown(&file, Some(before.uid()), Some(before.gid()))?;
                }
                before.mode() & 0o7777
            }
            None => NEW_FILE_MODE,
        };
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

fn owner_of(file: &File) -> io::Result<(u32, u32)> {
    let metadata = file.metadata()?;
    Ok((metadata.uid(), metadata.gid()))
}

/// Tells whether the file would still belong to its owner after this user replaced it.
fn may_replace(found: &Metadata) -> bool {
    geteuid().is_root() || geteuid().as_raw() == found.uid()
}

fn lock(mut folder: File, path: &Path) -> Result<Flock<File>, Error> {
    let deadline = deadline_in_us(LOCK_WAIT_US);
    loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((_, Errno::EWOULDBLOCK)) if until(deadline).is_zero() => {
                return Err(Error::Held { path: path.to_owned(), waited_s: LOCK_WAIT_US / 1_000_000 });
            }
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                folder = back;
                pause_us(LOCK_LOOK_US);
            }
            Err((_, error)) => return Err(Error::Write { path: path.to_owned(), source: error.into() }),
        }
    }
}
