//! Hot memory, kept from being swapped out: as much of the markings of live cases as the system lets a process lock.
//! A refusal is never fatal; /health and the figures say how much is not locked.

use std::ffi::c_void;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::atomic::Ordering;

use nix::sys::mman::{MmapAdvise, madvise, mlock};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::shared::Condition;
use crate::kernel::Region;
use crate::telemetry::words;

/// Memory is locked in pieces of so many bytes, ahead of its use.
const PIECE_BYTES: usize = 256 * 1024;
/// A region that reserves so much is asked for in huge pages: two at least fit in.
const HUGE_REGION_BYTES_MIN: usize = 4 * 1024 * 1024;

/// What of a shard's hot memory is locked.
#[derive(Debug, Default)]
pub(super) struct Locked {
    regions: Vec<Known>,
    /// The system locks no more for this process.
    is_refused: bool,
    /// What the figures say of this shard.
    told: Told,
}

/// A region as it was seen last.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    start: usize,
    locked_bytes: usize,
}

/// Bytes locked and used without being locked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Told {
    locked_bytes: usize,
    unlocked_bytes: usize,
}

impl Locked {
    /// Returns a shard's share with nothing locked yet, and lets this process lock as much as it ever may.
    pub(super) fn new() -> Self {
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
            && soft < hard
        {
            // If it fails there is only less to lock.
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
        }
        Self::default()
    }

    /// Locks what has come into use since the last look; mostly there is nothing new, and then it costs nothing.
    pub(super) fn look(&mut self, regions: &[Region], condition: &Condition) {
        self.regions.resize(regions.len(), Known::default());
        let mut told = Told::default();
        for (place, region) in regions.iter().enumerate() {
            let locked_bytes = self.lock(place, *region);
            told.locked_bytes += locked_bytes;
            told.unlocked_bytes += region.used_bytes.saturating_sub(locked_bytes);
        }
        if told != self.told {
            let change = |of: &std::sync::atomic::AtomicUsize, before: usize, now: usize| {
                of.fetch_add(now.wrapping_sub(before), Ordering::AcqRel);
            };
            change(&condition.locked_bytes, self.told.locked_bytes, told.locked_bytes);
            change(&condition.unlocked_bytes, self.told.unlocked_bytes, told.unlocked_bytes);
            self.told = told;
        }
    }

    /// Locks what is used of a region, and a little ahead; returns how much of it is locked.
    fn lock(&mut self, place: usize, region: Region) -> usize {
        let known = &mut self.regions[place];
        if known.start != region.start {
            // It lies elsewhere since it grew; what it was before is given back, and so no longer locked.
            *known = Known { start: region.start, locked_bytes: 0 };
            advise(region);
        }
        if self.is_refused || region.used_bytes <= known.locked_bytes {
            return known.locked_bytes;
        }
        let end = region.used_bytes.next_multiple_of(PIECE_BYTES).min(region.reserved_bytes);
        if lock(region.start + known.locked_bytes, end - known.locked_bytes) {
            known.locked_bytes = end;
        } else {
            self.is_refused = true;
            tracing::warn!(bytes = region.used_bytes, "{}", words::MEMORY_NOT_LOCKED);
        }
        known.locked_bytes
    }
}

fn lock(start: usize, bytes: usize) -> bool {
    let Some(start) = NonNull::new(with_exposed_provenance_mut::<c_void>(start)) else { return false };
    // SAFETY: locking changes no byte. The range lies in an array that its owner, the caller's shard, keeps while this
    // runs; were it not mapped any more, the system would say so.
    unsafe { mlock(start, bytes) }.is_ok()
}

/// Asks for huge pages where a region is large enough to have some whole: with small ones a random marking among
/// millions costs a look-up of its page's address as well.
pub fn advise(region: Region) {
    const PAGE_BYTES: usize = 4_096;
    if region.reserved_bytes < HUGE_REGION_BYTES_MIN {
        return;
    }
    let start = region.start.next_multiple_of(PAGE_BYTES);
    let bytes = (region.start + region.reserved_bytes - start) / PAGE_BYTES * PAGE_BYTES;
    let Some(start) = NonNull::new(with_exposed_provenance_mut::<c_void>(start)) else { return };
    // SAFETY: the advice changes no byte, and the range lies in an array that the caller's shard keeps meanwhile.
    // A system without huge pages refuses, and nothing is lost.
    let _ = unsafe { madvise(start, bytes, MmapAdvise::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_into_use_is_locked_once_and_what_moved_anew() {
        let cells = vec![0_u64; 100_000];
        let region = |used_bytes| Region {
            start: cells.as_ptr().expose_provenance(),
            used_bytes,
            reserved_bytes: 800_000,
        };
        let condition = Condition::default();
        let told = || {
            let locked = condition.locked_bytes.load(Ordering::Acquire);
            (locked, condition.unlocked_bytes.load(Ordering::Acquire))
        };
        let mut locked = Locked::new();
        locked.look(&[region(1_000)], &condition);
        // A system that lets nobody lock anything is none of the test's business.
        let expected = |bytes| if locked.is_refused { (0, 1_000) } else { (bytes, 0) };
        assert_eq!(told(), expected(PIECE_BYTES));
        let is_refused = locked.is_refused;
        locked.look(&[region(300_000)], &condition);
        assert!(is_refused || told() == (2 * PIECE_BYTES, 0) || locked.is_refused);
        locked.look(&[region(799_000)], &condition);
        assert!(is_refused || told() == (800_000, 0) || locked.is_refused);
        let elsewhere = Region { start: region(0).start + 8, used_bytes: 8, reserved_bytes: 700_000 };
        locked.look(&[elsewhere], &condition);
        assert!(locked.is_refused || told() == (PIECE_BYTES, 0));
    }

    #[test]
    fn a_refusal_is_told_and_tried_no_more() {
        let condition = Condition::default();
        let mut locked = Locked { is_refused: true, ..Locked::default() };
        locked.look(&[Region { start: 64, used_bytes: 1_000, reserved_bytes: 2_000 }], &condition);
        assert_eq!(condition.unlocked_bytes.load(Ordering::Acquire), 1_000);
        locked.look(&[Region { start: 64, used_bytes: 1_500, reserved_bytes: 2_000 }], &condition);
        assert_eq!(condition.unlocked_bytes.load(Ordering::Acquire), 1_500);
        assert_eq!(condition.locked_bytes.load(Ordering::Acquire), 0);
    }
}
