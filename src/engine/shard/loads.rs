//! Cases that are to be read back. Every requested case arrives in memory, so only as many are requested at a time as there
//! is room for.

use std::collections::VecDeque;

use super::Shard;
use crate::engine::request::Question;
use crate::id::CaseId;

/// At least this many are requested at a time while cases are within their limit, however large they are.
const AT_ONCE_LEAST: usize = 4;
/// A case is taken to be so large before any was seen, in bytes.
const CASE_BYTES_FIRST: usize = 256 * 1024;
/// A case is not taken to be smaller, in bytes.
const CASE_BYTES_LEAST: usize = 1_024;
/// The estimate of a case's size shrinks by one part in this many with each smaller case.
const FADING: usize = 8;

/// What is asked for, and what waits to be.
#[derive(Debug)]
pub(super) struct Loads {
    waiting: VecDeque<CaseId>,
    asked: usize,
    /// As large as those that came lately.
    case_bytes: usize,
}

impl Loads {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), asked: 0, case_bytes: CASE_BYTES_FIRST }
    }

    /// Asks for a case as soon as there is room.
    pub(super) fn want(&mut self, case: CaseId) {
        self.waiting.push_back(case);
    }

    /// Hears that a case came that takes so many bytes; 0 when there was none.
    pub(super) fn came(&mut self, bytes: usize) {
        self.asked = self.asked.saturating_sub(1);
        let faded = self.case_bytes - self.case_bytes / FADING;
        self.case_bytes = faded.max(bytes).max(CASE_BYTES_LEAST);
    }

    /// Returns how many bytes a case is taken to have.
    pub(super) fn case_bytes(&self) -> usize {
        self.case_bytes
    }

    /// Returns whether cases wait to be requested.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns cases to be asked for now, when others take `held_bytes` of `bytes_max`. Without one that `can_leave`, some
    /// are asked for all the same: nothing would ever change.
    fn now(&mut self, held_bytes: usize, bytes_max: usize, can_leave: bool) -> Vec<CaseId> {
        let at_once = match bytes_max.checked_sub(held_bytes) {
            None if can_leave => 0,
            room => (room.unwrap_or(0) / self.case_bytes).max(AT_ONCE_LEAST),
        };
        let count = at_once.saturating_sub(self.asked).min(self.waiting.len());
        self.asked += count;
        self.waiting.drain(..count).collect()
    }
}

impl Shard {
    /// Returns the questions about cases for which there is room now. What is not durable can leave once it is.
    pub(super) fn loads_now(&mut self) -> Vec<Question> {
        if !self.loads.is_waiting() {
            return Vec::new();
        }
        let bytes_max = self.options.bounds.cache_bytes;
        let cases = self.loads.now(self.cases.bytes(), bytes_max, !self.undo.is_empty());
        cases.into_iter().map(Question::Load).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn wanting(count: u64) -> Loads {
        let mut loads = Loads::new();
        (0..count).for_each(|number| loads.want(CaseId(number)));
        loads
    }

    #[test]
    fn large_cases_are_asked_for_as_there_is_room_and_small_ones_many_at_a_time() {
        let mut loads = wanting(10_000);
        let first = loads.now(0, 16 * MIB, true).len();
        assert_eq!(first, 16 * MIB / CASE_BYTES_FIRST);
        assert!(loads.now(0, 16 * MIB, true).is_empty(), "they are on their way");
        // They turn out to be of a megabyte: all but a few of the next wait until there is room.
        (0..first).for_each(|_| loads.came(MIB));
        assert_eq!(loads.now(10 * MIB, 16 * MIB, true).len(), 6);
        (0..6).for_each(|_| loads.came(MIB));
        assert_eq!(loads.now(17 * MIB, 16 * MIB, true).len(), 0);
        assert_eq!(loads.now(17 * MIB, 16 * MIB, false).len(), AT_ONCE_LEAST, "nothing would change");
        (0..200).for_each(|_| loads.came(100));
        assert!(loads.now(0, 16 * MIB, true).len() > 9_000, "small ones, again");
    }
}
