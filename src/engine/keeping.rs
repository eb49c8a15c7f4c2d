//! History, snapshots and trimming, as `cold` drives them: one thing at a time, at a pace that leaves the disk to the
//! journal, and never in the way of a checkpoint for long.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};

use super::clock::Clock;
use super::cold;
use super::queries::{self, archived};
use super::request::Found;
use super::service::{Maintained, Maintenance};
use super::shared::Shared;
use super::{tables, threads};
use crate::id::CaseId;
use crate::store::{
    self, ArchiveId, Disk, FileKind, Keeper, Kept, Now, Owner, Preparer, Sealed, Tables, Trim, Until, When,
};

/// How often it is looked whether there is something to do, in microseconds.
const LOOK_US: u64 = 1_000_000;
/// How long it waits after an error before it tries again, in microseconds.
const RETRY_US: u64 = 10_000_000;
/// Bytes of the journal a second that history takes in at most: more than a service at full load appends.
const HISTORY_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// Bytes a second of history and snapshots that are read when files are about to go because of them.
const CHECK_BYTES_PER_SECOND: u64 = HISTORY_BYTES_PER_SECOND;
/// Bytes of rows a second that a snapshot reads at most: no checkpoint can be made meanwhile, so it must not take long.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 128 * 1024 * 1024;
/// After so long, in microseconds, a turn takes on nothing more: checkpoints and the scrub have theirs.
const SLICE_US: u64 = 200_000;
/// Longest pause between two looks at whether the service stops, in microseconds.
const PAUSE_US: u64 = 10_000;
/// Most files that one trimming takes away: more than a journal may have.
const TRIM_STEPS_MAX: usize = 1 << 18;

/// What somebody asked for, and where the answer goes.
pub struct Asked {
    /// What is to be done.
    pub what: Maintenance,
    /// Hears how it went; whoever asked may have gone.
    pub answer: Sender<Result<Maintained, store::Error>>,
}

/// Drives a keeper.
pub(super) struct Keeping<D: Disk> {
    keeper: Keeper<D>,
    asked: Receiver<Asked>,
    /// When it is looked again, in monotonic microseconds.
    next_us: u64,
    is_broken: bool,
}

impl<D: Disk> Keeping<D> {
    pub(super) fn new(keeper: Keeper<D>, asked: Receiver<Asked>, started_us: u64) -> Self {
        // A command that only writes something is over by then, and leaves this to the service.
        Self { keeper, asked, next_us: started_us + LOOK_US, is_broken: false }
    }

    /// Does what there is to do, one thing after the other, for a slice of time.
    pub(super) fn turn<T: Tables>(&mut self, shared: &Shared<D, T>, preparer: &mut Preparer<D>) {
        if let Ok(Asked { what, answer }) = self.asked.try_recv() {
            let done = self.carry_out(shared, preparer, what);
            if let Err(error) = &done {
                tracing::error!("what was asked of the state could not be done: {error}");
            }
            drop(answer.send(done));
            self.next_us = 0;
        }
        let now_us = shared.clock.monotonic_us();
        if now_us < self.next_us {
            return;
        }
        let done = for_a_slice::<store::Error>(&*shared.clock, || {
            let next = self.work(shared, preparer)?;
            // Comes first: the journal must not wait for its next segment.
            let is_preparing = matches!(preparer.step(), Ok(store::Prepared::More));
            Ok(if next == Next::More && is_preparing { Next::Later } else { next })
        });
        match done {
            Ok(is_done) => {
                if std::mem::replace(&mut self.is_broken, false) {
                    tracing::info!("history and snapshots are written again");
                }
                self.tell_damages(shared);
                if is_done {
                    self.tell_figures(shared);
                    self.next_us = now_us + LOOK_US;
                }
            }
            Err(_) if shared.condition.is_stopping.load(Ordering::Acquire) => self.next_us = u64::MAX,
            Err(error) => {
                if !std::mem::replace(&mut self.is_broken, true) {
                    tracing::warn!("history and snapshots cannot be kept: {error}; it is tried again");
                }
                self.next_us = now_us + RETRY_US;
            }
        }
    }

