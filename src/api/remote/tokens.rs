//! Tokens: the file that `knhk token` writes, and what the service knows of it.
//!
//! A token is 256 random bits, so nobody guesses one, and its plain BLAKE3 hash gives nothing away: what slow hashes are
//! for, passwords that people choose, does not occur here, and each request would pay for one. The file lies neither in
//! the state, because a backup that is restored would let revoked tokens in again, nor in /etc, which the service's
//! unit cannot write.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::Scope;
use super::uses::{Day, Days, Uses};
use crate::api::Error;
use crate::engine::service::Caller;
use crate::engine::threads::random_bytes;
use crate::id::Time;
use crate::telemetry::words;

/// Most tokens of a service: each is compared with at every request.
pub const TOKEN_COUNT_MAX: usize = 1_000;
/// Longest name of a token, in characters.
pub const NAME_LEN_MAX: usize = 64;
/// Fewest characters of a token that the administrator makes: as many as 128 random bits in hexadecimal digits.
pub const SECRET_LEN_MIN: usize = 32;
/// Most characters of one.
pub const SECRET_LEN_MAX: usize = 512;
/// Files of [`Options::secrets_dir`](super::Options::secrets_dir): each holds one token, and says its scope by its name.
pub const SECRETS: [(&str, Scope); 3] =
    [("knhk-read", Scope::Read), ("knhk-work", Scope::Work), ("knhk-admin", Scope::Admin)];

/// How our own tokens begin, so that those who search for leaked secrets find them.
const PREFIX: &str = "knhk_";
/// Largest file of tokens that is read: [`TOKEN_COUNT_MAX`] of them have a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FORMAT: u32 = 1;
const FILE: &str = "tokens";
const FILE_BESIDE: &str = "tokens.new";
const LOCK: &str = "tokens.lock";

/// A token as the file has it: not the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who has it.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// BLAKE3 of the token, in hexadecimal digits.
    #[serde(with = "hexadecimal")]
    hash: blake3::Hash,
    /// When it was made, in microseconds since the Unix epoch.
    created_us: u64,
    /// When it ends, likewise; null is never.
    expires_us: Option<u64>,
}

impl Token {
    /// Returns when it was made.
    pub fn created(&self) -> Time {
        Time(self.created_us)
    }

    /// Returns the day of its last use; `None` is never, or not since that is kept.
    pub fn last_used(&self, days: &Days) -> Option<Day> {
        days.of(number_of(&self.hash))
    }

    /// Returns when it ends; `None` is never.
    pub fn expires(&self) -> Option<Time> {
        self.expires_us.map(Time)
    }

    /// Tells whether it has ended.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }
}

mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &blake3::Hash, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&hash.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(text: D) -> Result<blake3::Hash, D::Error> {
        blake3::Hash::from_hex(String::deserialize(text)?).map_err(D::Error::custom)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    tokens: Vec<Token>,
}

