//! Steps on counters of narrow nets: those that may hold two tokens somewhere.
//!
//! The same as in [`super::word`], with eight words instead of one: sums with carry over bit planes, for all places
//! at once and without a branch.

#![expect(clippy::inline_always, reason = "the loop is compiled once for each way, with all of this inside")]
#![expect(clippy::needless_bitwise_bool, reason = "a lazy operator is a branch on data")]

use super::slab::Planes;
use super::table::{Chunk, Row};
#[cfg(target_arch = "x86_64")]
use super::word::FourAtOnce;
use super::word::{Lanes, OneByOne, PREFETCH_AHEAD, Way, WordStep, compare_all, flags, prefetch, take};

/// What a step did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TallyRecord {
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) was: u64,
    pub(super) now: u64,
    /// Places that held tokens when the remove set was emptied.
    pub(super) removed: u64,
}

/// The steps of a wave on counters of narrow nets, and what they did.
#[derive(Debug, Default)]
pub(super) struct TallyWave {
    pub(super) steps: Vec<WordStep>,
    pub(super) records: Vec<TallyRecord>,
    pub(super) row_end: usize,
    pub(super) slot_end: usize,
}

/// Takes a token from each place, which has one.
#[inline(always)]
fn subtract(planes: &mut Planes, places: u64) {
    let mut borrow = places;
    for plane in &mut planes.0 {
        let next = !*plane & borrow;
        *plane ^= borrow;
        borrow = next;
    }
}

/// Puts a token on each place; returns the places that cannot hold one more.
#[inline(always)]
fn add(planes: &mut Planes, places: u64) -> u64 {
    let mut carry = places;
    for plane in &mut planes.0 {
        let next = *plane & carry;
        *plane ^= carry;
        carry = next;
    }
    carry
}

/// # Safety
/// As [`Lanes::compare`]; and every step's row and slot lie within `rows` and `cells`.
#[inline(always)]
unsafe fn walk<L: Lanes>(rows: &[Row], more: &[Chunk], cells: &mut [Planes], wave: &mut TallyWave) {
    let steps = &wave.steps[..];
    let last = steps.len().saturating_sub(1);
    for (at, (step, record)) in steps.iter().zip(&mut wave.records).enumerate() {
        // SAFETY: there is a last step while there is a step.
        let ahead = unsafe { steps.get_unchecked((at + PREFETCH_AHEAD).min(last)) };
        prefetch(cells, ahead.slot as usize);
        debug_assert!((step.row as usize) < rows.len() && (step.slot as usize) < cells.len());
        // SAFETY: the caller's promise about rows and slots.
        let (row, cell) =
            unsafe { (rows.get_unchecked(step.row as usize), cells.get_unchecked_mut(step.slot as usize)) };
        let before = cell.marks();
        let (taken, enabled) = take(row, before);
        let mut next = *cell;
        subtract(&mut next, taken);
        let removed = next.marks() & row.remove;
        next.0.iter_mut().for_each(|plane| *plane &= !row.remove);
        let clash = add(&mut next, step.put | row.put) != 0;
        let done = u64::from(enabled & !clash).wrapping_neg();
        for (plane, next) in cell.0.iter_mut().zip(next.0) {
            *plane ^= (*plane ^ next) & done;
        }
        let after = cell.marks();
        // SAFETY: the caller's promise about the processor; rows are made together with their chunks.
        let (was, now) = unsafe { compare_all::<L>(row, more, before, after) };
        *record =
            TallyRecord { before, after, was, now: now | flags(enabled, clash), removed: removed & done };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn walk_avx2(rows: &[Row], more: &[Chunk], cells: &mut [Planes], wave: &mut TallyWave) {
    // SAFETY: the caller's promise, and this function is only called where AVX2 is.
    unsafe { walk::<FourAtOnce>(rows, more, cells, wave) }
}

pub(super) fn run(way: Way, rows: &[Row], more: &[Chunk], cells: &mut [Planes], wave: &mut TallyWave) {
    assert!(wave.row_end <= rows.len(), "invariant: a wave's rows are this kernel's");
    assert!(wave.slot_end <= cells.len(), "invariant: a wave's slots are this kernel's");
    assert!(wave.steps.len() == wave.records.len(), "invariant: a record for each step");
    match way {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Way::Avx2` is only kept where the processor has it; rows and slots were asserted.
        Way::Avx2 => unsafe { walk_avx2(rows, more, cells, wave) },
        // SAFETY: needs no special instructions; rows and slots were asserted.
        _ => unsafe { walk::<OneByOne>(rows, more, cells, wave) },
    }
}