    /// Does one thing; tells whether there may be another.
    fn work<T: Tables>(
        &mut self,
        shared: &Shared<D, T>,
        preparer: &mut Preparer<D>,
    ) -> Result<Next, store::Error> {
        if shared.condition.is_disk_low.load(Ordering::Acquire) {
            let kept = self.remove(shared, preparer, Trim::Due)?;
            return Ok(if kept == Kept::Nothing { Next::Nothing } else { Next::More });
        }
        let kept = {
            let mut pace = pace(shared, preparer, HISTORY_BYTES_PER_SECOND, WhenLow::End);
            self.keeper.step(now(shared), Trim::Due, &mut pace)?
        };
        tell(&kept);
        if kept != Kept::Nothing || self.let_go(shared, preparer, Trim::Due)? != Kept::Nothing {
            return Ok(Next::More);
        }
        let appended_bytes = shared.appended_bytes.load(Ordering::Acquire);
        if self.keeper.wants_snapshot(appended_bytes, shared.environment_bytes())? {
            self.snapshot(shared, preparer)?;
        }
        Ok(Next::Nothing)
    }

    /// Does at most one thing about what archived cases leave behind: writes a history file anew without them, or takes
    /// away an archive file of which nothing speaks.
    fn let_go<T: Tables>(
        &mut self,
        shared: &Shared<D, T>,
        preparer: &mut Preparer<D>,
        trim: Trim,
    ) -> Result<Kept, store::Error> {
        if shared.condition.is_follower_broken.load(Ordering::Acquire) {
            return Ok(Kept::Nothing);
        }
        let now = now(shared);
        if is_any_archived(shared)? {
            let gone = |_, subject| gone(shared, CaseId(subject));
            let mut pace = pace(shared, preparer, HISTORY_BYTES_PER_SECOND, WhenLow::End);
            let kept = self.keeper.rewrite(now, trim, &gone, &mut pace)?;
            if kept != Kept::Nothing {
                tell(&kept);
                return Ok(kept);
            }
        }
        // Whoever archives just now has a file of which nothing speaks yet.
        let Ok(_alone) = shared.archiving.try_lock() else { return Ok(Kept::Nothing) };
        let kept = self.keeper.remove_left_over(now, trim, &|case| owner(shared, case))?;
        tell(&kept);
        Ok(kept)
    }

    /// Takes away at most one file, or checks one, though the disk is low.
    fn remove<T: Tables>(
        &mut self,
        shared: &Shared<D, T>,
        preparer: &mut Preparer<D>,
        trim: Trim,
    ) -> Result<Kept, store::Error> {
        let mut pace = pace(shared, preparer, CHECK_BYTES_PER_SECOND, WhenLow::GoOn);
        let kept = self.keeper.remove(now(shared), trim, &mut pace)?;
        tell(&kept);
        Ok(kept)
    }

    fn snapshot<T: Tables>(
        &mut self,
        shared: &Shared<D, T>,
        preparer: &mut Preparer<D>,
    ) -> Result<Option<Sealed>, store::Error> {
        cold::checkpoint(shared);
        let environment = shared.environment();
        let tables = shared.tables();
        let appended_bytes = shared.appended_bytes.load(Ordering::Acquire);
        let started_us = shared.clock.monotonic_us();
        let mut pace = pace(shared, preparer, SNAPSHOT_BYTES_PER_SECOND, WhenLow::End);
        let sealed = self.keeper.snapshot(&*tables, shared.clock.moment(), appended_bytes, &mut pace);
        match &sealed {
            Ok(Some(Sealed { seq, bytes })) => {
                let ms = shared.clock.monotonic_us().saturating_sub(started_us) / 1_000;
                shared.metrics.snapshot_frame.set(*seq);
                tracing::info!(frame = seq, bytes, ms, "a snapshot was written");
            }
            Err(error) if error.is_of_tables() => {
                tracing::error!("no snapshot of the working environment: {error}");
                cold::rebuild(shared, &environment);
            }
            _ => {}
        }
        sealed
    }

