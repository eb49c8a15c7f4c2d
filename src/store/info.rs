//! What lies where: files, sizes and positions, for people who look at a store.

use super::Options;
use super::beside::Beside;
use super::chain::{Listing, find_end};
use super::disk::{Disk, DiskFile};
use super::entry::{Positions, StoreId};
use super::error::Error;
use super::open::JOURNAL_FOLDER;
use super::shelf::look_anew;
use super::tables::{Meta, Sums, Tables};
use crate::id::{PARTITION_COUNT, Time};

/// One file of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its first frame.
    pub first_seq: u64,
    /// Whether it is not the file that was written, but a copy.
    pub is_copy: bool,
}

/// What lies in a store.
#[derive(Debug)]
pub struct Info {
    /// The store; `None` where there is none.
    pub store: Option<StoreId>,
    /// The segments that hold the journal, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// Segments that are void, because later ones hold what they held.
    pub void_segments: u64,
    /// Bytes of all files in the journal folder.
    pub journal_bytes: u64,
    /// The last good frame.
    pub seq: u64,
    /// Its time.
    pub time: Time,
    /// The last entry of each partition.
    pub positions: Positions,
    /// The last frame that history or a snapshot is of: one behind the last good frame tells that the journal lost its
    /// end, unless it is a copy.
    pub beside_seq: u64,
    /// Up to where the environment has folded.
    pub environment: Option<Meta>,
    /// Its rows by table and partition.
    pub sums: Sums,
    /// Bytes that may still be written to the state folder.
    pub free_bytes: u64,
    /// Why the journal cannot be opened as it is.
    pub damage: Option<Error>,
}

/// Looks at a store without writing; `tables` is its working environment, if there is one. When a running service takes a
/// file away that was about to be looked at, it looks anew.
pub fn info<D: Disk, T: Tables>(disk: &D, tables: Option<&T>, options: &Options) -> Result<Info, Error> {
    look_anew(wrong, || look(disk, tables, options))
}

fn wrong(info: &Result<Info, Error>) -> Option<&Error> {
    match info {
        Ok(info) => info.damage.as_ref(),
        Err(error) => Some(error),
    }
}

fn look<D: Disk, T: Tables>(disk: &D, tables: Option<&T>, options: &Options) -> Result<Info, Error> {
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    let mut out = Info {
        store: None,
        segments: Vec::new(),
        void_segments: 0,
        journal_bytes: 0,
        seq: 0,
        time: Time::default(),
        positions: [0; PARTITION_COUNT],
        beside_seq: 0,
        environment: None,
        sums: Sums::new(),
        free_bytes: disk.free_bytes(&options.state_dir).map_err(Error::io("look at", &options.state_dir))?,
        damage: None,
    };
    if let Some(tables) = tables {
        out.environment = tables.meta()?;
        out.sums = tables.sums()?;
    }
    // Before the journal: what a running service seals is of frames that are there already.
    let beside = Beside::of_format(disk, options)?;
    out.beside_seq = beside.last_seq();
    let listing = Listing::read(disk, options)?;
    for name in listing.names.values().chain(&listing.temporary) {
        out.journal_bytes += file_bytes(disk, &folder.join(name))?;
    }
    if listing.names.is_empty() {
        return Ok(out);
    }
    let segments = match listing.chain(disk, options, &beside.covered(), listing.highest_n()) {
        Ok(segments) => segments,
        Err(error) => {
            out.damage = Some(error);
            return Ok(out);
        }
    };
    out.void_segments = (listing.names.len() - segments.len()) as u64;
    for segment in &segments {
        out.store = Some(segment.header.store);
        out.segments.push(SegmentInfo {
            name: segment
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            bytes: file_bytes(disk, &segment.path)?,
            first_seq: segment.header.first_seq(),
            is_copy: segment.is_copy,
        });
    }
    match find_end(disk, segments) {
        Ok(found) => {
            let end = found.end;
            (out.seq, out.time, out.positions) = (end.seq, end.time, end.positions);
        }
        Err(error) => out.damage = Some(error),
    }
    Ok(out)
}

fn file_bytes<D: Disk>(disk: &D, path: &std::path::Path) -> Result<u64, Error> {
    match disk.open(path) {
        // A running service may have renamed it just now.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        opened => opened.and_then(|file| file.length()).map_err(Error::io("look at", path)),
    }
}
