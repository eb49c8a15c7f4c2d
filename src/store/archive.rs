//! Archive files: whole histories of cases that left the live store, each with the specification that it runs, so that
//! a file can be read alone.
//!
//! A file is sealed as history is and never changed. It is complete and durable before any case in it is told to be
//! archived, so that a file of which nobody says so is only left over. Rows of cases lie in the order of their ids: a
//! file is its own index. Start at [`ArchiveWriter`], then [`Archive`]; docs/reference/store.md has the layout.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::bytes::Fields;
use super::disk::{Disk, DiskFile};
use super::entry::{Link, StoreId};
use super::error::Error;
use super::past::CaseHistory;
use super::sealed::{self, BLOCK_BESIDE_BYTES_MAX, Kind, Moment, ROW_VALUE_BYTES_MAX, Sealed, Writer};
use crate::id::{CaseId, Time};

/// The folder in the state folder.
pub(super) const ARCHIVE_FOLDER: &str = "archive";
const KIND: Kind = Kind { name: *b"KNHKARCH", format: 1 };
const NAME_ENDING: &str = ".arc";
/// Most cases of one file.
pub const ARCHIVE_CASES_MAX: usize = 1_000;
/// A file takes no more cases once their histories have so many bytes, before they are compressed.
pub const ARCHIVE_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of one case's history in an archive, before it is compressed; a case that has more stays where it is.
pub const ARCHIVED_CASE_BYTES_MAX: usize = ROW_VALUE_BYTES_MAX;
/// Archive files that are kept open.
const OPEN_COUNT_MAX: usize = 8;
/// How often the bytes of a case are in memory while it is read.
const CASE_COPIES: usize = 3;
/// Most bytes of a case's row besides its entries: whose it is, where its chain begins and ends, and what it runs.
const CASE_BESIDE_BYTES_MAX: usize = 256;

/// Returns how many bytes of memory it takes to read a case out of an archive, at most, whose entries have so many bytes.
pub fn archived_memory_bytes(entries_bytes: usize) -> usize {
    (BLOCK_BESIDE_BYTES_MAX + CASE_BESIDE_BYTES_MAX).saturating_add(entries_bytes).saturating_mul(CASE_COPIES)
}

/// First byte of the key of a specification's row.
const SPECIFICATION: u8 = 0;
/// First byte of the key of a case's row.
const CASE: u8 = 1;
const SPECIFICATION_KEY_BYTES: usize = 1 + 4;
const CASE_KEY_BYTES: usize = 1 + 8;

/// Which archive file: the microsecond in which it was begun, or one more where there was one of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveId(pub u64);

impl ArchiveId {
    /// Returns the month in which the file was begun: the name of its folder.
    fn month(self) -> String {
        let mut text = Time(self.0).rfc3339();
        text.truncate("2026-11".len());
        text
    }

    fn name(self) -> String {
        format!("{:020}{NAME_ENDING}", self.0)
    }

    pub(super) fn folder(self, state_dir: &Path) -> PathBuf {
        state_dir.join(ARCHIVE_FOLDER).join(self.month())
    }

    pub(super) fn path(self, state_dir: &Path) -> PathBuf {
        self.folder(state_dir).join(self.name())
    }

    /// Returns whether this is the name of a folder of archive files.
    pub(super) fn is_month(name: &str) -> bool {
        is_month(name)
    }

    pub(super) fn parse(month: &str, name: &str) -> Option<Self> {
        let id = Self(name.strip_suffix(NAME_ENDING)?.parse().ok()?);
        (id.name() == name && id.month() == month).then_some(id)
    }
}

/// Folder and name of the file in the archive.
impl fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.month(), self.name())
    }
}

/// Returns the archive files of a state folder, oldest first.
pub(super) fn list<D: Disk>(disk: &D, state_dir: &Path) -> Result<Vec<ArchiveId>, Error> {
    let folder = state_dir.join(ARCHIVE_FOLDER);
    let mut out = Vec::new();
    for month in sealed::names(disk, &folder)? {
        if is_month(&month) {
            let names = sealed::names(disk, &folder.join(&month))?;
            out.extend(names.iter().filter_map(|name| ArchiveId::parse(&month, name)));
        }
    }
    out.sort_unstable();
    Ok(out)
}

