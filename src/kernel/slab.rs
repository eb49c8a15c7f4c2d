//! Where markings lie: one array a form, with a list of free places.

use super::{Form, Region, Slot};

/// An array with free places that are given out again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    cells: Vec<T>,
    free: Vec<u32>,
}

impl<T: Copy + Default> Slab<T> {
    pub(super) fn new() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }

    /// Makes room for so many cells, if there is that much memory, so that they need not move when more come.
    pub(super) fn reserve(&mut self, count: usize) {
        // Without it they move, and nothing else changes.
        let _ = self.cells.try_reserve_exact(count);
    }

    pub(super) fn region(&self) -> Region {
        Region::of(&self.cells)
    }

    pub(super) fn add(&mut self, cell: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.cells[index as usize] = cell;
            return index;
        }
        self.cells.push(cell);
        u32::try_from(self.cells.len() - 1).expect("invariant: fewer markings than 2^32 are live")
    }

    pub(super) fn remove(&mut self, index: u32) {
        self.cells[index as usize] = T::default();
        self.free.push(index);
    }

    pub(super) fn get(&self, index: u32) -> T {
        self.cells[index as usize]
    }

    pub(super) fn cells_mut(&mut self) -> &mut [T] {
        &mut self.cells
    }
}

/// Counters of one marking of a narrow net, in one cache line: bit `p` of word `i` is bit `i` of place `p`'s count,
/// so that one instruction works on all 64 places.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Planes(pub(super) [u64; PLANE_COUNT]);

/// Bits of a count.
pub(super) const PLANE_COUNT: usize = 8;
const _: () = assert!((1 << PLANE_COUNT) - 1 == super::TOKENS_MAX);

impl Planes {
    pub(super) fn of(tokens: &[(u16, u16)]) -> Self {
        let mut planes = [0_u64; PLANE_COUNT];
        for (place, count) in tokens {
            for (bit, plane) in planes.iter_mut().enumerate() {
                *plane |= u64::from(count >> bit & 1) << place;
            }
        }
        Self(planes)
    }

    /// Returns which places hold tokens.
    #[inline]
    pub(super) fn marks(&self) -> u64 {
        self.0.iter().fold(0, |marks, plane| marks | plane)
    }

    pub(super) fn count(&self, place: u16) -> u16 {
        (0..).zip(&self.0).fold(0, |count, (bit, plane)| count | u16::from(plane & (1 << place) != 0) << bit)
    }
}

fn checked(count: u16) -> u8 {
    u8::try_from(count).expect("invariant: counts are checked when a marking is loaded")
}

/// Markings of one wider net, in both forms.
#[derive(Debug)]
pub(super) struct ManySlab {
    place_count: usize,
    pub(super) bits: Vec<u64>,
    pub(super) counts: Vec<u8>,
    /// Marked places of each marking, of bits and of counters.
    pub(super) filled: [Vec<u32>; 2],
    free: [Vec<u32>; 2],
}

impl ManySlab {
    pub(super) fn new(place_count: usize) -> Self {
        Self {
            place_count,
            bits: Vec::new(),
            counts: Vec::new(),
            filled: [Vec::new(), Vec::new()],
            free: [Vec::new(), Vec::new()],
        }
    }

    pub(super) fn word_count(&self) -> usize {
        self.place_count.div_ceil(64)
    }

    pub(super) fn place_count(&self) -> usize {
        self.place_count
    }

    fn claim(&mut self, kind: usize, tokens: &[(u16, u16)]) -> u32 {
        let index = self.free[kind].pop().unwrap_or_else(|| {
            self.filled[kind].push(0);
            u32::try_from(self.filled[kind].len() - 1).expect("invariant: fewer markings than 2^32 are live")
        });
        self.filled[kind][index as usize] =
            u32::try_from(tokens.len()).expect("invariant: a net has at most 16,384 places");
        index
    }

    pub(super) fn add_bits(&mut self, tokens: &[(u16, u16)]) -> u32 {
        let index = self.claim(0, tokens);
        let width = self.word_count();
        self.bits.resize(width * self.filled[0].len(), 0);
        let words = &mut self.bits[index as usize * width..][..width];
        words.fill(0);
        for (place, _) in tokens {
            words[usize::from(*place) / 64] |= 1 << (place % 64);
        }
        index
    }

    pub(super) fn add_counts(&mut self, tokens: &[(u16, u16)]) -> u32 {
        let index = self.claim(1, tokens);
        let width = self.place_count;
        self.counts.resize(width * self.filled[1].len(), 0);
        let counts = &mut self.counts[index as usize * width..][..width];
        counts.fill(0);
        for (place, count) in tokens {
            counts[usize::from(*place)] = checked(*count);
        }
        index
    }

    pub(super) fn remove_bits(&mut self, index: u32) {
        self.free[0].push(index);
    }

    pub(super) fn remove_counts(&mut self, index: u32) {
        self.free[1].push(index);
    }

    pub(super) fn count(&self, slot: Slot, place: u16) -> u16 {
        let (at, place) = (slot.index as usize, usize::from(place));
        match slot.form {
            Form::ManyBits => {
                u16::from(self.bits[at * self.word_count() + place / 64] & (1 << (place % 64)) != 0)
            }
            _ => u16::from(self.counts[at * self.place_count + place]),
        }
    }

    pub(super) fn marked_count(&self, slot: Slot) -> u32 {
        self.filled[usize::from(slot.form == Form::ManyCounts)][slot.index as usize]
    }

    /// Returns the numbers of markings ever open at once, of bits and of counters.
    pub(super) fn lens(&self) -> [usize; 2] {
        [self.filled[0].len(), self.filled[1].len()]
    }
}
