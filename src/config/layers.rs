//! Which files are read, in which order, and what comes out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::{self, Error, Mistake};
use super::file::{check, mistake, read};
use super::keys::{Config, KEYS};
use super::value::Value;
use crate::engine::memory::Bound;

/// Largest file that is read; ours have a few hundred bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most files in the folder knhk.toml.d.
pub const FOLDER_FILE_COUNT_MAX: usize = 256;

/// Where the files lie. A later layer overrides an earlier one, key by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The distributor's file.
    pub vendor: PathBuf,
    /// The administrator's file.
    pub site: PathBuf,
    /// The administrator's folder; its *.toml files are read in the order of their names.
    pub folder: PathBuf,
}

impl Layers {
    /// Returns the places on an installed system.
    pub fn system() -> Self {
        Self {
            vendor: "/usr/lib/knhk/knhk.toml".into(),
            site: "/etc/knhk/knhk.toml".into(),
            folder: "/etc/knhk/knhk.toml.d".into(),
        }
    }

    /// Returns the file that commands change.
    pub fn changed<'a>(&'a self, environment: &'a Environment) -> &'a Path {
        environment.config.as_deref().unwrap_or(&self.site)
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program itself.
    BuiltIn,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(&'static str),
    /// The program itself, lowered to what this machine has memory for.
    Machine,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Machine => f.write_str("default for this machine"),
        }
    }
}

/// A configuration and how it came about.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Value and origin of every key, in the order of [`KEYS`].
    pub values: Vec<(Value, Origin)>,
    /// The files that were there and read.
    pub files: Vec<PathBuf>,
}

/// Reads all layers. Reports every mistake of every file and variable together.
pub fn load(environment: &Environment, layers: &Layers) -> Result<Loaded, Error> {
    look(environment, layers, &BTreeMap::new()).loaded()
}

/// What all layers say, whatever is wrong with them.
#[derive(Debug)]
pub(super) struct Look {
    /// Value and origin of every key, in the order of [`KEYS`]; those with a mistake are left out.
    pub(super) values: Vec<(Value, Origin)>,
    pub(super) files: Vec<PathBuf>,
    pub(super) mistakes: Vec<Mistake>,
    /// What the service may take.
    pub(super) memory: Option<Bound>,
}

impl Look {
    /// Returns the configuration of the values that are good.
    pub(super) fn config(&self) -> Config {
        let values: Vec<_> = self.values.iter().map(|(value, _)| value.clone()).collect();
        Config::from_values(&values, self.memory.clone())
    }

    /// Returns the configuration, if nothing is wrong with it.
    pub(super) fn loaded(self) -> Result<Loaded, Error> {
        if !self.mistakes.is_empty() {
            return Err(Error::Invalid { mistakes: self.mistakes, files: self.files });
        }
        Ok(Loaded { config: self.config(), values: self.values, files: self.files })
    }
}

/// Reads all layers as if the files in `replaced` held those bytes.
pub(super) fn look(
    environment: &Environment,
    layers: &Layers,
    replaced: &BTreeMap<PathBuf, Vec<u8>>,
) -> Look {
    let mut reading = Reading {
        replaced,
        values: KEYS.iter().map(|key| (key.default.clone(), Origin::BuiltIn)).collect(),
        files: Vec::new(),
        mistakes: Vec::new(),
    };
    reading.file(&layers.vendor, Absent::Fine);
    if let Some(path) = &environment.config {
        reading.file(path, Absent::Mistake);
    } else {
        reading.file(&layers.site, Absent::Fine);
        for path in reading.folder(&layers.folder) {
            reading.file(&path, Absent::Fine);
        }
    }
    if let Some(level) = &environment.log {
        reading.variable("KNHK_LOG", "log_level", level);
    }
    reading.finish()
}

/// What it means when a file is not there.
#[derive(Clone, Copy)]
enum Absent {
    Fine,
    Mistake,
}

