//! How much a shard holds, and how it lets go of cases that nobody has asked for lately.

use std::collections::VecDeque;

use super::{Held, Shard};
use crate::engine::turn::AT_WORK_SHARE;

/// How much room cases make in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    WithinLimit,
    All,
}

impl Shard {
    /// Lets idle cases go: all, or when those in memory take more than they may.
    pub(super) fn make_room(&mut self, room: Room) {
        if room == Room::WithinLimit && self.cases.bytes() <= self.options.bounds.cache_bytes / AT_WORK_SHARE
        {
            return;
        }
        let (parked, jobs) = (&self.parked, &self.jobs);
        let must_stay = |case| parked.contains_key(&case) || jobs.has(case);
        match room {
            Room::WithinLimit => self.cases.shrink(self.options.bounds.cache_bytes, self.durable, &must_stay),
            Room::All => self.cases.forget_idle(self.durable, &must_stay),
        }
    }

    /// Encodes some of the cases that nobody has asked for lately. For a turn with nothing else to do.
    pub(super) fn rest(&mut self) {
        let (parked, jobs) = (&self.parked, &self.jobs);
        let must_stay = |case| parked.contains_key(&case) || jobs.has(case);
        self.cases.rest(self.now, self.durable, &must_stay);
    }

    /// Tells whether cases take no more memory than they may, those aside that cannot leave yet. For checks.
    pub fn is_within_memory(&self) -> bool {
        let must_stay = |case| self.parked.contains_key(&case) || self.jobs.has(case);
        self.cases.bytes() <= self.options.bounds.cache_bytes
            || !self.cases.could_shrink(self.durable, &must_stay)
    }

    /// Returns how much of everything the shard holds.
    pub fn held(&self) -> Held {
        let creates = self.asked_business.values().map(VecDeque::len);
        Held {
            parked: self.parked.values().map(VecDeque::len).chain(creates).sum(),
            case_bytes: self.cases.bytes(),
            undurable_bytes: self.undurable_bytes,
            keys: self.keys.client_count(),
        }
    }
}
