//! The names that files of a state folder have. Whatever else lies there is not the store's: backups leave it out, and a
//! restored state has none of it.

use std::ffi::OsStr;
use std::path::Path;

use super::archive::{ARCHIVE_FOLDER, ArchiveId};
use super::aside::is_aside;
use super::history::{self, HISTORY_FOLDER};
use super::identity;
use super::open::JOURNAL_FOLDER;
use super::segment::{self, TEMPORARY};
use super::snapshot::{self, SNAPSHOT_FOLDER};

/// The file by which processes keep each other out; it is empty.
pub const LOCK_NAME: &str = "lock";

/// What something in a state folder is, by its path there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A file that the store has written, and that lasts.
    File,
    /// A folder of such files.
    Folder,
    /// What comes and goes by itself: the lock, and files that are only being made.
    Passing,
    /// A folder to which an opening, a repair or a restoring has moved files.
    Aside,
    /// Nothing of the store's.
    Strange,
}

/// Returns what something is by its path in the state folder.
pub fn name_of(inside: &Path) -> Name {
    let parts: Option<Vec<&str>> = inside.iter().map(OsStr::to_str).collect();
    let is_file = match parts.as_deref() {
        None | Some([]) => return Name::Strange,
        Some([LOCK_NAME]) => return Name::Passing,
        Some([first, ..]) if is_aside(first) => return Name::Aside,
        Some([JOURNAL_FOLDER | HISTORY_FOLDER | SNAPSHOT_FOLDER | ARCHIVE_FOLDER]) => return Name::Folder,
        Some([ARCHIVE_FOLDER, month]) if ArchiveId::is_month(month) => return Name::Folder,
        Some([.., name]) if name.ends_with(TEMPORARY) => return Name::Passing,
        Some([name]) => *name == identity::NAME,
        Some([JOURNAL_FOLDER, name]) => segment::parse_name(name).is_some(),
        Some([HISTORY_FOLDER, name]) => history::parse_name(name).is_some(),
        Some([SNAPSHOT_FOLDER, name]) => snapshot::parse_name(name).is_some(),
        Some([ARCHIVE_FOLDER, month, name]) => ArchiveId::parse(month, name).is_some(),
        Some(_) => false,
    };
    if is_file { Name::File } else { Name::Strange }
}

/// Returns how many of the last parts of a path, below a folder of any name, are the name of a file or folder of the
/// store; `None` when they are nothing of the store's.
pub fn known_end(path: &Path) -> Option<usize> {
    let parts: Vec<&OsStr> = path.iter().collect();
    (1..=parts.len().min(3)).rev().find(|count| {
        let end: std::path::PathBuf = parts[parts.len() - count..].iter().collect();
        matches!(name_of(&end), Name::File | Name::Folder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_writes_is_told_from_everything_else() {
        let name = |path: &str| name_of(Path::new(path));
        for file in [
            "store",
            "journal/00000000000000000001-0000000001.jnl",
            "history/00000000000000000001-0000000001.his",
            "snapshot/00000000000000000001.snp",
            "archive/2026-11/01764122405000000000.arc",
        ] {
            let told = if file.starts_with("archive") {
                ArchiveId(1_764_122_405_000_000).to_string()
            } else {
                String::new()
            };
            let file = if told.is_empty() { file.to_owned() } else { format!("archive/{told}") };
            assert_eq!(name(&file), Name::File, "{file}");
            assert!(known_end(&Path::new("var/lib/knhk").join(&file)).is_some(), "{file}");
        }
        for folder in ["journal", "history", "snapshot", "archive", "archive/2026-11"] {
            assert_eq!(name(folder), Name::Folder, "{folder}");
        }
        for passing in ["lock", "store.tmp", "journal/3.tmp", "archive/2026-11/x.tmp"] {
            assert_eq!(name(passing), Name::Passing, "{passing}");
        }
        assert_eq!((name("aside-17"), name("aside-17/journal/x")), (Name::Aside, Name::Aside));
        for strange in [
            "rootshell",
            "aside-",
            "aside-x",
            "journal/1.jnl",
            "journal/rootshell",
            "history/a/b",
            "archive/x",
            "journal/store",
        ] {
            assert_eq!(name(strange), Name::Strange, "{strange}");
        }
        assert_eq!(known_end(Path::new("var/lib/knhk/rootshell")), None);
    }
}