struct Reading<'a> {
    replaced: &'a BTreeMap<PathBuf, Vec<u8>>,
    values: Vec<(Value, Origin)>,
    files: Vec<PathBuf>,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, absent: Absent) {
        let name = path.display().to_string();
        let replaced = self.replaced.get(path).cloned();
        let bytes = match replaced.map_or_else(|| bytes_of(path), Ok) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound && matches!(absent, Absent::Fine) => return,
            Err(error) => {
                self.mistakes.push(unreadable(&name, &error));
                return;
            }
        };
        self.files.push(path.to_owned());
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let message = format!("is larger than {FILE_BYTES_MAX} bytes");
            self.mistakes.push(mistake(&name, 0, error::SIZE, message, "a configuration has a few lines"));
            return;
        }
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(fault) => {
                let line = bytes[..fault.valid_up_to()].split(|&byte| byte == b'\n').count();
                let message = "is not UTF-8".to_owned();
                self.mistakes.push(mistake(&name, line, error::SYNTAX, message, "save the file as UTF-8"));
                return;
            }
        };
        let (settings, mistakes) = read(&name, text);
        self.mistakes.extend(mistakes);
        for setting in settings {
            let origin = Origin::File { path: path.to_owned(), line: setting.line };
            self.values[setting.key_index] = (setting.value, origin);
        }
    }

    fn folder(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return paths,
            Err(error) => {
                self.mistakes.push(unreadable(&folder.display().to_string(), &error));
                return paths;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                paths.push(path);
            }
            if paths.len() > FOLDER_FILE_COUNT_MAX {
                let message = format!("holds more than {FOLDER_FILE_COUNT_MAX} files");
                self.mistakes.push(mistake(&folder.display().to_string(), 0, error::SIZE, message, ""));
                return Vec::new();
            }
        }
        paths.sort();
        paths
    }

    fn variable(&mut self, variable: &'static str, name: &str, given: &str) {
        let index = index_of(name);
        let value = Value::Text(Cow::Owned(given.to_owned()));
        match check(&KEYS[index], &value) {
            Ok(()) => self.values[index] = (value, Origin::Variable(variable)),
            Err((code, message)) => {
                self.mistakes.push(mistake(&format!("${variable}"), 0, code, message, ""));
            }
        }
    }

    /// Checks what only whole configurations can break.
    fn finish(mut self) -> Look {
        for (smaller, larger, share) in
            [("body_bytes_max", "frame_bytes_max", 1), ("frame_bytes_max", "segment_bytes", 2)]
        {
            let (Value::Integer(small), Value::Integer(large)) =
                (&self.values[index_of(smaller)].0, &self.values[index_of(larger)].0)
            else {
                unreachable!("invariant: sizes are numbers");
            };
            if small.saturating_mul(share) > *large {
                let (file, line) = self.place_of(smaller, larger);
                let message = match share {
                    1 => format!("{smaller} = {small} is larger than {larger} = {large}"),
                    _ => format!("{smaller} = {small} is larger than half of {larger} = {large}"),
                };
                self.mistakes.push(mistake(&file, line, error::TOGETHER, message, ""));
            }
        }
        self.check_remote();
        let memory = Bound::of_this_process();
        super::memory::scale(&mut self.values, memory.as_ref());
        Look { values: self.values, files: self.files, mistakes: self.mistakes, memory }
    }

    /// Checks that what protects the remote side goes together.
    fn check_remote(&mut self) {
        let is_set = |reading: &Self, name| match &reading.values[index_of(name)].0 {
            Value::Text(text) => !text.is_empty(),
            Value::Flag(flag) => *flag,
            Value::Integer(_) => true,
        };
        for (one, other) in [("remote_certificate", "remote_key"), ("remote_key", "remote_certificate")] {
            if is_set(self, one) && !is_set(self, other) {
                let (file, line) = self.place_of(one, other);
                let message = format!("{one} is set and {other} is not");
                self.mistakes.push(mistake(&file, line, error::TOGETHER, message, "set both or neither"));
            }
        }
        if is_set(self, "remote_plain_http") && is_set(self, "remote_certificate") {
            let (file, line) = self.place_of("remote_plain_http", "remote_certificate");
            let message = "remote_plain_http goes without the certificate that remote_certificate names";
            self.mistakes.push(mistake(
                &file,
                line,
                error::TOGETHER,
                message.to_owned(),
                "unset one of them",
            ));
        }
    }

    /// Returns the place of the first of two keys that a file sets; at least one is, or the pair is good.
    fn place_of(&self, first: &str, second: &str) -> (String, usize) {
        for name in [first, second] {
            if let Origin::File { path, line } = &self.values[index_of(name)].1 {
                return (path.display().to_string(), *line);
            }
        }
        ("built-in".to_owned(), 0)
    }
}

fn index_of(name: &str) -> usize {
    KEYS.iter().position(|key| key.name == name).expect("invariant: the key is in the table")
}

/// Only root and the service's group may read what an installation puts under /etc.
fn unreadable(path: &str, error: &std::io::Error) -> Mistake {
    let hint =
        if error.kind() == ErrorKind::PermissionDenied { "use sudo, or join the group knhk" } else { "" };
    mistake(path, 0, error::UNREADABLE, format!("could not be read: {error}"), hint)
}

/// Returns at most one byte more than the limit.
fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    // A pipe would wait for a writer for ever, and a folder opens well but does not read.
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
