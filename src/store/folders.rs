//! What lies in the folders of a store: segments, history files and snapshots, as whoever keeps them sees them. It looks,
//! and changes nothing but folders that are missing. Start at [`retention`], which says when each file goes.

use std::path::{Path, PathBuf};

use super::Options;
use super::archive;
use super::beside::{Beside, Depth};
use super::chain::Listing;
use super::disk::{Disk, DiskFile};
use super::error::Error;
use super::history::{self, HISTORY_FOLDER, History};
use super::identity;
use super::keeper::Now;
use super::open::JOURNAL_FOLDER;
use super::reader::{JournalReader, Span};
use super::retention::{
    BadFile, FileKind, FileRow, Files, HistoryFile, Rules, SegmentFile, SnapshotFile, Trim, Until, VoidFile,
    When,
};
use super::sealed::prepare_folder;
use super::segment;
use super::shelf::{is_gone, look_anew};
use super::snapshot::{self, SNAPSHOT_FOLDER, Snapshot};

/// Returns whether a history file or snapshot is what is wrong, for as long as it is the same file.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::SealedDamaged { .. } | Error::Format { .. } => true,
        Error::Io { what: "read", source, .. } => source.kind() != std::io::ErrorKind::NotFound,
        _ => false,
    }
}

pub(super) fn segment_file<D: Disk>(disk: &D, span: &Span) -> Result<SegmentFile, Error> {
    let header = &span.segment.header;
    Ok(SegmentFile {
        n: header.n,
        name: segment::name(header.first_seq(), header.n),
        bytes: span.bytes(disk)?,
        first_seq: header.first_seq(),
        last: Some((span.after.seq, span.after.time)),
    })
}

pub(super) fn history_file(about: &history::About, bytes: u64) -> HistoryFile {
    HistoryFile {
        name: about.name(),
        bytes,
        first_seq: about.first_seq(),
        last_seq: about.after.seq,
        generation: about.generation,
        before_hash: about.before.hash,
        after_hash: about.after.hash,
        sealed: about.sealed,
    }
}

/// Makes the folders where they are missing, and looks at what lies in them.
pub(super) fn look<D: Disk>(disk: &D, reader: &JournalReader<D>, options: &Options) -> Result<Files, Error> {
    for folder in [HISTORY_FOLDER, SNAPSHOT_FOLDER] {
        prepare_folder(disk, &options.state_dir.join(folder))?;
    }
    let mut files = look_at_sealed(disk, options)?;
    let numbers = reader.segment_numbers();
    let most = numbers.last().copied();
    for (n, name) in Listing::read(disk, options)?.names {
        // One that is newer than the head is being made just now.
        if numbers.contains(&n) || most.is_none_or(|most| n >= most) {
            continue;
        }
        let bytes = file_bytes(disk, &options.state_dir.join(JOURNAL_FOLDER).join(&name))?;
        files.voids.push(VoidFile { n, name, bytes });
    }
    Ok(files)
}

/// Looks at history and snapshots, and changes nothing.
pub(super) fn look_at_sealed<D: Disk>(disk: &D, options: &Options) -> Result<Files, Error> {
    let mut files = Files::default();
    let folder = options.state_dir.join(HISTORY_FOLDER);
    for (first_seq, mut generations) in history::list(disk, &folder)? {
        generations.sort_unstable();
        for name in generations.into_iter().map(|generation| history::name(first_seq, generation)) {
            match History::open(disk, &folder, &name) {
                Ok(file) => files.history.push(history_file(&file.about, file.sealed.bytes)),
                Err(error) => bad(disk, &mut files, FileKind::History, &folder, name, error)?,
            }
        }
    }
    let folder = options.state_dir.join(SNAPSHOT_FOLDER);
    for seq in snapshot::list(disk, &folder)? {
        let name = snapshot::name(seq);
        match Snapshot::open(disk, &folder, seq) {
            Ok(file) => {
                let (bytes, sealed) = (file.sealed.bytes, file.about.sealed);
                files.snapshots.push(SnapshotFile { name, bytes, seq, sealed });
            }
            Err(error) => bad(disk, &mut files, FileKind::Snapshot, &folder, name, error)?,
        }
    }
    Ok(files)
}

/// Returns which files lie in a store and when each goes, without changing anything, beside a running service or
/// without one. Where a grace began in another run of the machine, it is counted from now.
///
/// # Errors
/// The folders cannot be read, or the journal is damaged.
pub fn retention<D: Disk>(disk: &D, options: &Options, now: Now, trim: Trim) -> Result<Vec<FileRow>, Error> {
    look_anew(|rows: &Result<_, _>| rows.as_ref().err(), || sheet(disk, options, now, trim))
}

fn sheet<D: Disk>(disk: &D, options: &Options, now: Now, trim: Trim) -> Result<Vec<FileRow>, Error> {
    let listing = Listing::read(disk, options)?;
    let Some(format) = identity::format(disk, options)? else { return Ok(Vec::new()) };
    let mut files = look_at_sealed(disk, options)?;
    let covered = Beside::read(disk, &options.state_dir, Depth::Headers)?.covered();
    let chain = listing.chain(disk, options, &covered, listing.highest_n())?;
    let journal = options.state_dir.join(JOURNAL_FOLDER);
    for (n, name) in &listing.names {
        let bytes = file_bytes(disk, &journal.join(name))?;
        let Some(place) = chain.iter().position(|segment| segment.header.n == *n) else {
            files.voids.push(VoidFile { n: *n, name: name.clone(), bytes });
            continue;
        };
        let last = chain.get(place + 1).map(|next| (next.header.before.seq, next.header.before.time));
        let first_seq = chain[place].header.first_seq();
        files.segments.push(SegmentFile { n: *n, name: name.clone(), bytes, first_seq, last });
    }
    files.segments.sort_by_key(|segment| segment.n);
    let mut rows = files.sheet(&Rules::new(options, format, now.moment, now, trim));
    for id in archive::list(disk, &options.state_dir)? {
        let bytes = file_bytes(disk, &id.path(&options.state_dir))?;
        let (kind, when) = (FileKind::Archive, When::Not(Until::Restored));
        rows.push(FileRow { kind, name: id.to_string(), bytes, when });
    }
    Ok(rows)
}

/// A damaged file covers nothing.
fn bad<D: Disk>(
    disk: &D,
    files: &mut Files,
    kind: FileKind,
    folder: &Path,
    name: String,
    error: Error,
) -> Result<(), Error> {
    match error {
        error if is_gone(&error) => Ok(()),
        error if is_damage(&error) => {
            let bytes = file_bytes(disk, &folder.join(&name))?;
            files.bad.push(BadFile { kind, name, bytes, why: error.to_string() });
            Ok(())
        }
        error => Err(error),
    }
}

pub(super) fn file_bytes<D: Disk>(disk: &D, path: &PathBuf) -> Result<u64, Error> {
    match disk.open(path) {
        // A running service may have renamed or removed it just now.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        opened => opened.and_then(|file| file.length()).map_err(Error::io("look at", path)),
    }
}
