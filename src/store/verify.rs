//! Verification: whether everything on disk is what was written, without writing anything.
//!
//! It works beside a running service, whose unfinished last frame it leaves out, and on a store that cannot be opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::archive::{self, Archive};
use super::beside::{Beside, Seams};
use super::chain::{Listing, walk_all};
use super::compare::{self, Pass};
use super::cut::{Heads, Where};
use super::disk::Disk;
use super::error::Error;
use super::follower::{Fold, check_sums};
use super::frame::Decoded;
use super::history::{HISTORY_FOLDER, History};
use super::open::JOURNAL_FOLDER;
use super::segment::Segment;
use super::shelf::{is_gone, look_anew};
use super::snapshot::{self, SNAPSHOT_FOLDER, Snapshot};
use super::tables::{Meta, TABLE_COUNT_MAX, Table, Tables};
use super::{Options, identity};

/// How often sums are counted anew because a checkpoint came in between.
const COUNT_MAX: u32 = 5;
/// What a note begins with that tells where a copy is incomplete.
const LEFT_OUT: &str = "an opening of this copy leaves out what lies behind";

/// How much is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Headers, stamps, the journal's end, and the sums of the environment.
    Quick,
    /// Every byte against its checksum, every frame against the one before, and that files lead on from each other:
    /// whether a copy is whole. Nothing is folded, so it takes the time of reading.
    Whole,
    /// Every frame and chain, and every row of the environment against what folding the journal gives.
    Full,
}

/// Which share of a verification is done: several at a time, each with a thread of its own, are sooner done with all of
/// it. What has to be looked at once is the first one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: usize,
    /// How many there are.
    pub count: usize,
    /// Most rows of the environment that it folds and compares at once, if partitions are small enough. What is more takes
    /// another pass over all files.
    pub rows_max: u64,
}

/// Rows that are folded and compared at once where nobody says how many there is memory for.
pub const PASS_ROWS: u64 = 2_000_000;

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { number: 0, count: 1, rows_max: PASS_ROWS };
}

/// What was verified, and what is wrong.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What is wrong; nothing when all is well.
    pub findings: Vec<Error>,
    /// What is worth knowing and not wrong, one sentence each.
    pub notes: Vec<String>,
    /// Segments that hold the journal.
    pub segments: u64,
    /// Frames looked at.
    pub frames: u64,
    /// Entries looked at.
    pub entries: u64,
    /// History files, snapshots and archives looked at.
    pub files: u64,
    /// Cases in archives.
    pub archived_cases: u64,
    /// Entries of history that were folded.
    pub history_entries: u64,
    /// Rows of the environment looked at.
    pub rows: u64,
    /// The last good frame.
    pub seq: u64,
    /// Whether something that is no frame lies behind it.
    torn: bool,
}

impl VerifyReport {
    /// Adds what another part of the same verification found.
    pub fn join(&mut self, other: Self) {
        for finding in other.findings {
            let text = finding.to_string();
            if !self.findings.iter().any(|known| known.to_string() == text) {
                self.findings.push(finding);
            }
        }
        for note in other.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.history_entries += other.history_entries;
        self.rows += other.rows;
    }
}

/// Verifies a part of a store; `tables` is its working environment, if there is one. `progress` hears the number of each
/// frame. When a running service takes a file away that was about to be read, it begins anew.
pub fn verify<D: Disk, T: Tables>(
    disk: &D,
    tables: Option<&T>,
    fold: Arc<dyn Fold>,
    options: &Options,
    level: Level,
    part: Part,
    progress: &mut dyn FnMut(u64),
) -> VerifyReport {
    look_anew(
        |report: &VerifyReport| report.findings.iter().find(|finding| is_gone(finding)),
        || verify_once(disk, tables, &fold, options, level, part, progress),
    )
}

