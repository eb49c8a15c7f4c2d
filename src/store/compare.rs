//! Whether rows are those that history and journal give: everything is folded anew in memory, some partitions at a time,
//! and compared where the working environment and the newest snapshot stand.
//!
//! Rows hang on entries of their own partition only, so that a pass over everything for each share of the partitions
//! keeps memory bounded. The chains of subjects are followed on the way.

use std::sync::Arc;

use super::Options;
use super::beside::Beside;
use super::chains::Chains;
use super::disk::Disk;
use super::entry::{Entry, Frame};
use super::error::Error;
use super::follower::{Fold, Follower};
use super::history::{HISTORY_FOLDER, History};
use super::mem::MemTables;
use super::snapshot::{SNAPSHOT_FOLDER, Snapshot};
use super::tables::{Change, Meta, Sums, TABLE_COUNT_MAX, Table, Tables};
use super::verify::{Part, VerifyReport};
use crate::id::{PARTITION_COUNT, Partition};

/// How often a comparison begins anew because a checkpoint came in between.
const COMPARE_COUNT_MAX: u32 = 5;
/// Changed rows at which the fold's memory is packed.
const PACK_ROWS: usize = 100_000;
/// Bytes of entries that are held at the most before they are folded, one partition after the other: so few cases are at
/// work at a time that the processor's caches hold them.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Shares the partitions of a part out, so that each share has at most `rows_max` rows, or is one partition.
pub(super) fn shares(sums: &Sums, part: Part) -> Vec<Vec<Partition>> {
    let mut rows = [0_u64; PARTITION_COUNT];
    for ((_, partition), sum) in sums {
        rows[partition.index()] = rows[partition.index()].saturating_add(sum.rows);
    }
    let mut out: Vec<Vec<Partition>> = Vec::new();
    let mut filled = u64::MAX;
    for partition in Partition::all().filter(|partition| partition.index() % part.count == part.number) {
        let count = rows[partition.index()];
        filled = filled.saturating_add(count);
        match out.last_mut() {
            Some(last) if filled <= part.rows_max => last.push(partition),
            _ => {
                filled = count;
                out.push(vec![partition]);
            }
        }
    }
    out
}

/// Some partitions.
struct Share([bool; PARTITION_COUNT]);

impl Share {
    fn of(partitions: &[Partition]) -> Self {
        let mut share = Self([false; PARTITION_COUNT]);
        for partition in partitions {
            share.0[partition.index()] = true;
        }
        share
    }

    fn has(&self, partition: Partition) -> bool {
        self.0[partition.index()]
    }
}

/// One pass: some partitions, folded from the first frame on, or from a snapshot where history is not whole.
pub(super) struct Pass<'a, T> {
    share: Share,
    model: Follower<MemTables>,
    chains: Chains,
    environment: Comparison<'a, T>,
    /// The newest snapshot, until it was compared.
    snapshot: Option<Meta>,
    /// Whether nothing more can be folded.
    is_stopped: bool,
    held: Held,
}

/// Entries of frames that were walked over and are not folded yet.
struct Held {
    by_partition: Vec<Vec<Entry>>,
    bytes: usize,
    /// Where the last of these frames ends; `None` when there is none.
    after: Option<Meta>,
}

impl Held {
    fn new() -> Self {
        Self { by_partition: vec![Vec::new(); PARTITION_COUNT], bytes: 0, after: None }
    }

    /// Adds the next frame's entries of some partitions; `before` is where nothing that is held begins.
    fn add(&mut self, frame: Frame, share: &Share, before: &Meta) -> Result<(), Error> {
        let after = self.after.get_or_insert_with(|| before.clone());
        if frame.seq != after.seq + 1 || frame.before != after.hash {
            return Err(Error::FrameOrder { found: frame.seq, expected: after.seq + 1 });
        }
        (after.seq, after.hash, after.time) = (frame.seq, frame.hash, frame.time);
        for entry in frame.entries {
            let place = entry.partition.index();
            after.positions[place] = entry.n;
            if share.has(entry.partition) {
                self.bytes += entry.stored_bytes();
                self.by_partition[place].push(entry);
            }
        }
        Ok(())
    }
}

