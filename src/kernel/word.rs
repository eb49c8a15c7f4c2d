//! Steps on one word of bits: the path that is made fast.
//!
//! No branch depends on data but the one for rows that affect more than four tasks. What a step does is in
//! [`fire`]; which tasks it enabled or not, in [`Lanes::compare`], of which there are two that agree.

#![expect(clippy::inline_always, reason = "the loop is compiled once for each way, with all of this inside")]

use super::table::{Chunk, Row};

/// A step is looked at this many steps before it is taken, so that its marking is in the cache by then.
pub(super) const PREFETCH_AHEAD: usize = 16;
/// The step was not enabled; a bit beyond those of all lanes.
pub(super) const REFUSED: u64 = 1 << 63;
/// The step would have put a token too many.
pub(super) const OVERFLOW: u64 = 1 << 62;

/// How the enabling of tasks is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One task after the other, on any processor.
    Scalar,
    /// Four at once, with AVX2.
    Avx2,
}

impl Way {
    /// Returns the fastest way that this processor knows.
    pub fn best() -> Self {
        Self::Avx2.or_scalar()
    }

    pub(super) fn or_scalar(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx2 && std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Scalar
    }
}

/// A step, resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct WordStep {
    pub(super) row: u32,
    pub(super) slot: u32,
    pub(super) put: u64,
}

/// What a step did: the marking before and after, and which lanes were and are enabled. The rest follows from the
/// row and the step.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Record {
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) was: u64,
    pub(super) now: u64,
}

/// The steps of a wave on words, and what they did.
#[derive(Debug, Default)]
pub(super) struct WordWave {
    pub(super) steps: Vec<WordStep>,
    pub(super) records: Vec<Record>,
    /// All rows and slots of the steps are below these.
    pub(super) row_end: usize,
    pub(super) slot_end: usize,
}

/// Returns the tokens that a step takes in a marking, and 1 if it is enabled there, else 0.
#[inline(always)]
pub(super) fn take(row: &Row, marking: u64) -> (u64, u64) {
    let found = marking & row.pre;
    let taken = found & (found.wrapping_neg() | row.all);
    let enabled = u64::from(marking & row.care == row.need) & u64::from(found != 0);
    (taken, enabled)
}

/// Returns the marking after a step, which is that before it when the step is undone, and why it is: the loop has
/// no use for that and leaves it out, so it is asked anew when an outcome is read.
#[inline(always)]
pub(super) fn fire(row: &Row, marking: u64, put: u64) -> (u64, u64) {
    let (taken, enabled) = take(row, marking);
    let rest = marking & !taken & !row.remove;
    let put = put | row.put;
    let clash = u64::from(rest & put != 0);
    let done = (enabled & (clash ^ 1)).wrapping_neg();
    let after = marking ^ ((marking ^ (rest | put)) & done);
    (after, flags(enabled, clash))
}

/// Returns why a step is undone, if it is; both arguments are 0 or 1.
#[inline(always)]
pub(super) fn flags(enabled: u64, clash: u64) -> u64 {
    const _: () = assert!(REFUSED == 1 << 63 && OVERFLOW == 1 << 62);
    ((enabled ^ 1) << 63) | ((enabled & clash) << 62)
}

/// Computes which lanes of a chunk are enabled before and after.
pub(super) trait Lanes {
    /// # Safety
    /// The processor must know the instructions of the implementation.
    unsafe fn compare(chunk: &Chunk, before: u64, after: u64) -> (u64, u64);
}

/// One lane after the other.
pub(super) struct OneByOne;

impl Lanes for OneByOne {
    #[inline(always)]
    unsafe fn compare(chunk: &Chunk, before: u64, after: u64) -> (u64, u64) {
        let enabled = |marking: u64| {
            let mut bits = 0;
            for lane in 0..super::table::CHUNK_LANES {
                let (care, any) = (chunk.care.0[lane], chunk.any.0[lane]);
                let same = marking & care == care & any;
                let some = marking & any != 0;
                bits |= u64::from(same & some) << lane;
            }
            bits
        };
        (enabled(before), enabled(after))
    }
}

/// Four lanes in one instruction.
#[cfg(target_arch = "x86_64")]
pub(super) struct FourAtOnce;

