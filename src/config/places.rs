//! The folders that the configuration names, and its own files: whether the service can use them, and nobody else.
//!
//! Only looks; [`super::repair`] mends what is found here.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

use super::environment::Environment;
use super::error::{self, Mistake};
use super::file::mistake;
use super::keys::Config;
use crate::error::Code;

/// User and group of the service on an installed system.
const SERVICE_USER: &str = "knhk";
/// Most entries of a folder that are looked at: more than a journal may have files.
pub(super) const ENTRIES_MAX: usize = 1 << 20;

/// Whose the folders are to be.
#[derive(Debug, Clone)]
pub struct Account {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Whether the system has an account for the service: then also the group has to be this one.
    pub is_group_fixed: bool,
}

impl Account {
    /// Returns the account of the service: on an installed system the one of its own; where `KNHK_CONFIG` names a file,
    /// whoever owns the state, or else whoever asks.
    pub fn of(environment: &Environment, config: &Config) -> Self {
        if environment.config.is_none()
            && let Ok(Some(user)) = User::from_name(SERVICE_USER)
        {
            let gid = Group::from_name(SERVICE_USER).ok().flatten().map_or(user.gid, |group| group.gid);
            return Self { uid: user.uid.as_raw(), gid: gid.as_raw(), is_group_fixed: true };
        }
        let (uid, gid) = fs::metadata(&config.state_dir)
            .map_or_else(|_| (geteuid().as_raw(), getegid().as_raw()), |found| (found.uid(), found.gid()));
        Self { uid, gid, is_group_fixed: false }
    }

    /// Returns `user:group`, numbers where there is no name.
    pub fn name(&self) -> String {
        name_of(self.uid, self.gid)
    }

    fn owns(&self, found: &Metadata) -> bool {
        found.uid() == self.uid && (!self.is_group_fixed || found.gid() == self.gid)
    }

    /// Tells whether the account may do what a digit of a mode says: 4 read, 2 write, 1 enter.
    fn may(&self, found: &Metadata, bits: u32) -> bool {
        let shift = match (found.uid() == self.uid, found.gid() == self.gid) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        self.uid == 0 || found.mode() >> shift & bits == bits
    }
}

fn name_of(uid: u32, gid: u32) -> String {
    let user =
        User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let group = Group::from_gid(Gid::from_raw(gid))
        .ok()
        .flatten()
        .map_or_else(|| gid.to_string(), |group| group.name);
    format!("{user}:{group}")
}

/// What is wrong with a place, and what mends it.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) mistake: Mistake,
    pub(super) path: PathBuf,
    pub(super) repair: Repair,
}

/// The one thing that mends a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing that is safe.
    None,
    /// Make the folder.
    Make,
    /// Give it, and if so all that is in it, to the account.
    Own(Depth),
    /// Take away what others may, and give its owner what it needs; if so of all that is in it too.
    Close(Depth),
    /// Let everybody read it: it holds no secrets.
    Open,
}

/// How far a repair goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The folder alone.
    Folder,
    /// The folder and all that is in it.
    All,
}

/// What a look at all places gave.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) account: Account,
    pub(super) findings: Vec<Finding>,
    /// What this user may not look at.
    pub(super) unseen: Vec<PathBuf>,
}

/// What has to hold of a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Only the account may use it and what is in it.
    Own,
    /// Only the account may use it; what is in it may be root's, who makes backups by hand.
    Shared,
    /// The account makes a socket in it. The system makes the folder at every start, and others may enter it.
    Socket,
}

/// Looks at the folders of `config` and at its files.
pub(super) fn look(environment: &Environment, config: &Config, files: &[PathBuf]) -> Places {
    let account = Account::of(environment, config);
    let mut places = Places { account, findings: Vec::new(), unseen: Vec::new() };
    for file in files {
        places.file(file);
    }
    places.folder("state_dir", &config.state_dir, Use::Own);
    places.folder("cache_dir", &config.cache_dir, Use::Own);
    places.folder("backup_dir", &config.backup_dir, Use::Shared);
    if let Some(folder) = config.socket.parent() {
        places.folder("the folder of socket", folder, Use::Socket);
    }
    places
}

impl Places {
    fn found(&mut self, code: Code, path: &Path, message: String, repair: Repair) {
        let hint = if repair == Repair::None { "" } else { "knhk config fix" };
        let mistake = mistake(&path.display().to_string(), 0, code, message, hint);
        self.findings.push(Finding { mistake, path: path.to_owned(), repair });
    }

    /// A file that this user reads and the service cannot would be found only at the next start.
    fn file(&mut self, path: &Path) {
        for path in [path.parent().unwrap_or(path), path] {
            let Ok(found) = fs::metadata(path) else { continue };
            let bits = if found.is_dir() { 1 } else { 4 };
            if !self.account.may(&found, bits) {
                let message = format!("the service ({}) may not read it", self.account.name());
                if !self.findings.iter().any(|known| known.path == path) {
                    self.found(error::PLACE_UNREADABLE, path, message, Repair::Open);
                }
            }
        }
    }