impl<'a, T: Tables> Pass<'a, T> {
    pub(super) fn new(
        share: &[Partition],
        fold: Arc<dyn Fold>,
        empty: Meta,
        (tables, wanted): (Option<&'a T>, Option<Meta>),
        snapshot: Option<Meta>,
    ) -> Self {
        Self {
            share: Share::of(share),
            chains: Chains::new(Arc::clone(&fold), &empty.positions),
            model: Follower::new(Arc::new(MemTables::default()), fold, empty),
            environment: Comparison { tables, wanted, count: 0 },
            snapshot,
            is_stopped: false,
            held: Held::new(),
        }
    }

    /// Folds history as far as nothing is to be compared before its end, so that what is compared rests on it.
    pub(super) fn fold_history<D: Disk>(
        &mut self,
        disk: &D,
        options: &Options,
        beside: &Beside,
        begins_after: u64,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        self.compare(disk, options, report)?;
        let folder = options.state_dir.join(HISTORY_FOLDER);
        let targets = [&self.environment.wanted, &self.snapshot];
        let least = targets.iter().filter_map(|meta| meta.as_ref().map(|meta| meta.seq)).min();
        let Self { share, model, chains, .. } = self;
        // Files that are damaged were left out, and told.
        while let Some(Some(file)) = beside.history.get(&(model.seq() + 1)) {
            let after = file.about.after.seq;
            if file.about.lost > 0 {
                break;
            }
            if after > begins_after && least.is_some_and(|least| after > least) {
                break;
            }
            let history = History::open(disk, &folder, &file.name)?;
            let mut count = 0;
            chains.has_gaps |= history.about.gone > 0;
            model.apply_history_of(&history, &|partition| share.has(partition), &mut |entry| {
                count += 1;
                chains.follow(entry, report);
            })?;
            report.history_entries += count;
            if model.changed_rows() >= PACK_ROWS {
                model.checkpoint()?;
            }
        }
        let seq = model.seq();
        if seq < begins_after {
            return Err(Error::HistoryMissing { path: folder, seq: seq + 1, until: begins_after });
        }
        self.compare(disk, options, report)
    }

    /// Begins at the snapshot instead, because history does not lead to the journal.
    pub(super) fn begin_at_snapshot<D: Disk>(
        &mut self,
        disk: &D,
        options: &Options,
        report: &mut VerifyReport,
    ) -> Result<bool, Error> {
        let Some(meta) = self.snapshot.take() else { return Ok(false) };
        let snapshot = Snapshot::open(disk, &options.state_dir.join(SNAPSHOT_FOLDER), meta.seq)?;
        let tables = MemTables::default();
        snapshot.each(&mut |row| {
            if self.share.has(row.partition) {
                tables.fill(&vec![row], None)?;
            }
            Ok(true)
        })?;
        tables.fill(&Vec::<Change<'_>>::new(), Some((&meta, &Sums::new())))?;
        self.chains = Chains::new(self.model.folds(), &meta.positions);
        self.model = Follower::new(Arc::new(tables), self.model.folds(), meta);
        self.compare(disk, options, report)?;
        Ok(true)
    }

    /// Ends folding: what is wrong was told, or nothing leads on.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Takes the next frame, if it lies behind what was folded; folds it and those before it where something is to be
    /// compared, and compares what stands there.
    pub(super) fn fold<D: Disk>(
        &mut self,
        disk: &D,
        options: &Options,
        frame: Frame,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let seq = frame.seq;
        let before = self.held.after.as_ref().map_or(self.model.seq(), |after| after.seq);
        if self.is_stopped || seq <= before {
            return Ok(());
        }
        self.held.add(frame, &self.share, self.model.meta())?;
        let targets = [&self.environment.wanted, &self.snapshot];
        let is_compared = targets.into_iter().flatten().any(|meta| meta.seq == seq);
        if is_compared || self.held.bytes >= HELD_BYTES_MAX {
            self.flush(report)?;
            self.compare(disk, options, report)?;
        }
        Ok(())
    }

    /// Folds what is held.
    pub(super) fn flush(&mut self, report: &mut VerifyReport) -> Result<(), Error> {
        let Self { model, chains, held, .. } = self;
        let Some(after) = held.after.take() else { return Ok(()) };
        held.bytes = 0;
        let entries = held.by_partition.iter().flatten();
        let followed = entries.inspect(|entry| chains.follow(entry, report));
        let folded = model.apply_held(followed, after);
        held.by_partition.iter_mut().for_each(Vec::clear);
        folded?;
        if model.changed_rows() >= PACK_ROWS {
            model.checkpoint()?;
        }
        Ok(())
    }

    fn compare<D: Disk>(
        &mut self,
        disk: &D,
        options: &Options,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        self.environment.compare_at(&self.model, &self.share, report)?;
        let seq = self.model.seq();
        let Some(meta) = self.snapshot.take_if(|meta| meta.seq == seq) else { return Ok(()) };
        let snapshot = Snapshot::open(disk, &options.state_dir.join(SNAPSHOT_FOLDER), seq);
        // If it cannot be read, that was told already, or a running service removed it.
        let Ok(snapshot) = snapshot else { return Ok(()) };
        let mut counted = Counted::new(&self.model, &self.share);
        let compared = snapshot
            .each(&mut |row| counted.row(row.table, row.partition, row.key, row.value.unwrap_or_default()))
            .and_then(|()| counted.end(&meta));
        match compared {
            Err(Error::Astray { reason }) => report
                .findings
                .push(snapshot.sealed.damaged(0, format!("its rows are not those of the journal: {reason}"))),
            other => drop(other?),
        }
        Ok(())
    }

    /// Checks what could only be known once everything was folded: whether chains that begin late are of archived
    /// subjects, and whether archives have what they should.
    pub(super) fn end_chains<D: Disk>(&mut self, disk: &D, options: &Options, report: &mut VerifyReport) {
        if !self.is_stopped {
            self.chains.end(disk, &options.state_dir, report);
        }
    }

    /// Tells what was not compared, once everything was folded.
    pub(super) fn end(&self, is_incomplete: bool, report: &mut VerifyReport) {
        let Some(meta) = self.environment.wanted.as_ref().filter(|_| !self.is_stopped) else { return };
        let (seq, end) = (meta.seq, report.seq);
        if self.environment.count > 0 {
            report.notes.push("the environment went on while it was compared, so it was not".to_owned());
            return;
        }
        let reason = format!("it has folded frame {seq}, and the journal ends at frame {end}");
        if is_incomplete {
            report.notes.push(format!("an opening of this copy makes the environment anew: {reason}"));
        } else {
            report.findings.push(Error::Astray { reason });
        }
    }
}

/// The environment against the model, at the frame that the environment has folded.
struct Comparison<'a, T> {
    tables: Option<&'a T>,
    wanted: Option<Meta>,
    count: u32,
}

impl<T: Tables> Comparison<'_, T> {
    /// Compares if the model stands where the environment does; when a checkpoint comes in between, later again.
    fn compare_at(
        &mut self,
        model: &Follower<MemTables>,
        share: &Share,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let Some(tables) = self.tables else { return Ok(()) };
        let Some(meta) = self.wanted.take_if(|meta| meta.seq == model.seq()) else { return Ok(()) };
        let compared = compare(tables, &meta, model, share);
        self.count += 1;
        let now = tables.meta()?;
        if now.as_ref() != Some(&meta) {
            self.wanted = now.filter(|_| self.count < COMPARE_COUNT_MAX);
            return Ok(());
        }
        match compared {
            Ok(rows) => report.rows += rows,
            Err(error) => report.findings.push(error),
        }
        Ok(())
    }
}

