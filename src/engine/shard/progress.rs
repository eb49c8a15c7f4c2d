//! What a shard does when it hears how far the journal is, or that it failed: what is durable is forgotten as undurable,
//! what did not become durable is taken back, and cases that may have duties are asked for.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::batches::Turn;
use super::work::Work;
use super::{DUTIES_AT_ONCE_MAX, PlantedBug, Shard};
use crate::case::row::Status;
use crate::engine::turn::AT_WORK_SHARE;
use crate::id::CaseId;

impl Shard {
    /// Hears what became of earlier batches.
    pub(super) fn follow_progress(&mut self) {
        let generation = self.progress.generation.load(Ordering::Acquire);
        self.durable = self.progress.durable_batch.load(Ordering::Acquire);
        while self.undo.front().is_some_and(|undo| undo.batch <= self.durable) {
            let Some(undo) = self.undo.pop_front() else { break };
            self.undurable_bytes -= undo.bytes;
            self.ahead_bytes -= undo.bulk_bytes;
            self.keys.forget(&undo.expired_keys);
            for hash in undo.business {
                self.business.remove(&hash);
            }
            self.specs.retain(|spec| !undo.specs.iter().any(|durable| durable.number == spec.number));
            for case in undo.cases {
                self.forget_if_over(case);
            }
            for case in undo.moved {
                self.moving.remove(&case);
            }
            // They may have something to do by themselves.
            self.duties.extend(undo.back.into_iter().map(|case| (case, 0)));
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
            self.ahead_bytes -= undo.bulk_bytes;
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
            self.duties.push_back((case, 0));
        }
    }

    /// Returns whether a case that has come further, and has yet to, is to give way: those in memory take too much
    /// together, and it is not the only one.
    pub(super) fn has_too_many_unfinished(&self, case: CaseId) -> bool {
        let bytes = self.cases.unfinished_bytes();
        bytes > self.unfinished_bytes_max() && bytes > self.cases.bytes_of(case)
    }

    /// Lets a case leave memory as soon as it is durable. It comes back when there is room, and goes on.
    pub(super) fn put_off(&mut self, turn: &mut Turn, case: CaseId, chain: u32) {
        self.cases.put_off(case);
        turn.visited.push(case);
        if self.keys.planted() != Some(PlantedBug::ForgetWhatIsPutOff) {
            self.duties.push_back((case, chain));
        }
    }

    /// Returns how many bytes cases that have something to do by themselves may take together in memory.
    fn unfinished_bytes_max(&self) -> usize {
        self.options.bounds.cache_bytes / AT_WORK_SHARE
    }

    /// Returns whether there is room for another case that has something to do by itself, and one waits.
    pub(super) fn is_duty_next(&self) -> bool {
        let coming = self.parked.len() * self.loads.case_bytes();
        let is_any = self.cases.unfinished_bytes() > 0 || coming > 0;
        let has_room = self.cases.unfinished_bytes() + coming < self.unfinished_bytes_max() || !is_any;
        has_room && self.parked.len() < DUTIES_AT_ONCE_MAX && !self.duties.is_empty()
    }

    /// Asks for some of the cases that have something to do by themselves.
    pub(super) fn see_to_duties(&mut self) {
        while self.is_duty_next()
            && let Some((case, chain)) = self.duties.pop_front()
        {
            if self.parked.contains_key(&case) || self.moving.contains(&case) {
                // Whatever is taken into memory goes on by itself first.
            } else if !self.cases.contains(case) {
                self.fetch(Work::going_on(case, chain));
            } else if self.cases.is_put_off(case) && !self.jobs.has(case) {
                self.cases.resume(case);
                self.jobs.push_back(Work::going_on(case, chain));
            }
        }
    }

    /// Forgets a case that is closed or was put off, when all of it is durable.
    pub(super) fn forget_if_over(&mut self, case: CaseId) {
        let is_closed =
            self.cases.get(case).is_some_and(|case| matches!(case.existing().status, Status::Closed(_)));
        let is_over = is_closed || self.cases.is_put_off(case);
        // A job that waits is refused by it, and then it goes.
        if is_over && !self.jobs.has(case) && self.cases.is_durable(case, self.durable) {
            self.cases.forget(case);
        }
    }
}
