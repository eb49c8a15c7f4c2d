//! Verification: whether everything on disk is what was written, without writing anything.
//!
//! It works beside a running service, whose unfinished last frame it leaves out, and on a store that cannot be opened.

use std::collections::HashMap;
use std::sync::Arc;

use super::chain::{Listing, walk_all};
use super::disk::Disk;
use super::entry::{Entry, Link};
use super::error::Error;
use super::follower::{Fold, Follower, check_sums};
use super::mem::MemTables;
use super::open::JOURNAL_FOLDER;
use super::segment::Segment;
use super::tables::{Meta, TABLE_COUNT_MAX, Table, Tables};
use super::{Options, identity};
use crate::id::Partition;

/// How often a comparison begins anew because a checkpoint came in between.
const COMPARE_COUNT_MAX: u32 = 5;
/// Changed rows at which the fold's memory is packed.
const PACK_ROWS: usize = 100_000;

/// How much is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Headers, stamps, the journal's end, and the sums of the environment.
    Quick,
    /// Every frame and chain, and every row of the environment against what folding the journal gives.
    Full,
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
    /// Rows of the environment looked at.
    pub rows: u64,
    /// The last good frame.
    pub seq: u64,
}

/// Verifies a store; `tables` is its working environment, if there is one. `progress` hears the number of each frame.
pub fn verify<D: Disk, T: Tables>(
    disk: &D,
    tables: Option<&T>,
    fold: Arc<dyn Fold>,
    options: &Options,
    level: Level,
    progress: &mut dyn FnMut(u64),
) -> VerifyReport {
    let mut report = VerifyReport::default();
    // Read before the journal is: what the environment holds was durable then.
    let meta = tables.map(Tables::meta).transpose();
    let segments = match chain(disk, options, &mut report) {
        Ok(segments) => segments,
        Err(error) => {
            report.findings.push(error);
            return report;
        }
    };
    if segments.is_empty() {
        report.notes.push("there is no journal here, and never was".to_owned());
        return report;
    }
    if let Some(tables) = tables {
        verify_sums(tables, &mut report);
    }
    let meta = meta.map(Option::flatten).and_then(|meta| check_store(meta, &segments));
    let comparison = meta.map(|wanted| Comparison { tables, wanted, count: 0 });
    let comparison = comparison.unwrap_or_else(|error| {
        report.findings.push(error);
        Comparison { tables: None, wanted: None, count: 0 }
    });
    let done = match level {
        Level::Quick => verify_end(disk, &segments, &mut report),
        Level::Full => verify_all(disk, &segments, comparison, fold, &mut report, progress),
    };
    if let Err(error) = done {
        report.findings.push(error);
    }
    report
}

fn chain<D: Disk>(disk: &D, options: &Options, report: &mut VerifyReport) -> Result<Vec<Segment>, Error> {
    let folder = options.state_dir.join(JOURNAL_FOLDER);
    if !disk.exists(&options.state_dir).map_err(Error::io("look for", &options.state_dir))? {
        return Ok(Vec::new());
    }
    let listing = Listing::read(disk, &folder)?;
    let known = identity::read(disk, &options.state_dir)?;
    if listing.names.is_empty() {
        return match known {
            Some(_) => Err(Error::JournalMissing { path: folder }),
            None => Ok(Vec::new()),
        };
    }
    let segments = listing.chain(disk, &folder, listing.highest_n())?;
    if let Some(head) = segments.last() {
        identity::check(disk, &options.state_dir, head.header.store)?;
    }
    report.segments = segments.len() as u64;
    let copies = segments.iter().filter(|segment| segment.is_copy).count();
    if copies > 0 {
        report.notes.push(format!("{copies} of {} journal segments are copies", segments.len()));
    }
    let void = listing.names.len() - segments.len();
    if void > 0 {
        report.notes.push(format!("{void} segments are void: later ones hold what they held"));
    }
    Ok(segments)
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
            if checked.is_ok() || is_steady || tries == COMPARE_COUNT_MAX {
                break checked;
            }
        };
        if let Err(error) = checked {
            report.findings.push(error);
        }
    }
}