fn verify_once<D: Disk, T: Tables>(
    disk: &D,
    tables: Option<&T>,
    fold: &Arc<dyn Fold>,
    options: &Options,
    level: Level,
    part: Part,
    progress: &mut dyn FnMut(u64),
) -> VerifyReport {
    let mut report = VerifyReport::default();
    // Read before the journal is: what the environment holds was durable then.
    let meta = tables.map(Tables::meta).transpose();
    let mut ground = match Ground::find_again(disk, options, (level, part), &mut report) {
        Ok(ground) => ground,
        Err(error) => {
            report.findings.push(error);
            return report;
        }
    };
    if ground.segments.is_empty() {
        report.notes.push("there is no journal here, and never was".to_owned());
        return report;
    }
    report.findings.extend(ground.beside.bad.drain(..).map(|bad| bad.error));
    if let Some(tables) = tables.filter(|_| part.number == 0) {
        verify_sums(tables, &mut report);
    }
    let meta = meta.map(Option::flatten).and_then(|meta| check_store(meta, &ground.segments));
    let environment = match meta {
        Ok(wanted) => (tables, wanted),
        Err(error) => {
            report.findings.push(error);
            (None, None)
        }
    };
    let done = match level {
        Level::Quick => verify_end(disk, &ground.segments, &mut report),
        Level::Whole | Level::Full => {
            verify_all(disk, options, &mut ground, environment, fold, &mut report, progress)
        }
    };
    match done {
        // An opening goes on before it.
        Err(error @ Error::DamagedCopy { .. }) if report.seq > 0 => {
            report.notes.push(format!("{LEFT_OUT}: {error}"));
        }
        Err(error) => report.findings.push(error),
        Ok(()) => {}
    }
    report
}

/// What a verification stands on.
struct Ground {
    level: Level,
    part: Part,
    segments: Vec<Segment>,
    beside: Beside,
    /// Whether the newest segment is a copy.
    is_copy: bool,
    /// Whether something of a copy is left out.
    is_short: bool,
}

impl Ground {
    /// Finds it; what a running service removes meanwhile makes it begin anew.
    fn find_again<D: Disk>(
        disk: &D,
        options: &Options,
        much: (Level, Part),
        report: &mut VerifyReport,
    ) -> Result<Self, Error> {
        let (ground, mut found) = look_anew(
            |(ground, _): &(Result<Self, Error>, VerifyReport)| ground.as_ref().err(),
            || {
                let mut found = VerifyReport::default();
                (Self::find(disk, options, much, &mut found), found)
            },
        );
        report.notes.append(&mut found.notes);
        report.segments = found.segments;
        ground
    }

    fn find<D: Disk>(
        disk: &D,
        options: &Options,
        (level, part): (Level, Part),
        report: &mut VerifyReport,
    ) -> Result<Self, Error> {
        let folder = options.state_dir.join(JOURNAL_FOLDER);
        let (segments, beside) = (Vec::new(), Beside::default());
        let mut out = Self { level, part, segments, beside, is_copy: false, is_short: false };
        if !disk.exists(&options.state_dir).map_err(Error::io("look for", &options.state_dir))? {
            return Ok(out);
        }
        // Before the journal: what a running service seals ends where segments end that are there already.
        out.beside = Beside::of_format(disk, options)?;
        let listing = Listing::read(disk, options)?;
        let known = identity::read(disk, options)?;
        let Some(head) = listing.head(disk, options)? else {
            return match known {
                Some(_) => Err(Error::JournalMissing { path: folder }),
                None => Ok(out),
            };
        };
        let covered = out.beside.covered();
        out.is_copy = head.is_copy;
        out.segments = if head.is_copy {
            let mut heads = Heads::new(&listing, &covered, Where::InCopies);
            let segments = heads.next(disk, options)?;
            out.is_short = heads.damage.is_some();
            match (segments, heads.damage) {
                (Some(segments), damage) => {
                    report.notes.extend(damage.map(|damage| format!("{LEFT_OUT}: {damage}")));
                    segments
                }
                (None, Some(damage)) => return Err(damage),
                (None, None) => Vec::new(),
            }
        } else {
            listing.chain(disk, options, &covered, head.header.n)?
        };
        identity::check(disk, options, head.header.store)?;
        report.segments = out.segments.len() as u64;
        let copies = out.segments.iter().filter(|segment| segment.is_copy).count();
        if copies > 0 {
            report.notes.push(format!("{copies} of {} journal segments are copies", out.segments.len()));
        }
        let void = listing.names.len() - out.segments.len();
        if void > 0 && !out.is_short {
            report.notes.push(format!("{void} segments are void: later ones hold what they held"));
        }
        Ok(out)
    }
}

fn note_torn(is_torn: bool, report: &mut VerifyReport) {
    if is_torn {
        report.notes.push(format!("an append behind frame {} is unfinished", report.seq));
    }
}