/// The folder of what belongs to the remote side: mode 0700, the service's own.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Returns the folder at a path, which may not be there yet.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn make(&self) -> Result<(), Error> {
        if self.0.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed(&self.0))
    }

    /// Makes a token and returns it; it is not to be had again.
    ///
    /// # Errors
    /// The name is taken or is none, there are too many, or the file cannot be read or written.
    pub fn create(
        &self,
        name: &str,
        scope: Scope,
        now: Time,
        expires: Option<Time>,
    ) -> Result<String, Error> {
        check_name(name)?;
        let token = new_token().map_err(failed(&self.0))?;
        self.change(|tokens| {
            if tokens.iter().any(|known| known.name == name) {
                return Err(Error::TokenExists { name: name.to_owned() });
            }
            if tokens.len() >= TOKEN_COUNT_MAX {
                return Err(Error::TokensFull { limit: TOKEN_COUNT_MAX });
            }
            let hash = blake3::hash(token.as_bytes());
            let (created_us, expires_us) = (now.0, expires.map(|expires| expires.0));
            tokens.push(Token { name: name.to_owned(), scope, hash, created_us, expires_us });
            Ok(())
        })?;
        Ok(token)
    }

    /// Returns all tokens in the order of their names; expired ones too.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self) -> Result<Vec<Token>, Error> {
        read(&self.0.join(FILE))
    }

    /// Takes a token away.
    ///
    /// # Errors
    /// There is none of that name, or the file cannot be read or written.
    pub fn revoke(&self, name: &str) -> Result<(), Error> {
        self.change(|tokens| {
            let count = tokens.len();
            tokens.retain(|known| known.name != name);
            if tokens.len() == count { Err(Error::NoToken { name: name.to_owned() }) } else { Ok(()) }
        })
    }

    /// Changes the file as a whole or not at all; two that change it wait for each other.
    fn change(&self, act: impl FnOnce(&mut Vec<Token>) -> Result<(), Error>) -> Result<(), Error> {
        self.make()?;
        let _held = self.lock(LOCK)?;
        let mut tokens = self.list()?;
        act(&mut tokens)?;
        tokens.sort_by(|one, other| one.name.cmp(&other.name));
        let mut text = serde_json::to_vec_pretty(&Document { format: FORMAT, tokens })
            .expect("invariant: tokens have plain members");
        text.push(b'\n');
        write_secret(&self.0, FILE_BESIDE, FILE, &text)
    }

    /// Returns on which day each token was last used, as far as that is known.
    pub fn days(&self) -> Days {
        Days::read(self)
    }

    /// Waits until no other process holds a lock, and holds it until the returned file is dropped.
    pub(super) fn lock(&self, name: &str) -> Result<Flock<File>, Error> {
        let path = self.0.join(name);
        let lock = secret_file(&path).map_err(failed(&path))?;
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| failed(&path)(io::Error::from(error)))
    }

    /// Returns the path of a file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a file of the folder, up to [`FILE_BYTES_MAX`].
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(name))?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Puts a file that only its owner may read into the folder, as a whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        write_secret(&self.0, &format!("{name}.new"), name, bytes)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::RemoteFile { path, source }
}

/// Opens a file to be written that others cannot read, also when it was there with another mode.
fn secret_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn write_secret(folder: &Path, beside: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (beside, path) = (folder.join(beside), folder.join(name));
    let write = || -> io::Result<()> {
        let mut file = secret_file(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(failed(&path))
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_name = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_name { Ok(()) } else { Err(Error::TokenName { limit: NAME_LEN_MAX }) }
}

fn new_token() -> io::Result<String> {
    let random: [u8; 32] = random_bytes()?;
    // A hash writes itself in hexadecimal digits.
    Ok(format!("{PREFIX}{}", blake3::Hash::from_bytes(random).to_hex()))
}

/// Reads a file of tokens; without one there are none.
fn read(path: &Path) -> Result<Vec<Token>, Error> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(path)(error)),
    };
    let wrong = |what: String| Error::RemoteContent { path: path.to_owned(), what };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let document: Document =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("cannot be understood: {error}")))?;
    if document.format != FORMAT {
        return Err(wrong(format!("has format {}, not {FORMAT}", document.format)));
    }
    if document.tokens.len() > TOKEN_COUNT_MAX {
        return Err(wrong(format!("has more than {TOKEN_COUNT_MAX} tokens")));
    }
    Ok(document.tokens)
}

/// Reads one token that the administrator made; `None` when the file is not there.
fn read_secret(path: &Path) -> Result<Option<blake3::Hash>, Error> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(SECRET_LEN_MAX as u64 + 2).read_to_string(&mut text).map_err(failed(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let token = text.trim_end();
    let is_one = (SECRET_LEN_MIN..=SECRET_LEN_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_one {
        let what =
            format!("must hold one token of {SECRET_LEN_MIN} to {SECRET_LEN_MAX} visible ASCII characters");
        return Err(Error::RemoteContent { path: path.to_owned(), what });
    }
    Ok(Some(blake3::hash(token.as_bytes())))
}

/// Whoever is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Access {
    /// The token's name; `secret:read` and the like for those of the administrator.
    pub(in crate::api) name: Arc<str>,
    pub(in crate::api) scope: Scope,
    /// The first bytes of the token's hash.
    pub(super) number: u64,
}

impl Access {
    /// Returns by what shares of the token's holder are counted.
    pub(in crate::api) fn caller(&self) -> Caller {
        Caller::Token(self.number)
    }
}

/// Returns the token that a request shows; `None` unless it shows exactly one, as `Authorization: Bearer TOKEN`.
pub(in crate::api) fn bearer<'a>(authorizations: impl Iterator<Item = &'a [u8]>) -> Option<&'a str> {
    let mut given = authorizations;
    let value = str::from_utf8(given.next()?).ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_one = value.is_ascii() && scheme.eq_ignore_ascii_case("bearer") && given.next().is_none();
    is_one.then(|| token.trim())
}

