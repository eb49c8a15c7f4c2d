//! Reading an archive: tar or gzipped tar, ours or one that `tar` made, into a folder.
//!
//! Nothing that an archive says is believed: names that lead out of the folder are refused; members that are neither files
//! nor folders, and files that the store has no such name for, are left out and reported. Owners are not those of the archive,
//! and of modes only what the store's own files have is taken. Zeros are not written, so that the unused end of a segment
//! takes no space. An archive counts only if it comes to its end mark, and what is compressed only if its checksum holds.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::GzDecoder;
use tar::{Archive, Entry, EntryType, Header};

use super::error::Error;
use super::left_out::LeftOut;
use super::pack::{ASIDE, STRANGE};
use super::room::Room;
use super::{Host, Work};
use crate::store::{Name, is_aside, known_end, name_of};

/// What a gzipped file begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Where in its first block a tar file says that it is one.
const USTAR_AT: usize = 257;
const USTAR: &[u8; 5] = b"ustar";
/// Tar files are made of blocks of this.
const BLOCK_BYTES: u64 = 512;
/// How much is read and written at once; a piece of zeros is left out.
const PIECE_BYTES: usize = 64 * 1024;
/// Most bytes behind the end mark: `tar` fills its last record up, at most to 1 MiB as it is commonly told.
const BEHIND_BYTES_MAX: u64 = 1024 * 1024;
/// Most bytes of an archive that stand between two members: the names of the next and what is said about it. They are read
/// into memory.
const HEAD_BYTES_MAX: u64 = 1024 * 1024;
/// Most members of an archive: more than a journal may have files.
const MEMBERS_MAX: u64 = 1 << 20;
/// Most bytes of a file in an archive, holes among them: more than a journal may have.
const FILE_BYTES_MAX: u64 = 1 << 40;
/// Most bytes of all files in an archive, holes among them: reading a hole takes time, and no byte of the archive.
const FILES_BYTES_MAX: u64 = 1 << 42;
/// Most folders to which something was moved that are reported.
const ASIDES_MAX: usize = 1_000;
/// Of the mode of a file or folder, what may stay, and what must be.
const FILE_MODE: (u32, u32) = (0o640, 0o600);
const FOLDER_MODE: (u32, u32) = (0o750, 0o700);
/// Deepest folder in which the state is looked for.
const DEPTH_MAX: usize = 16;

/// Whether what is unpacked is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// It is only looked at.
    No,
    /// It is synced.
    Yes,
}

/// What was unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The folder in which the state lies.
    pub(super) root: PathBuf,
    pub(super) files: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    /// What was left out.
    pub(super) left_out: LeftOut,
}

/// A file with the number of bytes that were taken from it, and how many may be.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
    until: Rc<Cell<u64>>,
}

impl<R> Counted<R> {
    fn new(inner: R, count: Rc<Cell<u64>>) -> Self {
        Self { inner, count, until: Rc::new(Cell::new(u64::MAX)) }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.count.get() >= self.until.get() {
            let limit = HEAD_BYTES_MAX;
            return Err(io::Error::other(format!("more than {limit} bytes say what a member is")));
        }
        let count = self.inner.read(into)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count.set(self.count.get() + amount as u64);
        self.inner.consume(amount);
    }
}

/// Says what is wrong with an archive, and where in the file.
struct Place<'a> {
    path: &'a Path,
    offset: Rc<Cell<u64>>,
}

