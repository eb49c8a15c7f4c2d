//! How the runs before ended: two that ended unclean within a minute of starting cast suspicion on the working
//! environment, because a damaged one can kill the process that reads it.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::Error;

/// Runs in a row that end early and unclean before the environment is discarded.
const EARLY_ENDS_MAX: u32 = 2;
const NAME: &str = "starts";
const SETTLED: &str = "settled\n";
/// More than the file ever holds.
const MARKER_BYTES_MAX: usize = 64;

/// Remembers in the cache folder how a run ends.
pub struct Marker<D: Disk> {
    disk: Arc<D>,
    folder: PathBuf,
}

impl<D: Disk> Marker<D> {
    /// Notes a start; returns the marker and whether the environment is to be discarded.
    pub(super) fn start(disk: Arc<D>, folder: PathBuf) -> (Self, bool) {
        let marker = Self { disk, folder };
        let early_ends = match marker.read() {
            Some(text) if text == SETTLED => 0,
            Some(text) => {
                text.trim().strip_prefix("early ").and_then(|count| count.parse().ok()).unwrap_or(0) + 1
            }
            None => 0,
        };
        let is_suspicious = early_ends >= EARLY_ENDS_MAX;
        let kept = if is_suspicious { 0 } else { early_ends };
        // A cache that cannot be written keeps nobody from starting.
        let _ = marker.write(&format!("early {kept}\n"));
        (marker, is_suspicious)
    }

    /// Tells, without noting anything, whether the run before may have ended early and unclean.
    pub(super) fn is_doubtful(disk: Arc<D>, folder: PathBuf) -> bool {
        Self { disk, folder }.read().is_some_and(|text| text != SETTLED)
    }

    /// Notes that the service has run for a minute.
    pub fn settled(&mut self) -> Result<(), Error> {
        self.write(SETTLED)
    }

    /// Notes a clean end.
    pub fn stopped(&mut self) -> Result<(), Error> {
        let path = self.folder.join(NAME);
        match self.disk.unlink(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn read(&self) -> Option<String> {
        let file = self.disk.open(&self.folder.join(NAME)).ok()?;
        let mut bytes = vec![0; MARKER_BYTES_MAX];
        let count = file.read_at(0, &mut bytes).ok()?;
        bytes.truncate(count);
        String::from_utf8(bytes).ok()
    }

    fn write(&self, text: &str) -> Result<(), Error> {
        let (temporary, path) = (self.folder.join(format!("{NAME}.tmp")), self.folder.join(NAME));
        let write = || {
            let file = self.disk.create(&temporary)?;
            file.write_at(0, text.as_bytes())?;
            file.sync()?;
            self.disk.rename(&temporary, &path)
        };
        write().map_err(Error::io("write", &path))
    }
}
