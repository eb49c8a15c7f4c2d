//! Packing a state folder: every file as it is read, in the form that GNU tar writes.
//!
//! A running service goes on meanwhile. A file that was taken away since its name was read is left out, one that became
//! shorter is filled up with zeros, and what is only being made (`.tmp`) is left out, as an opening leaves it out.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{Gid, Group, Uid, User};
use tar::{Builder, EntryType, Header};

use super::error::Error;
use super::left_out::LeftOut;
use super::room::Room;
use super::{Host, Options, Work, scratch};
use crate::store::{Name, name_of};

/// How much is read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Zeros at the end of a file are looked for in pieces of this.
const TAIL_BYTES: u64 = 64 * 1024;
/// Why a folder is left out to which files were moved.
pub(super) const ASIDE: &str = "it was moved aside, and the state does not need it";
/// Why something else is left out.
pub(super) const STRANGE: &str = "the store has no file of this name";
/// Deepest folder below the state folder.
const DEPTH_MAX: usize = 8;

/// What was packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) files: u64,
    /// Bytes of the files.
    pub(super) bytes: u64,
    /// What lies in the state folder and is none of the store's files.
    pub(super) left_out: LeftOut,
}

/// A file or folder that is to be packed.
struct Member {
    path: PathBuf,
    is_folder: bool,
}

/// Returns what is to be packed, folders before what is in them: history and snapshots before the journal, so that the
/// newest comes last; and what is not.
fn members(options: &Options) -> Result<(Vec<Member>, LeftOut), Error> {
    let (mut out, mut left_out) = (Vec::new(), LeftOut::default());
    walk(options, &options.store.state_dir, DEPTH_MAX, (&mut out, &mut left_out))?;
    let journal = options.store.state_dir.join("journal");
    let (last, mut first): (Vec<_>, Vec<_>) =
        out.into_iter().partition(|member| member.path.starts_with(&journal));
    first.extend(last);
    Ok((first, left_out))
}

fn walk(
    options: &Options,
    folder: &Path,
    depth: usize,
    (out, left_out): (&mut Vec<Member>, &mut LeftOut),
) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Taken away since its name was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound && depth < DEPTH_MAX => return Ok(()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    out.push(Member { path: folder.to_owned(), is_folder: true });
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        paths.push((entry.path(), entry.file_type().map_err(Error::io("look at", entry.path()))?));
    }
    paths.sort_by(|one, other| one.0.cmp(&other.0));
    for (path, kind) in paths {
        let inside = path.strip_prefix(&options.store.state_dir).unwrap_or(&path).to_owned();
        match name_of(&inside) {
            Name::File if kind.is_file() => out.push(Member { path, is_folder: false }),
            Name::Folder if kind.is_dir() && depth > 0 => {
                walk(options, &path, depth - 1, (&mut *out, &mut *left_out))?;
            }
            Name::Passing => {}
            Name::Aside => left_out.add(&inside, ASIDE),
            _ if is_ours(options, &path) => {}
            Name::File | Name::Folder | Name::Strange => left_out.add(&inside, STRANGE),
        }
    }
    Ok(())
}

/// Returns whether this lies in the state folder because the configuration says so, or for the time of a backup.
fn is_ours(options: &Options, path: &Path) -> bool {
    path.file_name().is_some_and(|name| scratch::is_one(&name.to_string_lossy()))
        || path == options.backup_dir
        || path == options.store.cache_dir
}

/// How much there is to pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes of the files.
    pub(super) bytes: u64,
    /// Without the zeros that they end with: what it takes to unpack them, and more than it takes to pack them.
    pub(super) used_bytes: u64,
}

/// Looks how much there is to pack.
pub(super) fn sizes(options: &Options) -> Result<Sizes, Error> {
    let mut sizes = Sizes::default();
    for member in members(options)?.0.iter().filter(|member| !member.is_folder) {
        let looked =
            open_file(&member.path).and_then(|(about, mut file)| Ok((about.len(), without_tail(&mut file)?)));
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => {
                let (bytes, used_bytes) = found.map_err(Error::io("read", &member.path))?;
                sizes.bytes += bytes;
                sizes.used_bytes += used_bytes;
            }
        }
    }
    Ok(sizes)
}