/// Compares all rows of some partitions, and returns how many there are.
fn compare<T: Tables>(
    tables: &T,
    meta: &Meta,
    model: &Follower<MemTables>,
    share: &Share,
) -> Result<u64, Error> {
    let mut counted = Counted::new(model, share);
    for table in (0..TABLE_COUNT_MAX).map(Table) {
        let mut failure = None;
        tables.rows(
            table,
            &[],
            &mut |key, partition, value| match counted.row(table, partition, key, value) {
                Ok(is_wanted) => is_wanted,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            },
        )?;
        if let Some(error) = failure {
            return Err(error);
        }
    }
    counted.end(meta)
}

/// Rows given in any order against those of a model.
struct Counted<'a> {
    model: &'a Follower<MemTables>,
    share: &'a Share,
    found: [u64; TABLE_COUNT_MAX as usize],
}

impl<'a> Counted<'a> {
    fn new(model: &'a Follower<MemTables>, share: &'a Share) -> Self {
        Self { model, share, found: [0; TABLE_COUNT_MAX as usize] }
    }

    fn row(&mut self, table: Table, partition: Partition, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        if !self.share.has(partition) {
            return Ok(true);
        }
        self.found[usize::from(table.0)] += 1;
        if self.model.get(table, key)?.is_some_and(|wanted| wanted == value) {
            return Ok(true);
        }
        let reason = format!("the row of table {} with key {key:02x?} is another", table.0);
        Err(Error::Astray { reason })
    }

    /// Returns how many rows there were; none of the model's may be missing.
    fn end(&self, meta: &Meta) -> Result<u64, Error> {
        let astray = |reason| Err(Error::Astray { reason });
        if meta.hash != self.model.hash() || meta.positions != self.model.positions() {
            return astray(format!("its frame {} is not the journal's", meta.seq));
        }
        let mut rows = 0;
        for (table, found) in (0..).map(Table).zip(self.found) {
            let mut expected = 0_u64;
            self.model.scan(table, &[], &mut |_, _| {
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
}