    fn carry_out<T: Tables>(
        &mut self,
        shared: &Shared<D, T>,
        preparer: &mut Preparer<D>,
        what: Maintenance,
    ) -> Result<Maintained, store::Error> {
        match what {
            Maintenance::Snapshot => {
                let sealed = self.snapshot(shared, preparer)?;
                let seq = self.keeper.snapshot_seq()?;
                Ok(Maintained::Snapshot { seq, new_bytes: sealed.map(|sealed| sealed.bytes) })
            }
            Maintenance::Trim => {
                let (mut files, mut bytes) = (0, 0);
                if is_any_archived(shared)? && !shared.condition.is_disk_low.load(Ordering::Acquire) {
                    // What was archived since the last one goes only once a snapshot knows it.
                    self.snapshot(shared, preparer)?;
                }
                for _ in 0..TRIM_STEPS_MAX {
                    let kept = if shared.condition.is_disk_low.load(Ordering::Acquire) {
                        self.remove(shared, preparer, Trim::Now)?
                    } else {
                        let mut pace = pace(shared, preparer, HISTORY_BYTES_PER_SECOND, WhenLow::End);
                        let kept = self.keeper.step(now(shared), Trim::Now, &mut pace)?;
                        drop(pace);
                        tell(&kept);
                        if kept == Kept::Nothing { self.let_go(shared, preparer, Trim::Now)? } else { kept }
                    };
                    match kept {
                        Kept::Nothing => break,
                        Kept::Removed { bytes: freed, .. } => {
                            files += 1;
                            bytes += freed;
                        }
                        Kept::History { .. }
                        | Kept::Rewritten { .. }
                        | Kept::Checked { .. }
                        | Kept::Damaged { .. } => {}
                    }
                }
                Ok(Maintained::Trimmed { files, bytes })
            }
            Maintenance::Upgrade => {
                let store::Upgraded { from, to } = self.keeper.upgrade()?;
                if from < to {
                    tracing::info!(from, to, "the store was upgraded; the release before cannot read it");
                }
                Ok(Maintained::Upgraded { from, to })
            }
        }
    }

    /// Lets /health say which files are damaged.
    fn tell_damages<T: Tables>(&mut self, shared: &Shared<D, T>) {
        let Ok(damages) = self.keeper.damages() else { return };
        *shared.condition.damages.lock().unwrap_or_else(PoisonError::into_inner) = damages;
    }

    fn tell_figures<T: Tables>(&mut self, shared: &Shared<D, T>) {
        let Ok(sheet) = self.keeper.sheet(now(shared), Trim::Due) else { return };
        let bytes = |kind| sheet.iter().filter(|row| row.kind == kind).map(|row| row.bytes).sum();
        shared.metrics.history_bytes.set(bytes(FileKind::History));
        shared.metrics.snapshot_bytes.set(bytes(FileKind::Snapshot));
        let is_segment = |kind| matches!(kind, FileKind::Segment | FileKind::Void);
        let waits = |when| matches!(when, When::In(_)) || when == When::Not(Until::Upgrade);
        let waiting = sheet.iter().filter(|row| is_segment(row.kind) && waits(row.when)).count();
        shared.metrics.journal_segments_waiting.set(waiting as u64);
        if let Ok(seq) = self.keeper.snapshot_seq() {
            shared.metrics.snapshot_frame.set(seq);
        }
    }
}

fn of_rows(reason: String) -> store::Error {
    store::Error::Tables { reason }
}

fn is_any_archived<D: Disk, T: Tables>(shared: &Shared<D, T>) -> Result<bool, store::Error> {
    let mut is_any = false;
    shared.read_as_is().scan(tables::ARCHIVED, &[], &mut |_, _| {
        is_any = true;
        false
    })?;
    Ok(is_any)
}

/// Returns the position of the entry that archived a case, and its archive file.
fn gone<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    case: CaseId,
) -> Result<Option<(u64, ArchiveId)>, store::Error> {
    let row = archived::row(&shared.read_as_is(), case).map_err(of_rows)?;
    Ok(row.map(|row| (row.last.n, row.fact.id())))
}

/// Returns who has a case.
fn owner<D: Disk, T: Tables>(shared: &Shared<D, T>, case: CaseId) -> Result<Owner, store::Error> {
    Ok(match queries::find(&shared.read_as_is(), case).map_err(of_rows)? {
        Found::Rows(_) => Owner::Store,
        Found::Archived(row) => Owner::Archive(row.fact.id()),
        Found::Nothing => Owner::Nobody,
    })
}

/// What is to come after one thing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more to do.
    More,
    /// There may be more to do, and something else comes first.
    Later,
    /// There is nothing to do.
    Nothing,
}

/// Does one thing, and others as long as the slice lasts; returns whether there is nothing more to do. What it began it
/// ends, however long that takes.
///
/// # Errors
/// One of them failed; nothing is done after it.
fn for_a_slice<E>(clock: &dyn Clock, mut work: impl FnMut() -> Result<Next, E>) -> Result<bool, E> {
    let end_us = clock.monotonic_us() + SLICE_US;
    loop {
        match work()? {
            Next::Nothing => return Ok(true),
            Next::Later => return Ok(false),
            Next::More if clock.monotonic_us() >= end_us => return Ok(false),
            Next::More => {}
        }
    }
}