/// Walks over everything, and folds it anew.
fn verify_all<D: Disk, T: Tables>(
    disk: &D,
    segments: &[Segment],
    mut comparison: Comparison<'_, T>,
    fold: Arc<dyn Fold>,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let head = segments.last().expect("invariant: called with at least one segment");
    let mut model = Follower::new(Arc::new(MemTables::default()), fold, Meta::empty(head.header.store));
    comparison.compare_at(&model, report)?;
    let mut links = HashMap::new();
    let mut broken_chains = 0_u64;
    let walked = walk_all(disk, segments, &mut |decoded, _, _| {
        let frame = &decoded.frame;
        report.frames += 1;
        report.entries += frame.entries.len() as u64;
        report.seq = frame.seq;
        for entry in &frame.entries {
            if let Err(error) = follow(&mut links, entry) {
                broken_chains += 1;
                if broken_chains == 1 {
                    report.findings.push(error);
                }
            }
        }
        model.apply(frame)?;
        if model.changed_rows() >= PACK_ROWS {
            model.checkpoint()?;
        }
        comparison.compare_at(&model, report)?;
        progress(frame.seq);
        Ok(())
    })?;
    note_torn(walked.is_torn, report);
    if let Some(meta) = comparison.wanted {
        let (seq, end) = (meta.seq, report.seq);
        if comparison.count == 0 {
            let reason = format!("it has folded frame {seq}, and the journal ends at frame {end}");
            report.findings.push(Error::Astray { reason });
        } else {
            report.notes.push("the environment went on while it was compared, so it was not".to_owned());
        }
    }
    Ok(())
}

fn follow(links: &mut HashMap<(Partition, u64), Link>, entry: &Entry) -> Result<(), Error> {
    let (partition, subject) = (entry.partition, entry.subject);
    let expected = if subject == 0 {
        Link::default()
    } else {
        links.insert((partition, subject), entry.link()).unwrap_or_default()
    };
    if entry.previous == expected {
        return Ok(());
    }
    Err(Error::ChainBroken { partition, n: entry.n, subject })
}

/// The environment against the model, at the frame that the environment has folded.
struct Comparison<'a, T> {
    tables: Option<&'a T>,
    wanted: Option<Meta>,
    count: u32,
}

impl<T: Tables> Comparison<'_, T> {
    /// Compares if the model stands where the environment does; when a checkpoint comes in between, later again.
    fn compare_at(&mut self, model: &Follower<MemTables>, report: &mut VerifyReport) -> Result<(), Error> {
        let Some(tables) = self.tables else { return Ok(()) };
        let Some(meta) = self.wanted.take_if(|meta| meta.seq == model.seq()) else { return Ok(()) };
        let compared = compare(tables, &meta, model);
        self.count += 1;
        let now = tables.meta()?;
        if now.as_ref() != Some(&meta) {
            self.wanted = now.filter(|_| self.count < COMPARE_COUNT_MAX);
            return Ok(());
        }
        match compared {
            Ok(rows) => report.rows = rows,
            Err(error) => report.findings.push(error),
        }
        Ok(())
    }
}

/// Compares all rows, and returns how many there are.
fn compare<T: Tables>(tables: &T, meta: &Meta, model: &Follower<MemTables>) -> Result<u64, Error> {
    let astray = |reason| Err(Error::Astray { reason });
    if meta.hash != model.hash() || meta.positions != model.positions() {
        return astray(format!("its frame {} is not the journal's", meta.seq));
    }
    let mut rows = 0;
    for table in (0..TABLE_COUNT_MAX).map(Table) {
        let (mut found, mut expected) = (0_u64, 0_u64);
        let mut other = None;
        let mut failure = None;
        tables.scan(table, &[], &mut |key, value| {
            found += 1;
            match model.get(table, key) {
                Ok(Some(wanted)) if wanted == value => {}
                Ok(_) => other = Some(key.to_vec()),
                Err(error) => failure = Some(error),
            }
            other.is_none() && failure.is_none()
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        if let Some(key) = other {
            return astray(format!("the row of table {} with key {key:02x?} is another", table.0));
        }
        model.scan(table, &[], &mut |_, _| {
            expected += 1;
            true
        })?;
        if found != expected {
            return astray(format!("table {} has {found} rows, not {expected}", table.0));
        }
        rows += found;
    }
    Ok(rows)
}
