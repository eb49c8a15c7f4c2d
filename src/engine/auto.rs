//! Archiving that nobody asks for: `archive_after_days`, a slice at a time, as `cold` has time for it.

use std::sync::atomic::Ordering;

use super::archiving;
use super::service::ArchiveOrder;
use super::shared::Shared;
use crate::error::Kind;
use crate::store::{Disk, FORMAT, Tables};

/// Cases of one slice: `cold` has other things to do.
const SLICE_CASES: u32 = 250;
/// Pause between two slices, in microseconds.
const PAUSE_US: u64 = 2_000_000;
/// Pause when there was nothing to do, or something went wrong, in microseconds.
const IDLE_US: u64 = 600_000_000;

/// Archives what is old enough.
#[derive(Debug)]
pub(super) struct Auto {
    next_us: u64,
    after: Option<String>,
    is_broken: bool,
}

impl Auto {
    pub(super) fn new(started_us: u64) -> Self {
        // A command that only writes something is over by then.
        Self { next_us: started_us + PAUSE_US, after: None, is_broken: false }
    }

    /// Archives a slice when it is time.
    pub(super) fn turn<D: Disk, T: Tables>(&mut self, shared: &Shared<D, T>) {
        let options = &shared.options;
        let now_us = shared.clock.monotonic_us();
        let condition = &shared.condition;
        let must_wait = condition.is_stopping.load(Ordering::Acquire)
            || condition.is_disk_low.load(Ordering::Acquire)
            || condition.is_follower_broken.load(Ordering::Acquire)
            || shared.journal.why_failing().is_some();
        if options.archive_after_us == 0
            || now_us < self.next_us
            || must_wait
            || shared.reader.format() < FORMAT
        {
            return;
        }
        let order = ArchiveOrder {
            older_than_us: options.archive_after_us,
            workflow: None,
            state: None,
            limit: SLICE_CASES,
            after: self.after.take(),
            is_trial: false,
        };
        let done = archiving::slice(shared, &order, options.bulk_us_max);
        let pause_us = match done {
            Ok(slice) => {
                self.is_broken = false;
                self.after = slice.next;
                if self.after.is_some() { PAUSE_US } else { IDLE_US }
            }
            // Somebody archives by hand, or there is much else to do.
            Err(refusal) if refusal.kind == Kind::Busy => PAUSE_US,
            Err(refusal) => {
                if !std::mem::replace(&mut self.is_broken, true) {
                    tracing::warn!("cases cannot be archived: {refusal}; it is tried again");
                }
                IDLE_US
            }
        };
        self.next_us = shared.clock.monotonic_us() + pause_us;
    }
}