fn now<D: Disk, T: Tables>(shared: &Shared<D, T>) -> Now {
    Now { moment: shared.clock.moment(), time: shared.clock.now() }
}

fn tell(kept: &Kept) {
    match kept {
        Kept::Nothing => {}
        Kept::Checked { name } => tracing::debug!(file = name, "a file is whole"),
        Kept::Damaged { name, why, .. } => {
            tracing::warn!(file = name, "{why}; what it covers stays, and is written anew where it can be");
        }
        Kept::History { name, seq, bytes } => {
            tracing::info!(file = name, frame = seq, bytes, "history was written");
        }
        Kept::Rewritten { name, before_bytes, bytes } => {
            tracing::info!(
                file = name,
                before_bytes,
                bytes,
                "history was written anew without archived cases: {before_bytes} bytes are {bytes} now"
            );
        }
        Kept::Removed { kind, name, bytes } => {
            tracing::info!(file = name, bytes, "a file that is no longer needed went: {}", word(*kind));
        }
    }
}

fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Segment => "a journal segment",
        FileKind::Void => "a void journal segment",
        FileKind::History => "a history file",
        FileKind::Snapshot => "a snapshot",
        FileKind::Archive => "an archive file of which nothing speaks",
    }
}

/// What becomes of long work when the disk is low.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenLow {
    /// It ends: it would write.
    End,
    /// It goes on: it makes room.
    GoOn,
}

/// Returns what long work calls: it pauses so that no more than `bytes_per_second` go by, prepares the next segment of
/// the journal meanwhile, and ends the work when the service stops or the disk is low.
fn pace<'a, D: Disk, T: Tables>(
    shared: &'a Shared<D, T>,
    preparer: &'a mut Preparer<D>,
    bytes_per_second: u64,
    when_low: WhenLow,
) -> impl FnMut(u64) -> Result<(), store::Error> + 'a {
    let started_us = shared.clock.monotonic_us();
    let mut done_bytes = 0_u64;
    move |bytes| {
        done_bytes += bytes;
        let due_us = started_us + done_bytes.saturating_mul(1_000_000) / bytes_per_second;
        loop {
            if shared.condition.is_stopping.load(Ordering::Acquire) {
                return Err(store::Error::Ended { why: "the service stops" });
            }
            if when_low == WhenLow::End && shared.condition.is_disk_low.load(Ordering::Acquire) {
                return Err(store::Error::Ended { why: "the disk is low" });
            }
            // Comes first: the journal must not wait for its next segment. What is wrong with it shows when it is
            // nobody's pause.
            let is_preparing = matches!(preparer.step(), Ok(store::Prepared::More));
            let left_us = due_us.saturating_sub(shared.clock.monotonic_us());
            if left_us == 0 {
                return Ok(());
            }
            if !is_preparing {
                threads::pause_us(left_us.min(PAUSE_US));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::id::Time;
    use crate::store::Moment;

    /// Time goes by only when something is done.
    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Time {
            Time(self.monotonic_us())
        }

        fn monotonic_us(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn moment(&self) -> Moment {
            Moment { boot: [0; 16], us: self.monotonic_us() }
        }
    }

    /// Works through things that take so long each, and returns how many were done and whether none was left.
    fn done(things: u64, us_each: u64) -> (u64, bool) {
        let (clock, count) = (Hand::default(), Cell::new(0));
        let is_done = for_a_slice::<()>(&clock, || {
            if count.get() == things {
                return Ok(Next::Nothing);
            }
            count.set(count.get() + 1);
            clock.0.fetch_add(us_each, Ordering::Relaxed);
            Ok(Next::More)
        });
        (count.get(), is_done.unwrap())
    }

    #[test]
    fn a_turn_does_many_small_things_and_of_large_ones_at_least_one() {
        assert_eq!(done(0, 1), (0, true));
        assert_eq!(done(3, SLICE_US / 10), (3, true));
        assert_eq!(done(1_000, SLICE_US / 10), (10, false));
        assert_eq!(done(1_000, 100 * SLICE_US), (1, false));
    }

    #[test]
    fn a_turn_ends_when_something_else_comes_first_or_something_fails() {
        let clock = Hand::default();
        let mut next = [Ok(Next::More), Ok(Next::Later), Err("it failed")].into_iter();
        let mut work = || next.next().unwrap();
        assert_eq!(for_a_slice(&clock, &mut work), Ok(false));
        assert_eq!(for_a_slice(&clock, &mut work), Err("it failed"));
    }
}
