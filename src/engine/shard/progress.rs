//! What a shard does when it hears how far the journal is, or that it failed: what is durable is forgotten as undurable,
//! what did not become durable is taken back, and cases that may have duties are asked for.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::work::Work;
use super::{DUTIES_AT_ONCE_MAX, Shard};
use crate::case::row::Status;
use crate::id::CaseId;

impl Shard {
    /// Hears what became of earlier batches.
    pub(super) fn follow_progress(&mut self) {
        let generation = self.progress.generation.load(Ordering::Acquire);
        self.durable = self.progress.durable_batch.load(Ordering::Acquire);
        while self.undo.front().is_some_and(|undo| undo.batch <= self.durable) {
            let Some(undo) = self.undo.pop_front() else { break };
            self.undurable_bytes -= undo.bytes;
            self.keys.forget(&undo.expired_keys);
            for hash in undo.business {
                self.business.remove(&hash);
            }
            self.specs.retain(|spec| !undo.specs.iter().any(|durable| durable.number == spec.number));
            for case in undo.cases {
                self.forget_if_closed(case);
            }
            for case in undo.moved {
                self.moving.remove(&case);
            }
            // They may have something to do by themselves.
            self.duties.extend(undo.back);
        }
        if generation != self.generation {
            self.generation = generation;
            self.take_all_back();
        }
    }

    /// Makes as if nothing had been done that is not durable. Cases are fetched anew, because they may have duties.
    pub(super) fn take_all_back(&mut self) {
        let positions = self.progress.positions.lock().unwrap_or_else(PoisonError::into_inner);
        self.positions.copy_from_slice(&positions);
        drop(positions);
        let mut forgotten = BTreeSet::new();
        // The next minute tries again.
        self.is_expiring = false;
        while let Some(undo) = self.undo.pop_back() {
            self.undurable_bytes -= undo.bytes;
            for (partition, key) in undo.keys.iter().rev() {
                self.keys.take_back(*partition, key);
            }
            self.keys.put_back(undo.expired_keys);
            for hash in undo.business {
                self.business.remove(&hash);
            }
            for spec in undo.specs {
                self.specs.retain(|staged| staged.number != spec.number);
                self.spec_count -= 1;
            }
            forgotten.extend(undo.cases);
            for case in undo.moved {
                self.moving.remove(&case);
                forgotten.insert(case);
            }
        }
        self.jobs.forget_found();
        for case in forgotten {
            self.cases.forget(case);
            self.duties.push_back(case);
        }
    }

    /// Asks for some of the cases that have something to do by themselves.
    pub(super) fn see_to_duties(&mut self) {
        while self.parked.len() < DUTIES_AT_ONCE_MAX
            && let Some(case) = self.duties.pop_front()
        {
            // Whatever is taken into memory goes on by itself first.
            let is_known = self.cases.contains(case) || self.parked.contains_key(&case);
            if !is_known && !self.moving.contains(&case) {
                self.fetch(Work::go_on(case));
            }
        }
    }

    pub(super) fn forget_if_closed(&mut self, case: CaseId) {
        let is_closed =
            self.cases.get(case).is_some_and(|case| matches!(case.existing().status, Status::Closed(_)));
        // A job that waits is refused by it, and then it goes.
        if is_closed && !self.jobs.has(case) && self.cases.is_durable(case, self.durable) {
            self.cases.forget(case);
        }
    }
}