    fn folder(&mut self, what: &str, path: &Path, used: Use) {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Without backups a service runs all the same; on an installed system there are some.
                let is_needed = match used {
                    Use::Own => true,
                    Use::Shared => self.account.is_group_fixed,
                    Use::Socket => false,
                };
                if is_needed && !self.may_be_made(path) {
                    let message = format!("{what} is missing, and {} may not make it", self.account.name());
                    self.found(error::PLACE_MISSING, path, message, Repair::Make);
                }
                return;
            }
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                let message = format!("{what} lies below something that is not a folder");
                return self.found(error::PLACE_NOT_FOLDER, path, message, Repair::None);
            }
            Err(_) => return self.unseen.push(path.to_owned()),
        };
        if !found.is_dir() {
            let message = format!("{what} is not a folder");
            return self.found(error::PLACE_NOT_FOLDER, path, message, Repair::None);
        }
        let name = self.account.name();
        if used == Use::Socket {
            if !self.account.may(&found, 3) {
                let message = format!("{what} belongs to {}, and {name} may not write in it", owner(&found));
                self.found(error::PLACE_OWNER, path, message, Repair::Own(Depth::Folder));
            }
            return;
        }
        if !self.account.owns(&found) {
            let depth = if used == Use::Own { Depth::All } else { Depth::Folder };
            let message = format!("{what} belongs to {}, not to {name}", owner(&found));
            self.found(error::PLACE_OWNER, path, message, Repair::Own(depth));
        }
        if found.mode() & 0o007 != 0 && is_reached(path) {
            let message = format!("other users may use {what} (mode {:03o})", found.mode() & 0o777);
            self.found(error::PLACE_MODE, path, message, Repair::Close(Depth::Folder));
        } else if found.mode() & 0o700 != 0o700 {
            let message = format!("its owner may not write in {what} (mode {:03o})", found.mode() & 0o777);
            self.found(error::PLACE_MODE, path, message, Repair::Close(Depth::Folder));
        }
        self.contents(what, path, used);
    }

    /// Looks at all that is in a folder, and tells of each kind of fault how often and where first.
    fn contents(&mut self, what: &str, folder: &Path, used: Use) {
        let (mut strange, mut closed) = (Tally::default(), Tally::default());
        let mut is_unseen = false;
        let mut folders = vec![folder.to_owned()];
        let mut count = 0;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                is_unseen = true;
                continue;
            };
            // In order, so that the same folder is told of in the same words.
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                // What goes away meanwhile needs no look.
                let Ok(found) = fs::symlink_metadata(&path) else { continue };
                count += 1;
                let is_roots = used == Use::Shared && found.uid() == 0;
                if !self.account.owns(&found) && !is_roots {
                    strange.add(&path);
                }
                let needed = if found.is_dir() { 0o700 } else { 0o600 };
                let is_plain = found.is_dir() || found.is_file();
                if used == Use::Own && is_plain && found.mode() & needed != needed {
                    closed.add(&path);
                }
                if found.is_dir() {
                    folders.push(path);
                }
            }
            if count >= ENTRIES_MAX {
                break;
            }
        }
        if is_unseen {
            self.unseen.push(folder.to_owned());
        }
        let name = self.account.name();
        if let Some(told) = strange.told() {
            let message = format!("{told} in {what}: not owned by {name}");
            self.found(error::PLACE_OWNER, folder, message, Repair::Own(Depth::All));
        }
        if let Some(told) = closed.told() {
            let message = format!("{told} in {what}: its owner may not read and write it");
            self.found(error::PLACE_MODE, folder, message, Repair::Close(Depth::All));
        }
    }

    /// Tells whether the account could make a folder: by the nearest one above that is there.
    fn may_be_made(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).find_map(|above| fs::metadata(above).ok());
        above.is_some_and(|above| above.is_dir() && self.account.may(&above, 3))
    }
}

/// Tells whether other users come as far as a folder: through all above it.
fn is_reached(path: &Path) -> bool {
    path.ancestors().skip(1).all(|above| fs::metadata(above).is_ok_and(|found| found.mode() & 1 == 1))
}

fn owner(found: &Metadata) -> String {
    name_of(found.uid(), found.gid())
}

/// How many entries have a fault, and the first of them.
#[derive(Default)]
struct Tally {
    count: usize,
    first: Option<PathBuf>,
}

impl Tally {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        self.first.get_or_insert_with(|| path.to_owned());
    }

    fn told(&self) -> Option<String> {
        let first = self.first.as_ref()?.display();
        Some(if self.count == 1 { first.to_string() } else { format!("{first} and {} more", self.count - 1) })
    }
}