impl Place<'_> {
    fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::Archive { path: self.path.to_owned(), offset: self.offset.get(), reason: reason.into() }
    }

    /// What cannot be decoded is the archive's fault, what the system refuses is not.
    fn told(&self, error: io::Error) -> Error {
        if error.raw_os_error().is_some() {
            return Error::io("read", self.path)(error);
        }
        self.damaged(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends in the middle: it was cut short".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Unpacks a file into a folder, and finds the state in it.
pub(super) fn unpack(
    path: &Path,
    file: File,
    folder: &Path,
    lasts: Lasts,
    room: &mut Room,
    host: &mut dyn Host,
) -> Result<Unpacked, Error> {
    let file_bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    let place = Place { path, offset: Rc::default() };
    let mut source = Counted::new(BufReader::with_capacity(PIECE_BYTES, file), Rc::clone(&place.offset));
    let first = source.fill_buf().map_err(|error| place.told(error))?;
    let is_tar = first.get(USTAR_AT..USTAR_AT + USTAR.len()) == Some(USTAR);
    let is_gzip = first.starts_with(&GZIP);
    if first.is_empty() {
        return Err(place.damaged("the file is empty"));
    }
    if !is_tar && !is_gzip {
        return Err(place.damaged("this is neither a tar file nor a gzipped one"));
    }
    let mut unpacking = Unpacking {
        place: &place,
        folder,
        lasts,
        room,
        host,
        file_bytes,
        folders: Vec::new(),
        asides: BTreeSet::new(),
    };
    let mut out = if is_gzip { unpacking.all(GzDecoder::new(source))? } else { unpacking.all(source)? };
    unpacking.finish_folders()?;
    let asides = unpacking.asides;
    out.root = find_root(path, folder)?;
    // What was moved aside may be packed by itself, and then is what is wanted.
    for aside in asides.iter().filter(|aside| !out.root.starts_with(folder.join(aside))) {
        out.left_out.add(aside, ASIDE);
    }
    prune(&out.root.clone(), Path::new(""), &mut out)?;
    Ok(out)
}

/// Takes away what lies in the state and is none of its files, because it looked like those of a state elsewhere.
fn prune(root: &Path, inside: &Path, out: &mut Unpacked) -> Result<(), Error> {
    let folder = root.join(inside);
    for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
        let entry = entry.map_err(Error::io("list", &folder))?;
        let inside = inside.join(entry.file_name());
        let is_folder = entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir();
        match name_of(&inside) {
            Name::File if !is_folder => {}
            Name::Folder if is_folder => prune(root, &inside, out)?,
            name => {
                let path = entry.path();
                let (files, bytes) = size(&path);
                out.files = out.files.saturating_sub(files);
                out.bytes = out.bytes.saturating_sub(bytes);
                // What lies aside was reported by the name of its folder.
                if name != Name::Aside {
                    out.left_out.add(&inside, STRANGE);
                }
                let gone = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                gone.map_err(Error::io("take away", &path))?;
            }
        }
    }
    Ok(())
}

/// Returns how many files there are, and their bytes.
fn size(path: &Path) -> (u64, u64) {
    let Ok(about) = fs::symlink_metadata(path) else { return (0, 0) };
    if !about.is_dir() {
        return (1, about.len());
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// An archive on its way into a folder.
struct Unpacking<'a> {
    place: &'a Place<'a>,
    folder: &'a Path,
    lasts: Lasts,
    room: &'a mut Room,
    host: &'a mut dyn Host,
    file_bytes: u64,
    /// Folders and what they are to be in the end, when nothing more is put into them.
    folders: Vec<(PathBuf, Header)>,
    /// Folders to which something was moved.
    asides: BTreeSet<PathBuf>,
}

impl Unpacking<'_> {
    fn all(&mut self, source: impl Read) -> Result<Unpacked, Error> {
        let place = self.place;
        let taken = Rc::new(Cell::new(0));
        let source = Counted::new(source, Rc::clone(&taken));
        let until = Rc::clone(&source.until);
        let mut archive = Archive::new(source);
        let mut out = Unpacked { root: PathBuf::new(), files: 0, bytes: 0, left_out: LeftOut::default() };
        let (mut end, mut members, mut bytes) = (0_u64, 0_u64, 0_u64);
        let mut entries = archive.entries().map_err(|error| place.told(error))?;
        loop {
            // What was left out of the member before is passed over too: so many bytes as lie in the archive, not its holes.
            until.set(end.saturating_add(HEAD_BYTES_MAX));
            let Some(entry) = entries.next() else { break };
            until.set(u64::MAX);
            let start = taken.get();
            members += 1;
            if members > MEMBERS_MAX {
                return Err(place.damaged(format!("it has more than {MEMBERS_MAX} members")));
            }
            let mut entry = entry.map_err(|error| place.told(error))?;
            let stored = stored_bytes(&entry).map_err(|error| place.told(error))?;
            let length = entry.size().max(stored);
            bytes = bytes.saturating_add(length);
            for (what, bytes, most) in
                [("a file in it", length, FILE_BYTES_MAX), ("all that is in it", bytes, FILES_BYTES_MAX)]
            {
                if bytes > most {
                    let reason = format!("{what} says that it has {bytes} bytes, more than {most}");
                    return Err(place.damaged(reason));
                }
            }
            self.member(&mut entry, &mut out)?;
            end = start.saturating_add(stored.next_multiple_of(BLOCK_BYTES));
        }
        until.set(u64::MAX);
        let mut rest = archive.into_inner();
        if taken.get() < end + BLOCK_BYTES {
            return Err(place.damaged("its end mark is missing: it was cut short"));
        }
        // What is compressed has its checksum behind the last byte.
        let behind = io::copy(&mut (&mut rest).take(BEHIND_BYTES_MAX), &mut io::sink());
        if behind.map_err(|error| place.told(error))? == BEHIND_BYTES_MAX {
            return Err(place.damaged("there is more behind its end mark"));
        }
        Ok(out)
    }

    fn member<R: Read>(&mut self, entry: &mut Entry<'_, R>, out: &mut Unpacked) -> Result<(), Error> {
        let name = entry.path().map_err(|error| self.place.told(error))?.into_owned();
        let Some(inside) = inside(&name) else {
            return Err(self.place.damaged(format!("the name {} leads out of the archive", name.display())));
        };
        let to = self.folder.join(&inside);
        let is_known = known_end(&inside).is_some();
        match entry.header().entry_type() {
            EntryType::Directory => {
                self.note_aside(&inside);
                if !is_known {
                    return Ok(());
                }
                make(&to)?;
                self.folders.push((to, entry.header().clone()));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.note_aside(&inside);
                if !is_known {
                    if !is_passing(&inside) && aside_of(&inside).is_none() {
                        out.left_out.add(&name, STRANGE);
                    }
                    return Ok(());
                }
                make(to.parent().unwrap_or(self.folder))?;
                out.bytes += self.file(entry, &name, &to)?;
                out.files += 1;
            }
            other => out.left_out.add(&name, &format!("its kind is {other:?}")),
        }
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, name: &Path, to: &Path) -> Result<u64, Error> {
        let write = Error::io("write", to);
        let mut options = File::options();
        let file = match options.write(true).create(true).truncate(true).mode(0o600).open(to) {
            Ok(file) => file,
            Err(error) => return Err(write(error)),
        };
        let length = entry.size();
        let mut piece = vec![0; PIECE_BYTES];
        let mut done = 0;
        while done < length {
            let count = fill(entry, &mut piece).map_err(|error| self.place.told(error))?;
            if count == 0 {
                return Err(self.place.damaged(format!("it ends in {}: it was cut short", name.display())));
            }
            if piece[..count].iter().any(|byte| *byte != 0) {
                self.room.use_up(count as u64)?;
                file.write_all_at(&piece[..count], done).map_err(Error::io("write", to))?;
            }
            done += count as u64;
            self.host.progress(Work::Unpack, self.place.offset.get(), self.file_bytes);
        }
        file.set_len(length).map_err(Error::io("write", to))?;
        self.close(to, entry.header(), FILE_MODE)?;
        if self.lasts == Lasts::Yes {
            file.sync_all().map_err(Error::io("sync", to))?;
        }
        Ok(length)
    }

    /// Notes the folder to which something was moved, if this lies in one.
    fn note_aside(&mut self, inside: &Path) {
        if let Some(aside) = aside_of(inside)
            && self.asides.len() < ASIDES_MAX
        {
            self.asides.insert(aside);
        }
    }

    /// Gives a file or folder its mode: what the archive says of it, within bounds. Its owner is who unpacks.
    fn close(&self, to: &Path, header: &Header, (most, least): (u32, u32)) -> Result<(), Error> {
        let mode = header.mode().unwrap_or(least) & most | least;
        if self.lasts == Lasts::No {
            return Ok(());
        }
        fs::set_permissions(to, Permissions::from_mode(mode)).map_err(Error::io("set the mode of", to))
    }

    fn finish_folders(&mut self) -> Result<(), Error> {
        for (to, header) in std::mem::take(&mut self.folders).into_iter().rev() {
            self.close(&to, &header, FOLDER_MODE)?;
            if self.lasts == Lasts::Yes {
                File::open(&to).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", &to))?;
            }
        }
        Ok(())
    }
}

/// Returns how many bytes of an archive a member has, besides what says what it is.
fn stored_bytes<R: Read>(entry: &Entry<'_, R>) -> io::Result<u64> {
    let stored = entry.header().entry_size()?;
    // Of a file with holes it is less than its length; of others a head before this one may say more.
    Ok(if entry.header().entry_type().is_gnu_sparse() { stored } else { entry.size().max(stored) })
}

/// Makes a folder and those above it.
fn make(folder: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE.0).create(folder);
    made.map_err(Error::io("make the folder", folder))
}

