//! What the `cold` thread does: checkpoints, the scrub, zeros for the next segment, history, snapshots, trimming,
//! archiving that nobody asks for, and figures that take long to look at. Never on a hot core, and never holding what a
//! request needs.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::auto::Auto;
use super::keeping::{Asked, Keeping};
use super::meter::TickRate;
use super::scrub::Scrub;
use super::shared::Shared;
use super::threads;
use crate::store::{Disk, Keeper, Marker, Prepared, Preparer, Tables};
use crate::telemetry::words;

/// How often `cold` looks whether there is something to do, in microseconds.
const COLD_US: u64 = 100_000;
/// How often `cold` looks how large the files are, in microseconds.
const SIZES_US: u64 = 10_000_000;
/// After an error it waits so long before it tries again, in microseconds.
const RETRY_US: u64 = 1_000_000;

/// Runs until the follower's thread has ended, and makes a last checkpoint then.
pub(super) fn run<D: Disk, T: Tables>(
    shared: &Shared<D, T>,
    mut preparer: Preparer<D>,
    mut marker: Marker<D>,
    keeper: Keeper<D>,
    asked: Receiver<Asked>,
) {
    let started_us = shared.clock.monotonic_us();
    let mut keeping = Keeping::new(keeper, asked, started_us);
    let mut auto = Auto::new(started_us);
    let mut rate = TickRate::new(started_us);
    let mut scrub = Scrub::new(shared);
    let mut sized_us = None;
    let mut is_settled = false;
    let mut last_bytes = 0;
    let mut changed_us = None;
    let mut is_preparing_broken = false;
    loop {
        let is_last = shared.condition.is_follower_done.load(Ordering::Acquire);
        let now_us = shared.clock.monotonic_us();
        let options = shared.options();
        let bytes = shared.appended_bytes.load(Ordering::Acquire);
        if bytes != last_bytes && changed_us.is_none() {
            changed_us = Some(now_us);
        }
        let is_old = changed_us.is_some_and(|since| now_us.saturating_sub(since) >= options.checkpoint_us);
        let is_large =
            shared.condition.changed_bytes.load(Ordering::Acquire) >= options.queues.checkpoint_bytes();
        if is_last || is_old || is_large || bytes.saturating_sub(last_bytes) >= options.checkpoint_bytes {
            changed_us = if checkpoint(shared) { None } else { Some(now_us) };
            threads::give_memory_back();
            last_bytes = bytes;
        }
        if is_last {
            break;
        }
        if let Some(hertz) = rate.look(now_us) {
            shared.metrics.hot_path_tick_hertz.set(hertz);
        }
        if sized_us.is_none_or(|since| now_us.saturating_sub(since) >= SIZES_US) {
            sized_us = Some(now_us);
            shared.look_at_sizes();
        }
        if !is_settled && now_us.saturating_sub(started_us) >= 60_000_000 {
            is_settled = marker.settled().is_ok();
        }
        let is_scrubbing = scrub.step(shared);
        keeping.turn(shared, &mut preparer);
        auto.turn(shared);
        match preparer.step() {
            Ok(Prepared::More) => is_preparing_broken = false,
            Ok(Prepared::Ready) if is_scrubbing => {}
            Ok(Prepared::Ready) => threads::pause_us(COLD_US),
            Err(error) => {
                if !is_preparing_broken {
                    tracing::warn!("{}: {error}", words::SEGMENT_NOT_PREPARED);
                }
                is_preparing_broken = true;
                threads::pause_us(RETRY_US);
            }
        }
    }
    if let Err(error) = marker.stopped() {
        tracing::warn!("{}: {error}", words::END_NOT_NOTED);
    }
}

/// Writes a checkpoint; tells whether the working environment holds what it should.
pub(super) fn checkpoint<D: Disk, T: Tables>(shared: &Shared<D, T>) -> bool {
    let environment = shared.environment();
    let Some(checkpoint) = shared.write().begin_checkpoint() else { return true };
    let start = shared.clock.monotonic_us();
    let result = checkpoint.write();
    shared.metrics.checkpoint_us.observe(shared.clock.monotonic_us().saturating_sub(start));
    let mut follower = shared.write();
    if result.is_ok() {
        follower.end_checkpoint();
    } else {
        // Nobody else has the rows then, and they need not be copied.
        drop(checkpoint);
        follower.abort_checkpoint();
    }
    shared.condition.changed_bytes.store(follower.changed_bytes(), Ordering::Release);
    drop(follower);
    let Err(error) = result else {
        compact(shared, &environment);
        return true;
    };
    tracing::error!("{}: {error}", words::CHECKPOINT_FAILED);
    shared.metrics.workflow_errors.increment();
    if error.is_of_tables() {
        rebuild(shared, &environment);
    }
    false
}

/// Makes the working environment smaller when much of it is free: its file never shrinks by itself.
fn compact<D: Disk, T: Tables>(shared: &Shared<D, T>, environment: &MutexGuard<'_, ()>) {
    let tables = shared.read_as_is().tables();
    match tables.compact() {
        Ok(None) => {}
        Ok(Some(sizes)) => {
            let (before, after) = (sizes.before_bytes, sizes.after_bytes);
            tracing::info!(before, after, "{}: {before} bytes, {after} now", words::ENVIRONMENT_SMALLER);
        }
        Err(error) => {
            tracing::warn!("{}: {error}", words::NOT_COMPACTED);
            if error.is_of_tables() {
                rebuild(shared, environment);
            }
        }
    }
}

/// Makes the working environment anew from the journal. Until it succeeds, reads of what is missing are refused.
pub(super) fn rebuild<D: Disk, T: Tables>(shared: &Shared<D, T>, _environment: &MutexGuard<'_, ()>) {
    let was_broken = shared.condition.is_follower_broken.swap(true, Ordering::AcqRel);
    let mut follower = shared.write();
    let rebuilt = follower.rebuild(&shared.reader);
    let (seq, bytes) = (follower.seq(), follower.changed_bytes());
    drop(follower);
    shared.condition.changed_bytes.store(bytes, Ordering::Release);
    shared.condition.is_follower_broken.store(rebuilt.is_err(), Ordering::Release);
    match rebuilt {
        Ok(warnings) => {
            for warning in warnings {
                tracing::warn!("{}: {warning}", words::STATE_MENDED);
            }

            tracing::info!(frame = seq, "{}", words::ENVIRONMENT_READY);
        }
        Err(error) if !was_broken => {
            tracing::error!("{}: {error}", words::REBUILD_FAILED);
        }
        Err(_) => {}
    }
    shared.folded(seq);
}
