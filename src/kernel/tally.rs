//! Steps on counters of narrow nets: those that may hold two tokens somewhere.
//!
//! The same as in [`super::word`], with eight words instead of one: sums with carry over bit planes, for all places
//! at once.

#![expect(clippy::inline_always, reason = "the loop is compiled once for each way, with all of this inside")]

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

/// What moving the tokens of one step came to.
struct Moved {
    before: u64,
    after: u64,
    removed: u64,
    flags: u64,
}

/// Moves the tokens of one step. Counts up to three live in two planes, which is all that most steps touch; the
/// branch to the others is foreseen well.
#[inline(always)]
fn fire(row: &Row, cell: &mut Planes, put: u64) -> Moved {
    let [ones, twos, ..] = cell.0;
    let far = cell.0[2..].iter().fold(0, |far, plane| far | plane);
    let before = ones | twos;
    let (taken, enabled) = take(row, before);
    let (ones_left, twos_left) = (ones ^ taken, twos ^ (!ones & taken));
    let removed = (ones_left | twos_left) & row.remove;
    let (ones_left, twos_left) = (ones_left & !row.remove, twos_left & !row.remove);
    let put = put | row.put;
    let carry = ones_left & put;
    if far | (twos_left & carry) != 0 {
        return fire_far(row, cell, put);
    }
    let done = enabled.wrapping_neg();
    let ones_after = ones ^ ((ones ^ ones_left ^ put) & done);
    let twos_after = twos ^ ((twos ^ twos_left ^ carry) & done);
    (cell.0[0], cell.0[1]) = (ones_after, twos_after);
    Moved { before, after: ones_after | twos_after, removed: removed & done, flags: flags(enabled, 0) }
}

/// Does what [`fire`] does for any counts.
#[cold]
#[inline(never)]
fn fire_far(row: &Row, cell: &mut Planes, put: u64) -> Moved {
    let before = cell.marks();
    let (taken, enabled) = take(row, before);
    let mut next = *cell;
    let mut borrow = taken;
    for plane in &mut next.0 {
        (*plane, borrow) = (*plane ^ borrow, !*plane & borrow);
    }
    let removed = next.marks() & row.remove;
    let mut carry = put;
    for plane in &mut next.0 {
        let left = *plane & !row.remove;
        (*plane, carry) = (left ^ carry, left & carry);
    }
    let clash = u64::from(carry != 0);
    if enabled == 0 || clash != 0 {
        return Moved { before, after: before, removed: 0, flags: flags(enabled, clash) };
    }
    *cell = next;
    Moved { before, after: next.marks(), removed, flags: 0 }
}

/// # Safety
/// As [`Lanes::compare`]; and every step's row and slot lie within `rows` and `cells`.
#[inline(always)]
unsafe fn walk<L: Lanes>(rows: &[Row], more: &[Chunk], cells: &mut [Planes], wave: &mut TallyWave) {
    let (steps, records) = (&wave.steps[..], &mut wave.records[..]);
    let count = steps.len().min(records.len());
    for step in steps.iter().take(PREFETCH_AHEAD) {
        prefetch(cells, step.slot as usize);
    }
    for at in 0..count {
        let ahead = at.wrapping_add(PREFETCH_AHEAD).min(count.wrapping_sub(1));
        // SAFETY: `at` and `ahead` are below `count`.
        let (step, ahead, record) =
            unsafe { (steps.get_unchecked(at), steps.get_unchecked(ahead), records.get_unchecked_mut(at)) };
        prefetch(cells, ahead.slot as usize);
        debug_assert!((step.row as usize) < rows.len() && (step.slot as usize) < cells.len());
        // SAFETY: the caller's promise about rows and slots.
        let (row, cell) =
            unsafe { (rows.get_unchecked(step.row as usize), cells.get_unchecked_mut(step.slot as usize)) };
        let Moved { before, after, removed, flags } = fire(row, cell, step.put);
        // SAFETY: the caller's promise about the processor; rows are made together with their chunks.
        let (was, now) = unsafe { compare_all::<L>(row, more, before, after) };
        *record = TallyRecord { before, after, was, now: now | flags, removed };
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