fn verify_end<D: Disk>(disk: &D, segments: &[Segment], report: &mut VerifyReport) -> Result<(), Error> {
    let walked = walk_all(disk, &segments[segments.len() - 1..], &mut |decoded, _, _| {
        report.frames += 1;
        report.entries += decoded.frame.entries.len() as u64;
        report.seq = decoded.frame.seq;
        Ok(())
    })?;
    note_torn(walked.is_torn, report);
    Ok(())
}

fn check_store(meta: Option<Meta>, segments: &[Segment]) -> Result<Option<Meta>, Error> {
    match (&meta, segments.last()) {
        (Some(found), Some(head)) if found.store != head.header.store => {
            Err(Error::Astray { reason: format!("it belongs to store {}", found.store) })
        }
        _ => Ok(meta),
    }
}

/// Reads every row of an environment in each way in which a verification does. What is wrong is not told; it may kill.
pub fn walk<T: Tables>(tables: &T) {
    for table in (0..TABLE_COUNT_MAX).map(Table) {
        // By itself: one that also looks up keys may end before it comes to what kills.
        let _ = tables.scan(table, &[], &mut |_, _| true);
    }
    verify_sums(tables, &mut VerifyReport::default());
}

fn verify_sums<T: Tables>(tables: &T, report: &mut VerifyReport) {
    for table in (0..TABLE_COUNT_MAX).map(Table) {
        let mut tries = 0;
        // Ends: tries are counted.
        let checked = loop {
            let before = tables.meta();
            let checked = check_sums(tables, table, None);
            tries += 1;
            let is_steady = matches!((&before, &tables.meta()), (Ok(before), Ok(after)) if before == after);
            if checked.is_ok() || is_steady || tries == COUNT_MAX {
                break checked;
            }
        };
        if let Err(error) = checked {
            report.findings.push(error);
        }
    }
}

/// Checks every byte of history and snapshots. What a running service removed meanwhile is no finding.
fn verify_files<D: Disk>(
    disk: &D,
    options: &Options,
    beside: &mut Beside,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) {
    let mut checked = Vec::new();
    for file in beside.history.values().flatten() {
        let seq = file.about.after.seq;
        let found =
            History::open(disk, &options.state_dir.join(HISTORY_FOLDER), &file.name).and_then(|history| {
                history.sealed.check(&mut |_| {
                    progress(seq);
                    Ok(())
                })
            });
        checked.push((HISTORY_FOLDER, file.name.clone(), found));
    }
    for &seq in beside.snapshots.keys() {
        let found =
            Snapshot::open(disk, &options.state_dir.join(SNAPSHOT_FOLDER), seq).and_then(|snapshot| {
                snapshot.check(&mut |_| {
                    progress(seq);
                    Ok(())
                })
            });
        checked.push((SNAPSHOT_FOLDER, snapshot::name(seq), found));
    }
    for (folder, name, found) in checked {
        match found {
            Ok(()) => report.files += 1,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                beside.leave_out(folder, &name);
                report.findings.push(error);
            }
        }
    }
}

/// Checks every byte and every chain of the archives.
fn verify_archives<D: Disk>(
    disk: &D,
    options: &Options,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    for id in archive::list(disk, &options.state_dir)? {
        let seq = report.seq;
        let mut cases = 0;
        let checked = Archive::open(disk, &options.state_dir, id).and_then(|archive| {
            archive.check(
                &mut |_| {
                    progress(seq);
                    Ok(())
                },
                &mut |_, _| {
                    cases += 1;
                    true
                },
            )
        });
        match checked {
            Ok(()) => {
                report.files += 1;
                report.archived_cases += cases;
            }
            // It was left over, and a running service took it away.
            Err(error) if is_gone(&error) => {}
            Err(error) => report.findings.push(error),
        }
    }
    Ok(())
}

