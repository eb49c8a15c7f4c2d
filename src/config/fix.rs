//! Everything that is wrong and has one safe repair, mended: lines of files set aside, folders made, given to the
//! service and closed to others. Case data is never read or written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::aside::{Aside, Sheet};
use super::environment::Environment;
use super::error::{Error, Mistake};
use super::layers::{FILE_BYTES_MAX, Layers, Look, look};
use super::memory;
use super::places::{self, Places, Repair};
use super::repair;
use super::write::Held;

/// Most rounds of looking and setting aside; each takes at least one line away, and files have a few.
const ROUNDS_MAX: usize = 1_000;

/// Whether to do it or only to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Do it.
    Really,
    /// Change nothing.
    DryRun,
}

/// What was mended, or would be.
#[derive(Debug)]
pub struct Fixed {
    /// Files with lines that were set aside.
    pub files: Vec<FixedFile>,
    /// Commands of the shell that do what was done to folders.
    pub repairs: Vec<String>,
    /// What has no safe repair, or could not be mended by this user.
    pub left: Vec<Mistake>,
    /// What this user may not look at.
    pub unseen: Vec<PathBuf>,
}

/// One mended file.
#[derive(Debug)]
pub struct FixedFile {
    /// The file.
    pub path: PathBuf,
    /// Where the file as it was is kept; `None` of a dry run.
    pub kept: Option<PathBuf>,
    /// What was set aside.
    pub asides: Vec<Aside>,
    /// What changed, as a unified diff.
    pub diff: String,
}

/// Returns everything that is wrong: with files, variables and folders; and what this user may not look at.
pub fn check(environment: &Environment, layers: &Layers) -> (Result<super::Loaded, Error>, Vec<PathBuf>) {
    let mut found = look(environment, layers, &BTreeMap::new());
    let places = places::look(environment, &found.config(), &found.files);
    found.mistakes.extend(places.findings.into_iter().map(|finding| finding.mistake));
    found.mistakes.extend(memory::check(&found.config(), &found.values));
    (found.loaded(), places.unseen)
}

/// Mends. `time` is now, as RFC 3339: notes and the names of kept files have it.
///
/// # Errors
/// A file belongs to somebody else or cannot be replaced; what was mended before stays so.
pub fn fix(environment: &Environment, layers: &Layers, how: How, time: &str) -> Result<Fixed, Error> {
    let date = time.get(..10).unwrap_or(time);
    let stamp: String = time.chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    let (sheets, found) = set_aside(environment, layers);
    let mut files = Vec::new();
    for (path, (before, sheet)) in sheets {
        let mut kept = None;
        if how == How::Really {
            let held = Held::open(&path)?;
            if held.bytes() != before {
                return Err(Error::Held { path, waited_s: 0 });
            }
            kept = Some(held.keep(&format!(".before-fix-{stamp}Z"))?);
            held.replace(sheet.written(date).as_bytes())?;
        }
        let name = path.display().to_string();
        let diff = sheet.diff(&name, &name, date);
        files.push(FixedFile { path, kept, asides: sheet.asides(), diff });
    }
    let mut left = found.mistakes.clone();
    left.extend(memory::check(&found.config(), &found.values));
    let places = places::look(environment, &found.config(), &found.files);
    let (repairs, failed) = mend(&places, how);
    left.extend(failed);
    if how == How::Really {
        // What still is so was not mended, whatever was thought.
        let again = places::look(environment, &found.config(), &found.files);
        let is_told = |mistake: &Mistake| left.iter().any(|known| known.file == mistake.file);
        let more: Vec<_> = again.findings.into_iter().map(|finding| finding.mistake).collect();
        left.extend(more.into_iter().filter(|mistake| !is_told(mistake)).collect::<Vec<_>>());
    }
    Ok(Fixed { files, repairs, left, unseen: places.unseen })
}

/// Mends folders; returns what was done, and what is left with why.
fn mend(places: &Places, how: How) -> (Vec<String>, Vec<Mistake>) {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    for finding in &places.findings {
        let mended = match (finding.repair, how) {
            (Repair::None, _) => {
                left.push(finding.mistake.clone());
                continue;
            }
            (_, How::DryRun) => Ok(()),
            (_, How::Really) => repair::mend(finding, &places.account),
        };
        match mended {
            Ok(()) => {
                let words = repair::words(finding, &places.account);
                if !done.contains(&words) {
                    done.push(words);
                }
            }
            Err(error) => {
                let message = format!("{}; it could not be mended: {error}", finding.mistake.message);
                left.push(Mistake { message, hint: "use sudo".to_owned(), ..finding.mistake.clone() });
            }
        }
    }
    (done, left)
}

/// The files that have something set aside: their bytes, and their lines.
type Sheets = BTreeMap<PathBuf, (Vec<u8>, Sheet)>;

/// Sets lines aside until nothing is wrong with what is left; returns the files that have some, and the last look.
fn set_aside(environment: &Environment, layers: &Layers) -> (Sheets, Look) {
    let mut sheets: Sheets = BTreeMap::new();
    let mut replaced = BTreeMap::new();
    let mut found = look(environment, layers, &replaced);
    for _ in 0..ROUNDS_MAX {
        let mut is_new = false;
        for (path, mistakes) in by_file(&found, layers) {
            let Some((_, sheet)) = sheet_of(&mut sheets, &path) else { continue };
            // Reading the file set aside what is no text, which a look has not seen yet.
            let was_read = replaced.contains_key(&path);
            is_new |= sheet.set_aside(&mistakes) || !was_read;
            replaced.insert(path, sheet.text().into_bytes());
        }
        if !is_new {
            break;
        }
        found = look(environment, layers, &replaced);
    }
    sheets.retain(|_, (_, sheet)| !sheet.asides().is_empty());
    (sheets, found)
}

fn sheet_of<'a>(sheets: &'a mut Sheets, path: &Path) -> Option<&'a mut (Vec<u8>, Sheet)> {
    if !sheets.contains_key(path) {
        let length = fs::metadata(path).ok()?.len();
        let bytes = fs::read(path).ok().filter(|_| length <= FILE_BYTES_MAX)?;
        let sheet = Sheet::of(&bytes);
        sheets.insert(path.to_owned(), (bytes, sheet));
    }
    sheets.get_mut(path)
}

/// Returns the mistakes of each of the administrator's files: lines and reasons.
fn by_file(found: &Look, layers: &Layers) -> BTreeMap<PathBuf, Vec<(usize, String)>> {
    let mut files: BTreeMap<PathBuf, Vec<(usize, String)>> = BTreeMap::new();
    for mistake in found.mistakes.iter().filter(|mistake| mistake.line > 0) {
        // The package's own file is not the administrator's to change.
        let Some(path) = found.files.iter().find(|path| path.display().to_string() == mistake.file) else {
            continue;
        };
        if *path == layers.vendor {
            continue;
        }
        let reason = match mistake.hint.as_str() {
            "" => mistake.message.clone(),
            hint => format!("{} ({hint})", mistake.message),
        };
        files.entry(path.clone()).or_default().push((mistake.line, reason));
    }
    files
}