/// Returns the length of a file without the zeros at its end, in whole pieces.
fn without_tail(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut piece = Vec::new();
    while end > 0 {
        let start = (end - 1) / TAIL_BYTES * TAIL_BYTES;
        piece.clear();
        file.seek(SeekFrom::Start(start))?;
        (&mut *file).take(end - start).read_to_end(&mut piece)?;
        if piece.iter().any(|byte| *byte != 0) {
            break;
        }
        end = start;
    }
    Ok(end)
}

/// Packs a state folder into `out`, under the names that make `tar -x -C /` put it back where it lies.
pub(super) fn pack<W: Write>(
    options: &Options,
    out: W,
    sizes: Sizes,
    room: &mut Room,
    host: &mut dyn Host,
) -> Result<(W, Packed), Error> {
    let mut builder = Builder::new(out);
    let folder = room.folder().to_owned();
    let (members, left_out) = members(options)?;
    let mut packed = Packed { left_out, ..Packed::default() };
    for member in members {
        let found = if member.is_folder {
            fs::metadata(&member.path).map(Opened::Folder)
        } else {
            open_file(&member.path).map(|(about, file)| Opened::File(about, file))
        };
        let opened = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(Error::io("read", &member.path))?,
        };
        let name = member.path.strip_prefix("/").unwrap_or(&member.path).to_owned();
        match opened {
            Opened::Folder(about) => {
                let mut header = header(&about, EntryType::Directory, 0);
                append(&mut builder, &mut header, &name.join(""), io::empty(), &folder)?;
            }
            Opened::File(about, file) => {
                let mut header = header(&about, EntryType::Regular, about.len());
                let source = Exactly { file, left: about.len() };
                let mut watched =
                    Watched { source, done: 0, failed: None, room, host, before: packed.bytes, sizes };
                let done = append(&mut builder, &mut header, &name, &mut watched, &folder);
                if let Some(failed) = watched.failed {
                    return Err(failed);
                }
                done?;
                packed.files += 1;
                packed.bytes += about.len();
            }
        }
    }
    let out = builder.into_inner().map_err(Error::io("write the archive in", folder))?;
    Ok((out, packed))
}

enum Opened {
    Folder(Metadata),
    File(Metadata, File),
}

/// Opens what was a file when its name was read. Root may do this in a folder of others: it follows no link that was put
/// in its place since, and does not wait for what somebody writes into a pipe.
fn open_file(path: &Path) -> io::Result<(Metadata, File)> {
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if about.is_file() { Ok((about, file)) } else { Err(io::Error::other("it is no file any longer")) }
}

fn append<W: Write>(
    builder: &mut Builder<W>,
    header: &mut Header,
    name: &Path,
    data: impl Read,
    folder: &Path,
) -> Result<(), Error> {
    builder.append_data(header, name, data).map_err(Error::io("write the archive in", folder))
}

fn header(about: &Metadata, kind: EntryType, length: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length);
    header.set_mode(about.mode() & 0o7777);
    header.set_uid(about.uid().into());
    header.set_gid(about.gid().into());
    header.set_mtime(u64::try_from(about.mtime()).unwrap_or_default());
    // Names come first when tar restores; where they are too long or nobody's, the numbers stand.
    if let Ok(Some(user)) = User::from_uid(Uid::from_raw(about.uid())) {
        drop(header.set_username(&user.name));
    }
    if let Ok(Some(group)) = Group::from_gid(Gid::from_raw(about.gid())) {
        drop(header.set_groupname(&group.name));
    }
    header
}

/// So many bytes of a file, filled up with zeros if it has become shorter.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)).min(CHUNK_BYTES);
        let mut count = self.file.read(&mut into[..wanted])?;
        if count == 0 {
            into[..wanted].fill(0);
            count = wanted;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A file that is read while somebody hears how far it is.
struct Watched<'a> {
    source: Exactly,
    done: u64,
    /// Why it was ended, if not by the file.
    failed: Option<Error>,
    room: &'a mut Room,
    host: &'a mut dyn Host,
    before: u64,
    sizes: Sizes,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.done += count as u64;
        if let Err(error) = self.room.use_up(count as u64) {
            self.failed = Some(error);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.host.progress(Work::Pack, self.before + self.done, self.sizes.bytes);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_a_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "a letter").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open_file(&path("file")).unwrap().0.len(), 8);
        for name in ["link", "pipe", "."] {
            assert!(open_file(&path(name)).is_err(), "{name}");
        }
    }
}
