//! One key of the administrator's file, changed by a command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::edit::{self, Edited};
use super::environment::Environment;
use super::error::{self, Error};
use super::file::mistake;
use super::keys::{KEYS, Key};
use super::layers::{Layers, Loaded, Look, Origin, look};
use super::memory;
use super::nearest::nearest;
use super::value::Value;
use super::write::Held;

/// What a change came to.
#[derive(Debug)]
pub struct Changed {
    /// The key.
    pub key: &'static Key,
    /// The value that the files gave before, and from where.
    pub before: (Value, Origin),
    /// The file that was changed, or would have been.
    pub file: PathBuf,
    /// The line where the key stands, or stood; 0 when it stands nowhere.
    pub line: usize,
    /// Whether the file is another one now.
    pub is_changed: bool,
    /// The value that the file sets now, or else the one that the files give.
    pub wanted: Value,
    /// What gives the value in place of the file that sets it: a later layer.
    pub overridden_by: Option<Origin>,
    /// The configuration now.
    pub loaded: Loaded,
}

impl Changed {
    /// Returns the value that the files give now, and from where.
    pub fn now(&self) -> &(Value, Origin) {
        &self.loaded.values[place_of(self.key)]
    }
}

/// Sets a key in the administrator's file to the value that `words` mean, on stable storage before it returns.
///
/// # Errors
/// There is no such key, the value breaks its rule, the whole would hold a mistake, or the file cannot be replaced;
/// then nothing has changed.
pub fn set(environment: &Environment, layers: &Layers, name: &str, words: &str) -> Result<Changed, Error> {
    let key = key_of(name)?;
    let value = edit::value_of(key, words).map_err(|(code, message)| Error::Value { code, message })?;
    let mut changed = change(environment, layers, key, |text| Some(edit::set(text, key, &value)))?;
    changed.wanted = value;
    let origin = &changed.now().1;
    let is_here = matches!(origin, Origin::File { path, .. } if *path == changed.file);
    changed.overridden_by = (!is_here).then(|| origin.clone());
    Ok(changed)
}

/// Takes a key out of the administrator's file, so that an earlier layer gives its value.
///
/// # Errors
/// As of [`set`].
pub fn unset(environment: &Environment, layers: &Layers, name: &str) -> Result<Changed, Error> {
    let key = key_of(name)?;
    change(environment, layers, key, |text| edit::unset(text, key))
}

fn key_of(name: &str) -> Result<&'static Key, Error> {
    edit::key_of(name).ok_or_else(|| Error::NoKey {
        name: name.to_owned(),
        nearest: nearest(name, KEYS.iter().map(|key| key.name)),
    })
}

fn place_of(key: &Key) -> usize {
    KEYS.iter().position(|known| known.name == key.name).expect("invariant: the key is in the table")
}

fn change(
    environment: &Environment,
    layers: &Layers,
    key: &'static Key,
    edit: impl FnOnce(&str) -> Option<Edited>,
) -> Result<Changed, Error> {
    let file = layers.changed(environment).to_owned();
    let held = Held::open(&file)?;
    let seen = |bytes: &[u8]| look(environment, layers, &BTreeMap::from([(file.clone(), bytes.to_vec())]));
    let found = seen(held.bytes());
    let before = found.values[place_of(key)].clone();
    let config_before = found.config();
    let text = std::str::from_utf8(held.bytes()).map_err(|_| invalid(&file, found))?;
    let edited = edit(text);
    let line = edited.as_ref().map_or(0, |edited| edited.line);
    let is_changed = edited.as_ref().is_some_and(|edited| edited.text != text);
    let loaded = seen(edited.as_ref().map_or(held.bytes(), |edited| edited.text.as_bytes())).loaded()?;
    // A step down is taken also when it is not enough.
    if memory::excess_bytes(&loaded.config) > memory::excess_bytes(&config_before) {
        memory::check_memory(&loaded)?;
    }
    if let Some(edited) = edited.filter(|_| is_changed) {
        held.replace(edited.text.as_bytes())?;
    }
    let wanted = loaded.values[place_of(key)].0.clone();
    Ok(Changed { key, before, file, line, is_changed, wanted, overridden_by: None, loaded })
}

/// Returns what is wrong with a file that is no text.
fn invalid(file: &Path, found: Look) -> Error {
    found.loaded().err().unwrap_or_else(|| {
        let what = mistake(&file.display().to_string(), 0, error::SYNTAX, "is not UTF-8".to_owned(), "");
        Error::Invalid { mistakes: vec![what], files: Vec::new() }
    })
}
