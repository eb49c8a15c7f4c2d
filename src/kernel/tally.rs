//! Steps on a word of bits with a counter a place beside it: narrow nets that may hold two tokens somewhere.

use super::slab::TallySlab;
use super::table::{Chunk, Row};
use super::word::{OVERFLOW, OneByOne, REFUSED, WordStep, compare_all, take};

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

/// Calls `act` for each bit, lowest first.
#[inline]
fn each_bit(mut bits: u64, mut act: impl FnMut(usize)) {
    while bits != 0 {
        act(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

pub(super) fn run(rows: &[Row], more: &[Chunk], slab: &mut TallySlab, wave: &mut TallyWave) {
    assert!(wave.row_end <= rows.len(), "invariant: a wave's rows are this kernel's");
    assert!(wave.slot_end <= slab.marks.len(), "invariant: a wave's slots are this kernel's");
    assert!(wave.steps.len() == wave.records.len(), "invariant: a record for each step");
    for (step, record) in wave.steps.iter().zip(&mut wave.records) {
        let row = &rows[step.row as usize];
        let (mark, counts) = (&mut slab.marks[step.slot as usize], &mut slab.counts[step.slot as usize]);
        debug_assert!(step.put & !row.flows == 0);
        let before = *mark;
        let (taken, enabled) = take(row, before);
        let mut rest = before & !taken;
        each_bit(taken, |place| rest |= u64::from(counts[place] > 1) << place);
        let removed = rest & row.remove;
        rest &= !row.remove;
        let put = step.put | row.put;
        let mut overflow = false;
        each_bit(rest & put, |place| overflow |= counts[place] - (taken >> place & 1) as u8 == u8::MAX);
        *record = TallyRecord { before, after: before, ..TallyRecord::default() };
        if !enabled || overflow {
            record.now = if enabled { OVERFLOW } else { REFUSED };
            continue;
        }
        each_bit(taken, |place| counts[place] -= 1);
        each_bit(removed, |place| counts[place] = 0);
        each_bit(put, |place| counts[place] += 1);
        *mark = rest | put;
        record.after = *mark;
        record.removed = removed;
        // SAFETY: needs no special instructions; rows are made together with their chunks.
        (record.was, record.now) = unsafe { compare_all::<OneByOne>(row, more, before, record.after) };
    }
}