/// Walks over everything, once for each share of the partitions, and folds these anew.
fn verify_all<D: Disk, T: Tables>(
    disk: &D,
    options: &Options,
    ground: &mut Ground,
    environment: (Option<&T>, Option<Meta>),
    fold: &Arc<dyn Fold>,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    verify_files(disk, options, &mut ground.beside, report, progress);
    if ground.part.number == 0 {
        verify_archives(disk, options, report, progress)?;
    }
    let head = ground.segments.last().expect("invariant: called with at least one segment");
    let store = head.header.store;
    let begins_after = ground.segments.first().map_or(0, |first| first.header.before.seq);
    let newest = ground.beside.snapshots.range(begins_after..).next_back().map(|(_, meta)| meta.clone());
    let mut hashes: BTreeMap<u64, Option<[u8; 32]>> =
        ground.beside.snapshots.range(begins_after..).map(|(&seq, _)| (seq, None)).collect();
    if let Some(first) = ground.segments.first() {
        hashes.entry(begins_after).and_modify(|hash| *hash = Some(first.header.before.hash));
    }
    let mut is_first = true;
    let shares = match ground.level {
        // Once, and nothing of it is folded.
        Level::Whole => vec![Vec::new()],
        Level::Quick | Level::Full => {
            let sums = environment.0.map(Tables::sums).transpose().ok().flatten().unwrap_or_default();
            compare::shares(&sums, ground.part)
        }
    };
    for share in shares {
        let empty = Meta::empty(store);
        let mut pass = Pass::new(&share, Arc::clone(fold), empty, environment.clone(), newest.clone());
        begin(&mut pass, disk, options, ground, begins_after, report, is_first);
        let walked = walk_all(disk, &ground.segments, &mut |Decoded { frame, .. }, _, _| {
            if is_first {
                report.frames += 1;
                report.entries += frame.entries.len() as u64;
                report.seq = frame.seq;
                hashes.entry(frame.seq).and_modify(|hash| *hash = Some(frame.hash));
                progress(frame.seq);
            }
            pass.fold(disk, options, frame, report)
        });
        // What comes before the first damage is whole.
        let walked = pass.flush(report).and(walked);
        if is_first {
            report.torn = walked.as_ref().is_ok_and(|walked| walked.is_torn);
        }
        let is_cut = matches!(walked, Err(Error::DamagedCopy { .. }));
        if walked.is_ok() || is_cut {
            // An environment beside a copy may be that of a later state.
            pass.end(is_cut || ground.is_short || ground.is_copy, report);
        }
        // What is left out of a copy may be what makes entries dispensable.
        if walked.is_ok() && !ground.is_short {
            pass.end_chains(disk, options, report);
        }
        if is_first {
            ground.is_short |= is_cut;
            strangers(ground, &hashes, options, report);
        }
        walked?;
        is_first = false;
    }
    note_torn(report.torn, report);
    Ok(())
}

/// Brings a pass to where the journal begins.
fn begin<D: Disk, T: Tables>(
    pass: &mut Pass<'_, T>,
    disk: &D,
    options: &Options,
    ground: &Ground,
    begins_after: u64,
    report: &mut VerifyReport,
    is_first: bool,
) {
    let Err(error) = pass.fold_history(disk, options, &ground.beside, begins_after, report) else { return };
    let given_up =
        ground.beside.history.values().flatten().map(|file| &file.about).find(|about| about.lost > 0);
    if let Some(about) = given_up
        && matches!(error, Error::HistoryMissing { .. })
    {
        if is_first {
            let (first, last) = (about.first_seq(), about.after.seq);
            report.notes.push(format!(
                "history of frames {first} to {last} is not whole: a repair gave up {} entries",
                about.lost
            ));
        }
    } else if is_first && !report.findings.iter().any(|known| known.to_string() == error.to_string()) {
        report.findings.push(error);
    }
    match pass.begin_at_snapshot(disk, options, report) {
        Ok(true) => {}
        Ok(false) => pass.stop(),
        Err(error) => {
            report.findings.push(error);
            pass.stop();
        }
    }
}

/// Tells which snapshots are of frames that the journal does not have, and which history does not end where a segment
/// does.
fn strangers(
    ground: &mut Ground,
    hashes: &BTreeMap<u64, Option<[u8; 32]>>,
    options: &Options,
    report: &mut VerifyReport,
) {
    let Some(head) = ground.segments.last() else { return };
    let seams = Seams::new(head.header.store, &ground.segments, &head.header.before);
    let mut in_chain = |meta: &Meta| Ok(hashes.get(&meta.seq) == Some(&Some(meta.hash)));
    let Ok(found) = ground.beside.take_strangers(&seams, &mut in_chain) else { return };
    for (folder, names) in [(HISTORY_FOLDER, found.history), (SNAPSHOT_FOLDER, found.snapshots)] {
        for name in names {
            let path = options.state_dir.join(folder).join(name);
            let reason = "it holds what the journal does not".to_owned();
            if ground.is_short || ground.is_copy {
                report
                    .notes
                    .push(format!("an opening of this copy moves aside {}: {reason}", path.display()));
            } else {
                report.findings.push(Error::SealedDamaged { path, offset: 0, reason });
            }
        }
    }
}