#[cfg(target_arch = "x86_64")]
impl Lanes for FourAtOnce {
    #[inline(always)]
    unsafe fn compare(chunk: &Chunk, before: u64, after: u64) -> (u64, u64) {
        use std::arch::x86_64::{
            __m256i, _mm256_and_si256, _mm256_andnot_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi64,
            _mm256_load_si256, _mm256_movemask_pd, _mm256_set1_epi64x, _mm256_setzero_si256,
        };
        // SAFETY: the caller promises AVX2; masks are 32 bytes, aligned to 32.
        unsafe {
            let care = _mm256_load_si256((&raw const chunk.care).cast::<__m256i>());
            let any = _mm256_load_si256((&raw const chunk.any).cast::<__m256i>());
            let want = _mm256_and_si256(care, any);
            let zero = _mm256_setzero_si256();
            let enabled = |marking: u64| {
                let marking = _mm256_set1_epi64x(marking.cast_signed());
                let same = _mm256_cmpeq_epi64(_mm256_and_si256(marking, care), want);
                let none = _mm256_cmpeq_epi64(_mm256_and_si256(marking, any), zero);
                let lanes = _mm256_castsi256_pd(_mm256_andnot_si256(none, same));
                u64::from(_mm256_movemask_pd(lanes).cast_unsigned())
            };
            (enabled(before), enabled(after))
        }
    }
}

/// Computes which lanes of a row, chunk after chunk, are enabled before and after.
///
/// # Safety
/// As [`Lanes::compare`]; and `row` and `more` belong together.
#[inline(always)]
pub(super) unsafe fn compare_all<L: Lanes>(row: &Row, more: &[Chunk], before: u64, after: u64) -> (u64, u64) {
    // SAFETY: the caller's promise.
    let (mut was, mut now) = unsafe { L::compare(&row.chunk, before, after) };
    let first = row.more as usize;
    let mut shift = 0_u32;
    for at in first..first.wrapping_add(row.more_count as usize) {
        debug_assert!(at < more.len());
        // SAFETY: a row's chunks were pushed to `more` when the row was made, and none is ever taken away.
        let (one, other) = unsafe { L::compare(more.get_unchecked(at), before, after) };
        shift = shift.wrapping_add(4);
        was |= one.wrapping_shl(shift);
        now |= other.wrapping_shl(shift);
    }
    (was, now)
}

#[inline(always)]
pub(super) fn prefetch<T>(cells: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, whatever the address; this one lies in the slice or is never used.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(cells.as_ptr().wrapping_add(index).cast::<i8>());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (cells, index);
}

/// # Safety
/// As [`Lanes::compare`]; and every step's row and slot lie within `rows` and `words`.
#[inline(always)]
unsafe fn walk<L: Lanes>(rows: &[Row], more: &[Chunk], words: &mut [u64], wave: &mut WordWave) {
    let (steps, records) = (&wave.steps[..], &mut wave.records[..]);
    let count = steps.len().min(records.len());
    for step in steps.iter().take(PREFETCH_AHEAD) {
        prefetch(words, step.slot as usize);
    }
    // Plain indices: with iterators and checked sums the loop's own bookkeeping cost a third of a step.
    for at in 0..count {
        let ahead = at.wrapping_add(PREFETCH_AHEAD).min(count.wrapping_sub(1));
        // SAFETY: `at` and `ahead` are below `count`.
        let (step, ahead, record) =
            unsafe { (steps.get_unchecked(at), steps.get_unchecked(ahead), records.get_unchecked_mut(at)) };
        prefetch(words, ahead.slot as usize);
        debug_assert!((step.row as usize) < rows.len() && (step.slot as usize) < words.len());
        // SAFETY: the caller's promise about rows and slots.
        let (row, word) =
            unsafe { (rows.get_unchecked(step.row as usize), words.get_unchecked_mut(step.slot as usize)) };
        let before = *word;
        let (after, _) = fire(row, before, step.put);
        *word = after;
        // SAFETY: the caller's promise about the processor; rows are made together with their chunks.
        let (was, now) = unsafe { compare_all::<L>(row, more, before, after) };
        *record = Record { before, after, was, now };
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn walk_avx2(rows: &[Row], more: &[Chunk], words: &mut [u64], wave: &mut WordWave) {
    // SAFETY: the caller's promise, and this function is only called where AVX2 is.
    unsafe { walk::<FourAtOnce>(rows, more, words, wave) }
}

pub(super) fn run(way: Way, rows: &[Row], more: &[Chunk], words: &mut [u64], wave: &mut WordWave) {
    assert!(wave.row_end <= rows.len(), "invariant: a wave's rows are this kernel's");
    assert!(wave.slot_end <= words.len(), "invariant: a wave's slots are this kernel's");
    assert!(wave.steps.len() == wave.records.len(), "invariant: a record for each step");
    match way {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Way::Avx2` is only kept where the processor has it; rows and slots were asserted.
        Way::Avx2 => unsafe { walk_avx2(rows, more, words, wave) },
        // SAFETY: needs no special instructions; rows and slots were asserted.
        _ => unsafe { walk::<OneByOne>(rows, more, words, wave) },
    }
}
