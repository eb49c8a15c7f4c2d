//! The hot path: tables, markings and a wave of steps to markings and outcomes. Pure.
//!
//! Knows nets, places and tokens; knows no cases, items, data or events. Start at [`Kernel`], which holds the
//! tables of the nets in use and all live markings, then [`Wave`] and [`run`], the one call that moves tokens.
//!
//! A marking takes one of four forms. Nets of at most 64 places: one word of bits where no place ever holds two
//! tokens, else that word and a counter a place. Wider nets: many words, or counters alone. All forms give the
//! same answers where both apply; only bits answer `overflow` to a second token, and [`Kernel::widen`] then turns
//! that one marking into counters.

mod many;
mod outcome;
mod slab;
mod table;
mod tally;
mod wave;
mod word;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::net::{Gate, Net};

pub use outcome::{Numbers, Outcome};
pub use wave::{Full, Phase, Step, WAVE_LIST_MAX, WAVE_STEPS_MAX, Wave};
pub use word::Way;

use slab::{ManySlab, Planes, Slab};
use table::{Chunk, Row, Table};

/// Most tokens in a place that counters can hold; one more is answered by `overflow`.
pub const TOKENS_MAX: u16 = u8::MAX as u16;

/// Names a net that a kernel knows; made by [`Kernel::add_net`] and of no use to another kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetHandle {
    number: u32,
    first_row: u32,
    task_count: u16,
    /// Most numbers that the outcome of one step of a wider net lists.
    list_max: u32,
}

/// How a marking is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    Word,
    Tally,
    ManyBits,
    ManyCounts,
}

/// How a marking is held, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// One word of bits.
    Bits,
    /// A word and a counter a place.
    Counters,
    /// Many words of bits.
    WideBits,
    /// A counter a place, for more places than a word has bits.
    WideCounters,
}

/// Names a live marking of a kernel, until [`Kernel::end`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    form: Form,
    index: u32,
}

impl Slot {
    /// Returns how the marking is held.
    pub fn held(self) -> Held {
        match self.form {
            Form::Word => Held::Bits,
            Form::Tally => Held::Counters,
            Form::ManyBits => Held::WideBits,
            Form::ManyCounts => Held::WideCounters,
        }
    }
}

/// A stored marking does not fit its net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit {
    /// The place.
    pub place: u16,
    /// Its tokens.
    pub count: u16,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tokens on place {} do not fit the net; the limit is {TOKENS_MAX}",
            self.count, self.place
        )
    }
}

impl std::error::Error for Misfit {}

/// Where an array lies: for whoever keeps memory from being swapped out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its address.
    pub start: usize,
    /// Bytes that hold something.
    pub used_bytes: usize,
    /// Bytes that it may come to use where it lies.
    pub reserved_bytes: usize,
}

impl Region {
    /// Returns where an array lies.
    pub fn of<T>(cells: &Vec<T>) -> Self {
        let bytes = |count: usize| count * size_of::<T>();
        let start = cells.as_ptr().expose_provenance();
        Self { start, used_bytes: bytes(cells.len()), reserved_bytes: bytes(cells.capacity()) }
    }
}

/// Tables of the nets in use and all live markings of one shard.
#[derive(Debug)]
pub struct Kernel {
    way: Way,
    tables: Vec<Table>,
    rows: Vec<Row>,
    /// For rows that affect more tasks than a row itself holds.
    more: Vec<Chunk>,
    words: Slab<u64>,
    tallies: Slab<Planes>,
    /// Slabs of wider markings, one a net.
    many: Vec<ManySlab>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// Makes an empty kernel that runs in the best way this processor knows.
    pub fn new() -> Self {
        Self::with_way(Way::best())
    }

    /// Makes an empty kernel that runs in the given way, or in the scalar one where the processor lacks it.
    pub fn with_way(way: Way) -> Self {
        Self {
            way: way.or_scalar(),
            tables: Vec::new(),
            rows: Vec::new(),
            more: Vec::new(),
            words: Slab::new(),
            tallies: Slab::new(),
            many: Vec::new(),
        }
    }

    /// Makes room for so many markings of narrow nets, so that they need not move when more come.
    pub fn reserve(&mut self, markings: usize) {
        self.words.reserve(markings);
    }

    /// Returns where the markings of narrow nets lie.
    pub fn regions(&self) -> [Region; 2] {
        [self.words.region(), self.tallies.region()]
    }

    /// Returns how waves are run.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Takes a net into use. Cost: some table rows a task and phase.
    pub fn add_net(&mut self, net: &Arc<Net>) -> NetHandle {
        let number = u32::try_from(self.tables.len()).expect("invariant: fewer nets than 2^32 are in use");
        let first_row = u32::try_from(self.rows.len()).expect("invariant: fewer rows than 2^32 are in use");
        let table = Table::build(net, &mut self.rows, &mut self.more);
        let handle = NetHandle {
            number,
            first_row,
            task_count: u16::try_from(net.tasks.len()).expect("invariant: a net has at most 4,096 tasks"),
            list_max: table.list_max,
        };
        self.many.push(ManySlab::new(net.places.len()));
        self.tables.push(table);
        handle
    }

    /// Returns the join of a task, which the net has.
    pub fn join(&self, net: NetHandle, task: u16) -> Gate {
        self.table(net).net.tasks[usize::from(task)].join
    }

    fn table(&self, net: NetHandle) -> &Table {
        &self.tables[net.number as usize]
    }

    /// Opens a marking with one token on `place`.
    pub fn open(&mut self, net: NetHandle, place: u16) -> Slot {
        assert!(
            usize::from(place) < self.table(net).net.places.len(),
            "invariant: the net has place {place}"
        );
        self.load(net, &[(place, 1)]).expect("invariant: one token fits")
    }