fn is_month(name: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(year, month)| year.len() == 4 && digits(year) && digits(month))
}

fn case_key(case: CaseId) -> [u8; CASE_KEY_BYTES] {
    let mut key = [CASE; CASE_KEY_BYTES];
    key[1..].copy_from_slice(&case.0.to_be_bytes());
    key
}

fn specification_key(number: u32) -> [u8; SPECIFICATION_KEY_BYTES] {
    let mut key = [SPECIFICATION; SPECIFICATION_KEY_BYTES];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Writes an archive file. Unless it is finished, nothing of it stays.
pub struct ArchiveWriter<D: Disk> {
    id: ArchiveId,
    writer: Writer<D>,
}

impl<D: Disk> ArchiveWriter<D> {
    /// Begins the file of this id, which is a new one, with the rows of the specifications that its cases run, by their
    /// numbers.
    pub(super) fn begin(
        disk: &Arc<D>,
        state_dir: &Path,
        store: StoreId,
        id: ArchiveId,
        sealed: Moment,
        specifications: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<Self, Error> {
        let folder = id.folder(state_dir);
        sealed::prepare_folder(&**disk, &folder)?;
        // The names of both folders above are new, the first time.
        disk.sync_folder(state_dir).map_err(Error::io("sync", state_dir))?;
        let mut about = id.0.to_le_bytes().to_vec();
        sealed.encode(&mut about);
        let mut writer = Writer::begin(disk, &folder, &id.name(), KIND, store, &about)?;
        for (number, row) in specifications {
            writer.put(&specification_key(*number), row)?;
        }
        Ok(Self { id, writer })
    }

    /// Returns which file it will be.
    pub fn id(&self) -> ArchiveId {
        self.id
    }

    /// Puts a case; ids grow. Of its specifications only the numbers are taken. Returns whether it was put: one whose
    /// history is too long is not.
    ///
    /// # Errors
    /// Its entries are no chain, or the file cannot be written.
    pub fn put(&mut self, history: &CaseHistory) -> Result<bool, Error> {
        let path = || self.id.path(Path::new(""));
        let rows = history.rows().map_err(|reason| Error::SealedRow { path: path(), reason })?;
        if rows.len() > ARCHIVED_CASE_BYTES_MAX {
            return Ok(false);
        }
        self.writer.put(&case_key(history.case), &rows)?;
        Ok(true)
    }

    /// Makes the file durable under its name; returns its length.
    ///
    /// # Errors
    /// It cannot be; then nothing is left of it.
    pub fn finish(self) -> Result<u64, Error> {
        self.writer.finish()
    }
}

/// An archive file, open for reading.
pub struct Archive<F: DiskFile> {
    pub(super) sealed: Sealed<F>,
    /// When it was written.
    pub(super) written: Moment,
}

impl<F: DiskFile> Archive<F> {
    pub(super) fn open<D: Disk<File = F>>(disk: &D, state_dir: &Path, id: ArchiveId) -> Result<Self, Error> {
        let sealed = Sealed::open(disk, &id.path(state_dir), KIND)?;
        let mut fields = Fields::new(&sealed.about);
        let about = fields.u64().zip(Moment::decode(&mut fields));
        match about {
            Some((number, written)) if number == id.0 && fields.left() == 0 => Ok(Self { sealed, written }),
            Some(_) => Err(sealed.damaged(0, "the file's name is not the one in its header")),
            None => Err(sealed.damaged(0, "what it says about itself cannot be read")),
        }
    }

    /// Returns a case with the rows of the specifications that it runs; `None` when it is not here.
    pub(super) fn case(&self, case: CaseId) -> Result<Option<CaseHistory>, Error> {
        let key = case_key(case);
        let Some(rows) = self.sealed.get(&key)? else { return Ok(None) };
        let mut history = self.read(&key, &rows)?;
        for (number, row) in &mut history.specifications {
            let found = self.sealed.get(&specification_key(*number))?;
            *row = found.ok_or_else(|| self.damaged(&key, format!("specification {number} is not here")))?;
        }
        Ok(Some(history))
    }

    /// Returns how many bytes of memory it takes to read a case, at most: the block of rows, the row and its entries.
    pub(super) fn case_bytes(&self, case: CaseId) -> Result<usize, Error> {
        Ok(self.sealed.unpacked_bytes(&case_key(case))?.saturating_mul(CASE_COPIES))
    }

    /// Visits the ids of all cases with where the chain of each ends, until `visit` returns false.
    pub(super) fn each(&self, visit: &mut dyn FnMut(CaseId, Link) -> bool) -> Result<(), Error> {
        self.sealed.scan(&[CASE], &mut |key, rows| {
            let history = self.read(key, rows)?;
            let end = history.check().map_err(|reason| self.damaged(key, reason))?;
            Ok(visit(history.case, end))
        })
    }

    /// Reads every byte and follows every chain; `visit` is told the cases, and `pace` the bytes read.
    pub(super) fn check(
        &self,
        pace: &mut dyn FnMut(u64) -> Result<(), Error>,
        visit: &mut dyn FnMut(CaseId, Link) -> bool,
    ) -> Result<(), Error> {
        self.sealed.check(pace)?;
        self.each(visit)
    }

    fn read(&self, key: &[u8], rows: &[u8]) -> Result<CaseHistory, Error> {
        let history = CaseHistory::of_rows(rows).map_err(|reason| self.damaged(key, reason))?;
        if *key == case_key(history.case) {
            Ok(history)
        } else {
            Err(self.damaged(key, "a row is of another case than its key"))
        }
    }

    fn damaged(&self, key: &[u8], reason: impl Into<String>) -> Error {
        let block = self.sealed.block_of(key).unwrap_or(0);
        self.sealed.damaged(self.sealed.offset_of(block), reason)
    }
}

/// The archive files that are open.
pub(super) struct Archives<D: Disk> {
    state_dir: PathBuf,
    /// The last used at the back.
    open: Mutex<VecDeque<Open<D>>>,
}

/// An archive file that is open.
type Open<D> = (ArchiveId, Arc<Archive<<D as Disk>::File>>);

impl<D: Disk> Archives<D> {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, open: Mutex::new(VecDeque::new()) }
    }

    /// Returns a case as a file has it.
    ///
    /// # Errors
    /// The file is missing or damaged, or the case is not in it.
    pub(super) fn case(&self, disk: &D, id: ArchiveId, case: CaseId) -> Result<CaseHistory, Error> {
        let missing = || Error::ArchiveMissing { path: id.path(&self.state_dir), case };
        match self.open(disk, id) {
            Ok(archive) => archive.case(case)?.ok_or_else(missing),
            Err(error) if super::shelf::is_gone(&error) => Err(missing()),
            Err(error) => Err(error),
        }
    }

    /// Returns how many bytes of memory [`Self::case`] takes, at most; 0 where it fails.
    pub(super) fn case_bytes(&self, disk: &D, id: ArchiveId, case: CaseId) -> usize {
        self.open(disk, id).and_then(|archive| archive.case_bytes(case)).unwrap_or_default()
    }

    fn open(&self, disk: &D, id: ArchiveId) -> Result<Arc<Archive<D::File>>, Error> {
        let lock = || self.open.lock().expect("invariant: nobody panics with the lock of open archives held");
        {
            let mut open = lock();
            if let Some(place) = open.iter().position(|open| open.0 == id)
                && let Some(found) = open.remove(place)
            {
                let archive = Arc::clone(&found.1);
                open.push_back(found);
                return Ok(archive);
            }
        }
        let archive = Arc::new(Archive::open(disk, &self.state_dir, id)?);
        let mut open = lock();
        if open.len() >= OPEN_COUNT_MAX {
            open.pop_front();
        }
        open.push_back((id, Arc::clone(&archive)));
        Ok(archive)
    }

    /// Closes a file that is about to be taken away.
    pub(super) fn close(&self, id: ArchiveId) {
        let mut open =
            self.open.lock().expect("invariant: nobody panics with the lock of open archives held");
        open.retain(|open| open.0 != id);
    }
}
