//! Owners and modes of folders mended. It changes no byte of any file, and follows no link.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::places::{Account, Depth, ENTRIES_MAX, Finding, Repair};

/// Mode of a folder that is made: its group may look, others may not.
const FOLDER_MODE: u32 = 0o750;

/// Mends what was found.
///
/// # Errors
/// The system refuses; what was mended before that stays so.
pub(super) fn mend(finding: &Finding, account: &Account) -> io::Result<()> {
    let path = finding.path.as_path();
    match finding.repair {
        Repair::None => Ok(()),
        Repair::Make => make(path, account),
        Repair::Open => open(path),
        Repair::Own(depth) => walk(path, depth, &mut |file, found| own(file, found, account)),
        Repair::Close(depth) => walk(path, depth, &mut close),
    }
}

/// Says what mending does, as a command of the shell would.
pub(super) fn words(finding: &Finding, account: &Account) -> String {
    let path = finding.path.display();
    let all = |depth| if depth == Depth::All { "-R " } else { "" };
    match finding.repair {
        Repair::None => String::new(),
        Repair::Make => {
            format!("install -d -m {FOLDER_MODE:04o} -o {} {path}", account.name().replace(':', " -g "))
        }
        Repair::Open => format!("chmod a+rX {path}"),
        Repair::Own(depth) if account.is_group_fixed => {
            format!("chown {}{} {path}", all(depth), account.name())
        }
        Repair::Own(depth) => {
            format!("chown {}{} {path}", all(depth), account.name().split(':').next().unwrap_or_default())
        }
        Repair::Close(depth) => format!("chmod {}u+rwX,o= {path}", all(depth)),
    }
}

fn make(path: &Path, account: &Account) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::DirBuilder::new().mode(FOLDER_MODE).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE))?;
    chown(path, Some(account.uid), Some(account.gid))
}

fn open(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    let more = if found.is_dir() { 0o555 } else { 0o444 };
    fs::set_permissions(path, fs::Permissions::from_mode(found.permissions().mode() | more))
}

/// Something in a folder: opened if it is a file or folder, else by its name there.
enum Entry<'a> {
    Open(BorrowedFd<'a>),
    Named(BorrowedFd<'a>, &'a CStr),
}

/// What is done to each entry.
type Act<'a> = &'a mut dyn FnMut(Entry<'_>, &FileStat) -> nix::Result<()>;

/// Does something to a folder, and if so to all that is in it. Names are looked up in the opened folder, so that nobody
/// can put another one in its way meanwhile.
///
/// # Errors
/// The first one, after all else was done.
fn walk(path: &Path, depth: Depth, act: Act<'_>) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // The name that the configuration gives may be that of a link.
    let mut folders = vec![Dir::openat(AT_FDCWD, path, flags, Mode::empty())?];
    let found = fstat(folders[0].as_fd())?;
    act(Entry::Open(folders[0].as_fd()), &found)?;
    if depth == Depth::Folder {
        return Ok(());
    }
    let (mut count, mut failed) = (0, None);
    while let Some(mut folder) = folders.pop() {
        let entries: Vec<_> = folder.iter().collect::<nix::Result<_>>()?;
        for entry in entries.iter().filter(|entry| ![c".", c".."].contains(&entry.file_name())) {
            count += 1;
            if count > ENTRIES_MAX {
                return Err(io::Error::other(format!("there are more than {ENTRIES_MAX} files")));
            }
            match visit(&folder, entry.file_name(), &mut folders, act) {
                // The service took it away.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => {
                    failed.get_or_insert_with(|| told(entry.file_name(), error));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn told(name: &CStr, error: Errno) -> io::Error {
    let name = name.to_string_lossy();
    io::Error::other(match error {
        SECOND_NAME => format!("{name} has a second name elsewhere"),
        error => format!("{name}: {}", io::Error::from(error)),
    })
}

fn visit(folder: &Dir, name: &CStr, folders: &mut Vec<Dir>, act: Act<'_>) -> nix::Result<()> {
    let found = fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = kind(&found);
    if kind != SFlag::S_IFREG && kind != SFlag::S_IFDIR {
        return act(Entry::Named(folder.as_fd(), name), &found);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = openat(folder.as_fd(), name, flags, Mode::empty())?;
    let found = fstat(opened.as_fd())?;
    act(Entry::Open(opened.as_fd()), &found)?;
    if self::kind(&found) == SFlag::S_IFDIR {
        folders.push(Dir::from_fd(opened)?);
    }
    Ok(())
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

/// Giving a file away that has another name elsewhere would give that one away.
const SECOND_NAME: Errno = Errno::EMLINK;

fn own(entry: Entry<'_>, found: &FileStat, account: &Account) -> nix::Result<()> {
    let gid = account.is_group_fixed.then(|| Gid::from_raw(account.gid));
    if found.st_uid == account.uid && gid.is_none_or(|gid| gid.as_raw() == found.st_gid) {
        return Ok(());
    }
    let uid = Some(Uid::from_raw(account.uid));
    match entry {
        Entry::Open(_) if found.st_nlink > 1 && kind(found) == SFlag::S_IFREG => Err(SECOND_NAME),
        Entry::Open(file) => fchown(file, uid, gid),
        Entry::Named(folder, name) => fchownat(folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW),
    }
}

fn close(entry: Entry<'_>, found: &FileStat) -> nix::Result<()> {
    let Entry::Open(file) = entry else { return Ok(()) };
    let needed = if kind(found) == SFlag::S_IFREG { 0o600 } else { 0o700 };
    let mode = (found.st_mode & 0o7770) | needed;
    if mode == found.st_mode & 0o7777 {
        return Ok(());
    }
    fchmod(file, Mode::from_bits_truncate(mode))
}
