//! A resting store as files: what kinds there are, flipping a byte, and putting everything back.
//!
//! A service never writes to a state file of an earlier one, so these are put back as the very same files, by links:
//! a copy would be treated as one.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Flip;
use super::map::{self, Use};
use super::rows;
use crate::support::service::Place;

pub(crate) fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Journal,
    History,
    Snapshot,
    Identity,
    Environment,
    /// Who reads the environment: only what happens now.
    Readers,
    /// How the runs before ended.
    Marker,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        match (ending(name), name) {
            ("jnl" | "tmp", _) => Some(Self::Journal),
            ("his", _) => Some(Self::History),
            ("snp", _) => Some(Self::Snapshot),
            (_, "store") => Some(Self::Identity),
            (_, "live.mdb") => Some(Self::Environment),
            (_, "live.mdb-lock") => Some(Self::Readers),
            (_, "starts") => Some(Self::Marker),
            // Empty: only whether it is locked counts.
            (_, "lock") => None,
            _ => panic!("{name}: what kind of file is this?"),
        }
    }

    /// Returns whether a finding in it names the file; of the environment it names the table.
    pub(super) fn is_named_by_file(self) -> bool {
        !matches!(self, Self::Environment | Self::Readers | Self::Marker)
    }

    /// Returns what a byte of a file is for.
    pub(super) fn use_of(self, rest: &Rest, file: usize, offset: usize) -> Use {
        let file = &rest.files[file];
        match self {
            // Whatever the last two say, all rows are there.
            Self::Environment | Self::Readers | Self::Marker => Use::Unknown,
            _ if file.last.contains(&offset) => Use::Last,
            _ if file.used.iter().any(|range| range.contains(&offset)) => Use::Used,
            _ => Use::Unused,
        }
    }
}

/// A file as it is at rest.
#[derive(Debug)]
pub(crate) struct Resting {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) path: PathBuf,
    /// Where the file itself stays.
    kept: PathBuf,
    used: Vec<Range<usize>>,
    /// The last append.
    last: Range<usize>,
}

/// A store at rest.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) files: Vec<Resting>,
    pub(super) rows: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

impl Rest {
    pub(super) fn new(place: &Place) -> Self {
        let (state, cache) = (place.path("state"), place.path("cache"));
        // A clean end takes it away; what a run leaves that was ended otherwise may be damaged too.
        fs::write(cache.join("starts"), "settled\n").unwrap();
        let kept = place.path("kept");
        fs::create_dir(&kept).unwrap();
        let mut files = Vec::new();
        for folder in [&state, &cache] {
            for path in files_under(folder) {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let Some(kind) = Kind::of(&name) else { continue };
                let kept = kept.join(files.len().to_string());
                fs::hard_link(&path, &kept).unwrap();
                let bytes = fs::read(&path).unwrap();
                files.push(Resting { kind, name, bytes, path, kept, used: Vec::new(), last: 0..0 });
            }
        }
        let segments: Vec<map::Segment> = files
            .iter()
            .filter(|file| ending(&file.name) == "jnl")
            .map(|file| map::Segment::read(&file.name, &file.bytes))
            .collect();
        for file in &mut files {
            (file.used, file.last) = map::used(file.kind, &file.name, &file.bytes, &segments);
        }
        let rows = place.path("rows");
        rows::write(&cache, &rows);
        Self { files, rows, state, cache }
    }

    pub(super) fn kinds(&self, is_wanted: impl Fn(Kind) -> bool) -> Vec<Kind> {
        let mut kinds: Vec<Kind> =
            self.files.iter().map(|file| file.kind).filter(|&kind| is_wanted(kind)).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<usize> {
        let is_of = |&index: &usize| self.files[index].kind == kind && !self.files[index].bytes.is_empty();
        (0..self.files.len()).filter(is_of).collect()
    }

    pub(crate) fn used(&self, file: usize) -> &[Range<usize>] {
        &self.files[file].used
    }

    pub(super) fn cache(&self) -> &Path {
        &self.cache
    }

    pub(super) fn apply(&self, flip: &Flip) {
        self.write(flip, self.files[flip.file].bytes[flip.offset] ^ flip.mask);
    }

    pub(super) fn undo(&self, flip: &Flip) {
        self.write(flip, self.files[flip.file].bytes[flip.offset]);
    }

    fn write(&self, flip: &Flip, byte: u8) {
        let file = File::options().write(true).open(&self.files[flip.file].path).unwrap();
        file.write_all_at(&[byte], u64::try_from(flip.offset).unwrap()).unwrap();
    }

    /// Puts everything back as it was at rest.
    pub(crate) fn reset(&self) {
        for path in files_under(&self.state).into_iter().chain(files_under(&self.cache)) {
            fs::remove_file(path).unwrap();
        }
        for file in &self.files {
            // Only the one flipped byte may have changed, and only in place.
            let stands = File::options().write(true).open(&file.kept).unwrap();
            stands.set_len(u64::try_from(file.bytes.len()).unwrap()).unwrap();
            stands.write_all_at(&file.bytes, 0).unwrap();
            fs::hard_link(&file.kept, &file.path).unwrap();
        }
    }
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