    /// Opens a marking with the given tokens (place, count); several entries of one place add up.
    ///
    /// # Errors
    /// A place is none of the net's, or holds more than [`TOKENS_MAX`].
    pub fn load(&mut self, net: NetHandle, tokens: &[(u16, u16)]) -> Result<Slot, Misfit> {
        let table = &self.tables[net.number as usize];
        let mut sum: Vec<(u16, u16)> = tokens.iter().copied().filter(|entry| entry.1 > 0).collect();
        sum.sort_unstable();
        sum.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 = if is_same { kept.1.saturating_add(next.1) } else { kept.1 };
            is_same
        });
        let misfit =
            |entry: &&(u16, u16)| usize::from(entry.0) >= table.net.places.len() || entry.1 > TOKENS_MAX;
        if let Some(&(place, count)) = sum.iter().find(misfit) {
            return Err(Misfit { place, count });
        }
        let fits_bits = table.net.is_safe && sum.iter().all(|entry| entry.1 == 1);
        let form = match (table.is_narrow, fits_bits) {
            (true, true) => Form::Word,
            (true, false) => Form::Tally,
            (false, true) => Form::ManyBits,
            (false, false) => Form::ManyCounts,
        };
        Ok(self.place(net, form, &sum))
    }

    fn place(&mut self, net: NetHandle, form: Form, tokens: &[(u16, u16)]) -> Slot {
        let index = match form {
            Form::Word => self.words.add(tokens.iter().fold(0, |word, entry| word | 1 << entry.0)),
            Form::Tally => self.tallies.add(Planes::of(tokens)),
            Form::ManyBits => self.many[net.number as usize].add_bits(tokens),
            Form::ManyCounts => self.many[net.number as usize].add_counts(tokens),
        };
        Slot { form, index }
    }

    /// Ends a marking; its slot may be given out again.
    pub fn end(&mut self, net: NetHandle, slot: Slot) {
        match slot.form {
            Form::Word => self.words.remove(slot.index),
            Form::Tally => self.tallies.remove(slot.index),
            Form::ManyBits => self.many[net.number as usize].remove_bits(slot.index),
            Form::ManyCounts => self.many[net.number as usize].remove_counts(slot.index),
        }
    }

    /// Turns a marking of bits into counters, after an overflow; the old slot ends.
    pub fn widen(&mut self, net: NetHandle, slot: Slot) -> Slot {
        let form = match slot.form {
            Form::Word => Form::Tally,
            Form::ManyBits => Form::ManyCounts,
            Form::Tally | Form::ManyCounts => return slot,
        };
        let tokens = self.tokens(net, slot);
        self.end(net, slot);
        self.place(net, form, &tokens)
    }

    /// Tells whether a marking is held in counters, so that an overflow of it means [`TOKENS_MAX`].
    pub fn is_counted(&self, slot: Slot) -> bool {
        matches!(slot.form, Form::Tally | Form::ManyCounts)
    }

    /// Returns how many tokens a place holds; 0 for a place that the net does not have.
    pub fn count(&self, net: NetHandle, slot: Slot, place: u16) -> u16 {
        if usize::from(place) >= self.table(net).net.places.len() {
            return 0;
        }
        match slot.form {
            Form::Word => u16::from(self.words.get(slot.index) & (1 << place) != 0),
            Form::Tally => self.tallies.get(slot.index).count(place),
            Form::ManyBits | Form::ManyCounts => self.many[net.number as usize].count(slot, place),
        }
    }

    /// Returns the marking: (place, tokens), ascending, no zeros.
    pub fn tokens(&self, net: NetHandle, slot: Slot) -> Vec<(u16, u16)> {
        let places = 0..u16::try_from(self.table(net).net.places.len())
            .expect("invariant: a net has at most 16,384 places");
        places.map(|place| (place, self.count(net, slot, place))).filter(|entry| entry.1 > 0).collect()
    }

    /// Tells whether a place holds a token.
    pub fn is_marked(&self, net: NetHandle, slot: Slot, place: u16) -> bool {
        self.count(net, slot, place) > 0
    }

    /// Tells whether no place holds a token.
    pub fn is_empty(&self, net: NetHandle, slot: Slot) -> bool {
        self.marked_count(net, slot) == 0
    }

    /// Tells whether `place` alone holds tokens, and just one.
    pub fn is_only(&self, net: NetHandle, slot: Slot, place: u16) -> bool {
        self.count(net, slot, place) == 1 && self.marked_count(net, slot) == 1
    }

    fn marked_count(&self, net: NetHandle, slot: Slot) -> u32 {
        match slot.form {
            Form::Word => self.words.get(slot.index).count_ones(),
            Form::Tally => self.tallies.get(slot.index).marks().count_ones(),
            Form::ManyBits | Form::ManyCounts => self.many[net.number as usize].marked_count(slot),
        }
    }
}

/// Runs a wave: takes every step that is enabled, leaves the others undone, and writes all outcomes.
///
/// Time is linear in the steps. Never allocates, blocks, logs, reads a clock or makes a system call.
///
/// # Panics
/// Before the first step, when the wave was filled for another kernel.
pub fn run(kernel: &mut Kernel, wave: &mut Wave) {
    wave.check(kernel);
    word::run(kernel.way, &kernel.rows, &kernel.more, kernel.words.cells_mut(), &mut wave.word);
    tally::run(kernel.way, &kernel.rows, &kernel.more, kernel.tallies.cells_mut(), &mut wave.tally);
    many::run(&mut kernel.tables, &mut kernel.many, &mut wave.many);
    wave.has_run = true;
}
