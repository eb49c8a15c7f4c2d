//! Who belongs to a group, by /etc/passwd and /etc/group. They are read again when they have changed.
//!
//! The library's own functions would ask directory services too, which wait for the network. A user known only to a
//! directory service takes the Unix socket, where the kernel checks, or a token.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::telemetry::words;

/// Largest file that is read, in bytes: a hundred thousand users.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What tells one version of a file from another: device, inode, length, and when its content and it itself changed.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// The members of one group.
#[derive(Debug)]
pub(super) struct Members {
    users: PathBuf,
    groups: PathBuf,
    group: u32,
    read: Mutex<Snapshot>,
}

#[derive(Debug, Default)]
struct Snapshot {
    stamps: Option<[Stamp; 2]>,
    members: BTreeSet<u32>,
    /// The group's name; empty when it has none.
    name: String,
}

impl Members {
    /// Returns the members of a group by this system's files.
    pub(super) fn of_system(group: u32) -> Self {
        Self::of_files(Path::new("/etc/passwd"), Path::new("/etc/group"), group)
    }

    fn of_files(users: &Path, groups: &Path, group: u32) -> Self {
        Self { users: users.to_owned(), groups: groups.to_owned(), group, read: Mutex::default() }
    }

    /// Returns whether a user belongs to the group, as primary group or as one of its members. While a file cannot be
    /// read, nobody does.
    pub(super) fn has(&self, user: u32) -> bool {
        self.current(|read| read.members.contains(&user))
    }

    /// Returns the group's name, or its number.
    pub(super) fn group_name(&self) -> String {
        self.current(|read| if read.name.is_empty() { self.group.to_string() } else { read.name.clone() })
    }

    fn current<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        let stamps = Some([stamp(&self.users), stamp(&self.groups)]);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.stamps != stamps {
            *read = Snapshot { stamps, ..self.load() };
        }
        look(&read)
    }

    fn load(&self) -> Snapshot {
        let text = |path: &Path| {
            content(path).map_err(|error| {
                tracing::error!("{}: {}: {error}", words::GROUP_UNREADABLE, path.display());
            })
        };
        match (text(&self.users), text(&self.groups)) {
            (Ok(users), Ok(groups)) => members(&users, &groups, self.group),
            _ => Snapshot::default(),
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    let changed = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((found.dev(), found.ino(), found.len(), changed.0, changed.1))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Returns who belongs to a group, by the texts of both files (passwd(5), group(5)). Malformed lines are skipped.
fn members(users: &[u8], groups: &[u8], group: u32) -> Snapshot {
    let mut found = Snapshot::default();
    let mut named: BTreeSet<&[u8]> = BTreeSet::new();
    for [name, _, number, listed] in lines(groups) {
        if number_of(number) != Some(group) {
            continue;
        }
        if found.name.is_empty() {
            found.name = String::from_utf8_lossy(name).into_owned();
        }
        named.extend(
            listed.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()),
        );
    }
    for [name, _, user, primary] in lines(users) {
        let Some(user) = number_of(user) else { continue };
        if number_of(primary) == Some(group) || named.contains(name) {
            found.members.insert(user);
        }
    }
    found
}

/// Returns the first four fields of each line that has so many.
fn lines(text: &[u8]) -> impl Iterator<Item = [&[u8]; 4]> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        Some([fields.next()?, fields.next()?, fields.next()?, fields.next()?])
    })
}

fn number_of(field: &[u8]) -> Option<u32> {
    let is_number = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(field).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nknhk:x:990:990::/var/lib/knhk:/bin/false\n\
        ann:x:1001:1001::/home/ann:/bin/sh\nbob:x:1002:1002::/home/bob:/bin/sh\ncid:x:1003:990::/:/bin/sh\n\
        twin:x:1001:1005::/:/bin/sh\n+nis\nbroken:x:abc:990\n:x:1009\nshort:x\n";
    const GROUPS: &str =
        "root:x:0:\nknhk:x:990:ann, eve,,\nother:x:1005:bob\nalso:x:990:dan\nknhk2:x:99:bob\n";

    fn of(users: &str, groups: &str, group: u32) -> (Vec<u32>, String) {
        let found = members(users.as_bytes(), groups.as_bytes(), group);
        (found.members.into_iter().collect(), found.name)
    }

    #[test]
    fn members_are_those_who_are_listed_and_those_whose_primary_group_it_is() {
        assert_eq!(of(USERS, GROUPS, 990), (vec![990, 1_001, 1_003], "knhk".to_owned()));
        assert_eq!(of(USERS, GROUPS, 1_005), (vec![1_001, 1_002], "other".to_owned()));
        assert_eq!(of(USERS, GROUPS, 7), (vec![], String::new()));
        assert_eq!(of("", "", 990), (vec![], String::new()));
        assert_eq!(of("\u{0}:::\n::::::", ":::\n:x:+990:a\n", 990), (vec![], String::new()));
    }

    #[test]
    fn files_are_read_again_when_they_have_changed_and_nobody_belongs_while_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (users, groups) = (folder.path().join("passwd"), folder.path().join("group"));
        fs::write(&users, USERS).unwrap();
        fs::write(&groups, GROUPS).unwrap();
        let known = Members::of_files(&users, &groups, 990);
        assert_eq!(
            (known.has(1_001), known.has(1_002), known.group_name()),
            (true, false, "knhk".to_owned())
        );
        // As the tools of the system do it: a new file in the old one's place.
        let beside = folder.path().join("group.new");
        fs::write(&beside, GROUPS.replace("ann, eve", "bob, eve")).unwrap();
        fs::rename(&beside, &groups).unwrap();
        assert_eq!((known.has(1_001), known.has(1_002)), (false, true));
        fs::remove_file(&users).unwrap();
        assert_eq!(
            (known.has(1_002), known.has(1_003), known.group_name()),
            (false, false, "990".to_owned())
        );
        fs::write(&users, USERS).unwrap();
        assert!(known.has(1_003));
    }

    #[test]
    fn a_file_that_is_too_large_counts_as_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let (users, groups) = (folder.path().join("passwd"), folder.path().join("group"));
        fs::write(&users, USERS).unwrap();
        let file = File::create(&groups).unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(!Members::of_files(&users, &groups, 990).has(1_003));
    }
}
