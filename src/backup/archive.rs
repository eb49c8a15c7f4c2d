//! Reading an archive: tar or gzipped tar, ours or one that `tar` made, into a folder.
//!
//! Nothing that an archive says is believed: names that lead out of the folder, and members that are neither files nor
//! folders, are refused or left out. Zeros are not written, so that the unused end of a segment takes no space. An
//! archive counts only if it comes to its end mark, and what is compressed only if its checksum holds.

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::GzDecoder;
use nix::unistd::{Gid, Group, Uid, User};
use tar::{Archive, Entry, EntryType, Header};

use super::error::Error;
use super::room::Room;
use super::{Host, Work};

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
/// Deepest folder in which the state is looked for.
const DEPTH_MAX: usize = 16;

/// Whether what is unpacked is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// It is only looked at.
    No,
    /// It is synced, and gets the owners that the archive names if this process may give them.
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
    /// What was left out, one sentence each.
    pub(super) notes: Vec<String>,
}

/// A file with the number of bytes that were taken from it.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
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
    let mut source =
        Counted { inner: BufReader::with_capacity(PIECE_BYTES, file), count: Rc::clone(&place.offset) };
    let first = source.fill_buf().map_err(|error| place.told(error))?;
    let is_tar = first.get(USTAR_AT..USTAR_AT + USTAR.len()) == Some(USTAR);
    let is_gzip = first.starts_with(&GZIP);
    if first.is_empty() {
        return Err(place.damaged("the file is empty"));
    }
    if !is_tar && !is_gzip {
        return Err(place.damaged("this is neither a tar file nor a gzipped one"));
    }
    let mut unpacking =
        Unpacking { place: &place, folder, lasts, room, host, file_bytes, folders: Vec::new() };
    let mut out = if is_gzip { unpacking.all(GzDecoder::new(source))? } else { unpacking.all(source)? };
    unpacking.finish_folders()?;
    out.root = find_root(path, folder)?;
    Ok(out)
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
}

impl Unpacking<'_> {
    fn all(&mut self, source: impl Read) -> Result<Unpacked, Error> {
        let place = self.place;
        let taken = Rc::new(Cell::new(0));
        let mut archive = Archive::new(Counted { inner: source, count: Rc::clone(&taken) });
        let mut out = Unpacked { root: PathBuf::new(), files: 0, bytes: 0, notes: Vec::new() };
        let mut end = 0;
        for entry in archive.entries().map_err(|error| place.told(error))? {
            let mut entry = entry.map_err(|error| place.told(error))?;
            let length = entry.header().entry_size().map_err(|error| place.told(error))?;
            self.member(&mut entry, &mut out)?;
            end = entry.raw_file_position() + length.next_multiple_of(BLOCK_BYTES);
        }
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
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir_all(&to).map_err(Error::io("make the folder", &to))?;
                self.folders.push((to, entry.header().clone()));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let above = to.parent().unwrap_or(self.folder);
                fs::create_dir_all(above).map_err(Error::io("make the folder", above))?;
                out.bytes += self.file(entry, &name, &to)?;
                out.files += 1;
            }
            other => out.notes.push(format!("{} is left out: its kind is {other:?}", name.display())),
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
        self.give(to, entry.header())?;
        if self.lasts == Lasts::Yes {
            file.sync_all().map_err(Error::io("sync", to))?;
        }
        Ok(length)
    }

    /// Gives a file or folder mode and owner.
    fn give(&self, to: &Path, header: &Header) -> Result<(), Error> {
        let mode = header.mode().unwrap_or(0o600) & 0o7777;
        if self.lasts == Lasts::No {
            return Ok(());
        }
        if nix::unistd::geteuid().is_root() {
            let (user, group) = owner(header);
            nix::unistd::chown(to, user, group).map_err(|error| Error::io("give away", to)(error.into()))?;
        }
        fs::set_permissions(to, Permissions::from_mode(mode)).map_err(Error::io("set the mode of", to))
    }

    fn finish_folders(&mut self) -> Result<(), Error> {
        for (to, header) in std::mem::take(&mut self.folders).into_iter().rev() {
            self.give(&to, &header)?;
            if self.lasts == Lasts::Yes {
                File::open(&to).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", &to))?;
            }
        }
        Ok(())
    }
}

/// Returns whose something was, on this machine: by name, else by number.
fn owner(header: &Header) -> (Option<Uid>, Option<Gid>) {
    let user = header.username().ok().flatten().filter(|name| !name.is_empty());
    let group = header.groupname().ok().flatten().filter(|name| !name.is_empty());
    let user = user.and_then(|name| User::from_name(name).ok().flatten()).map(|user| user.uid);
    let group = group.and_then(|name| Group::from_name(name).ok().flatten()).map(|group| group.gid);
    let number = |number: io::Result<u64>| number.ok().and_then(|number| u32::try_from(number).ok());
    (
        user.or_else(|| number(header.uid()).map(Uid::from_raw)),
        group.or_else(|| number(header.gid()).map(Gid::from_raw)),
    )
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