fn number_of(hash: &blake3::Hash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) enum Stranger {
    /// No such token, or not any more.
    Unknown,
    /// The token of this name has ended.
    Expired(Arc<str>),
}

#[derive(Debug, Clone)]
struct Entry {
    access: Access,
    hash: blake3::Hash,
    expires: Option<Time>,
}

/// What tells one version of a file from another: device, inode, length, and when its content and it itself changed.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    let changed = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((found.dev(), found.ino(), found.len(), changed.0, changed.1))
}

/// The tokens as the service knows them; looks at each question whether their files have changed.
#[derive(Debug)]
pub(in crate::api) struct Known {
    files: Vec<PathBuf>,
    secrets_dir: Option<PathBuf>,
    read: Mutex<Snapshot>,
    uses: Arc<Uses>,
}

#[derive(Debug, Default)]
struct Snapshot {
    stamps: Vec<Stamp>,
    entries: Arc<Vec<Entry>>,
}

impl Known {
    /// Reads all tokens.
    pub(in crate::api) fn open(folder: &Folder, secrets_dir: Option<&Path>) -> Result<Self, Error> {
        let secrets = secrets_dir.into_iter().flat_map(|dir| SECRETS.map(|(name, _)| dir.join(name)));
        let files = std::iter::once(folder.path(FILE)).chain(secrets).collect();
        let secrets_dir = secrets_dir.map(Path::to_owned);
        let known = Self { files, secrets_dir, read: Mutex::default(), uses: Uses::new(folder.clone()) };
        let stamps = known.stamps();
        let entries = Arc::new(known.entries()?);
        *known.read.lock().unwrap_or_else(PoisonError::into_inner) = Snapshot { stamps, entries };
        Ok(known)
    }

    /// Returns how many there are.
    pub(in crate::api) fn count(&self) -> usize {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// Returns whose token this is, and notes the day. Takes as long for a wrong one as for a right one: all are compared with, each in
    /// constant time (`blake3::Hash`).
    pub(in crate::api) fn find(&self, token: &str, now: Time) -> Result<Access, Stranger> {
        let hash = blake3::hash(token.as_bytes());
        let mut found = None;
        for entry in self.current().iter() {
            if entry.hash == hash {
                found = Some(entry.clone());
            }
        }
        let entry = found.ok_or(Stranger::Unknown)?;
        match entry.expires {
            Some(expires) if expires <= now => Err(Stranger::Expired(entry.access.name)),
            _ => {
                self.uses.note(entry.access.number, now);
                Ok(entry.access)
            }
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.files.iter().map(|path| stamp(path)).collect()
    }

    /// Returns what the files say now. While one of them cannot be read, nobody is let in.
    fn current(&self) -> Arc<Vec<Entry>> {
        let stamps = self.stamps();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.stamps != stamps {
            let entries = match self.entries() {
                Ok(entries) => {
                    tracing::info!(tokens = entries.len(), "remote tokens were read anew");
                    entries
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    tracing::error!("{}: {error}{}", words::TOKENS_UNREADABLE, cause.unwrap_or_default());
                    Vec::new()
                }
            };
            *read = Snapshot { stamps, entries: Arc::new(entries) };
        }
        Arc::clone(&read.entries)
    }

    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let of_file = |token: Token| Entry {
            expires: token.expires(),
            access: Access { name: token.name.into(), scope: token.scope, number: number_of(&token.hash) },
            hash: token.hash,
        };
        let mut entries: Vec<Entry> = read(&self.files[0])?.into_iter().map(of_file).collect();
        for (name, scope) in SECRETS {
            let Some(dir) = &self.secrets_dir else { break };
            if let Some(hash) = read_secret(&dir.join(name))? {
                let number = number_of(&hash);
                let access = Access { name: format!("secret:{}", scope.word()).into(), scope, number };
                entries.push(Entry { access, hash, expires: None });
            }
        }
        Ok(entries)
    }
}
