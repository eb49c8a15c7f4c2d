//! A file system of its own in a file, whose device counts what is written to it and to nothing else.
//!
//! `write_bytes` of /proc/PID/io would be simpler, but since the page cache has large folios it counts the whole folio
//! for each append: 1,048,576,000 bytes for a thousand appends of 512, of which the device got 4,096,000 (tried on Linux
//! 6.18, ext4).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Outcome;

/// Bytes of a unit of the counters in /sys/block.
const SECTOR_BYTES: u64 = 512;

/// A mounted file system; it goes with this value.
pub(crate) struct LoopDisk {
    folder: tempfile::TempDir,
    counters: PathBuf,
}

impl LoopDisk {
    /// Makes and mounts one of so many bytes, which it takes up only as they are written. Takes root.
    pub(crate) fn new(base: &Path, bytes: u64) -> Outcome<Self> {
        fs::create_dir_all(base)?;
        let folder = tempfile::Builder::new().prefix("bench-disk-").tempdir_in(base)?;
        let (image, point) = (folder.path().join("image"), folder.path().join("mounted"));
        File::create(&image)?.set_len(bytes)?;
        fs::create_dir(&point)?;
        said(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        said(Command::new("mount").args(["-o", "loop,noatime"]).arg(&image).arg(&point))?;
        let mut disk = Self { folder, counters: PathBuf::new() };
        let device = said(Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(disk.path()))?;
        let name = device.trim().rsplit('/').next().unwrap_or_default().to_owned();
        disk.counters = Path::new("/sys/block").join(name).join("stat");
        Ok(disk)
    }

    /// Returns where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Returns the bytes that the device was given to write, once all that is waiting has reached it.
    pub(crate) fn written_bytes(&self) -> Outcome<u64> {
        said(Command::new("sync").arg("-f").arg(self.path()))?;
        let text = fs::read_to_string(&self.counters)?;
        let sectors: u64 =
            text.split_ascii_whitespace().nth(6).ok_or("no count of sectors written")?.parse()?;
        Ok(sectors * SECTOR_BYTES)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // It is not mounted when the mount failed.
        drop(said(Command::new("umount").arg(self.path())));
    }
}

fn said(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
