//! The file layer: every touch of a state file goes through [`Disk`], so that the simulator can take its place.
//!
//! It decides nothing. [`RealDisk`] is the machine's file system; tests/it/sim/disk.rs has the other one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use nix::fcntl::{Flock, FlockArg};

/// Which file this is, whatever its name: a copy has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The inode's number.
    pub inode: u64,
    /// Birth time in nanoseconds of the Unix epoch; 0 where the file system keeps none.
    pub born_ns: u64,
}

/// Keeps a lock until it is dropped.
pub type Lock = Box<dyn Send + Sync>;

/// A place where files are kept.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file that exists for reading.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Makes an empty file for reading and writing, taking away what was under that name.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Gives a file another name, taking away what was under that one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Returns the names in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Returns whether something is under this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes a folder and what lies above it, unless it exists.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Returns when the names in a folder are on stable storage.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Returns the bytes that may still be written.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
    /// Takes the lock under this name alone; `None` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Takes the lock under this name together with others who only read; `None` when another process has it alone.
    /// Makes no file.
    fn lock_shared(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Returns the process that has the lock under this name, where the system tells.
    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        None
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads from `offset` until `into` is full or the file ends; returns the bytes read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when what was written is on stable storage (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Returns the length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Returns which file this is.
    fn stamp(&self) -> io::Result<Stamp>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

/// Mode of a lock that is made: its group may look, others may not.
const LOCK_MODE: u32 = 0o640;

impl Disk for RealDisk {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().read(true).write(true).create_new(true).open(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        std::fs::exists(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let found = nix::sys::statvfs::statvfs(folder)?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        // Root takes locks in folders of others, and follows no link that they put there.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(LOCK_MODE).custom_flags(nix::libc::O_NOFOLLOW);
        flock(options.open(path)?, FlockArg::LockExclusiveNonblock)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Lock>> {
        flock(File::open(path)?, FlockArg::LockSharedNonblock)
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        let found = std::fs::metadata(path).ok()?;
        holder(&std::fs::read_to_string("/proc/locks").ok()?, found.dev(), found.ino())
    }
}

fn flock(file: File, how: FlockArg) -> io::Result<Option<Lock>> {
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Some(Box::new(lock))),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Finds who holds a file's lock in the lines of /proc/locks (proc(5)): number, kind, mode, access, process,
/// `major:minor:inode`, range. A line with an arrow is of somebody who waits.
fn holder(lines: &str, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    lines.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.get(1..6)? {
            ["FLOCK", _, _, process, file] if *file == place => process.parse().ok(),
            _ => None,
        }
    })
}

impl DiskFile for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(self, &mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let found = self.metadata()?;
        let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        Ok(Stamp { inode: found.ino(), born_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::holder;

    #[test]
    fn the_holder_of_a_lock_is_found_by_its_file() {
        let lines = "1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 22 fd:00:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 33 fe:00:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 44 fe:00:77 0 EOF\n";
        assert_eq!(holder(lines, 0xfe00, 77), Some(44));
        assert_eq!(holder(lines, 0xfe00, 78), None);
        assert_eq!(holder("", 0xfe00, 77), None);
        assert_eq!(holder("4: FLOCK\n", 0xfe00, 77), None);
    }
}