/// Returns the folder that something lies in to which files were moved, if it lies in one.
fn aside_of(inside: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = inside.iter().collect();
    let at = parts.iter().position(|part| part.to_str().is_some_and(is_aside))?;
    Some(parts[..=at].iter().collect())
}

/// Returns whether something comes and goes by itself in a state folder, so that it is no loss.
fn is_passing(inside: &Path) -> bool {
    inside.file_name().is_some_and(|name| name_of(Path::new(name)) == Name::Passing)
}

/// Reads until `into` is full or nothing is left.
fn fill(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match source.read(&mut into[done..])? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Returns the path of a member within the folder; `None` when it leads out of it.
fn inside(name: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// Finds the folder in which the state lies: the one nearest to the top that looks like it.
fn find_root(path: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let wrong = |reason: String| Error::NotState { path: path.to_owned(), reason };
    let mut level = vec![folder.to_owned()];
    for _ in 0..DEPTH_MAX {
        let found: Vec<&PathBuf> =
            level.iter().filter(|at| at.join("journal").is_dir() || at.join("store").is_file()).collect();
        match found.as_slice() {
            [] => {}
            [root] => return Ok((*root).clone()),
            [first, second, ..] => {
                let name = |at: &Path| at.strip_prefix(folder).unwrap_or(at).display().to_string();
                return Err(wrong(format!("both {} and {} look like one", name(first), name(second))));
            }
        }
        level = level.iter().flat_map(|at| folders_in(at)).collect();
    }
    Err(wrong("no folder in it has a journal".to_owned()))
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}
