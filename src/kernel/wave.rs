//! A wave: many steps, at most one a marking, and room for what they do.

use super::many::{ManyRecord, ManyStep, ManyWave};
use super::outcome::Outcome;
use super::tally::{TallyRecord, TallyWave};
use super::word::{Record, WordStep, WordWave};
use super::{Form, Kernel, NetHandle, Slot};

/// Most steps in a wave. Source: performance.md measures waves of 64 to 4,096 steps.
pub const WAVE_STEPS_MAX: usize = 4_096;
/// Most numbers that the outcomes of a wave's steps on wider nets may list together: 8 MiB.
pub const WAVE_LIST_MAX: usize = 4_194_304;
/// Seats of the table that finds a second step on one marking; twice the steps, so that it stays half empty.
const SEAT_COUNT: usize = 2 * WAVE_STEPS_MAX;
const _: () = assert!(SEAT_COUNT.is_power_of_two());

/// What a task does in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Takes tokens as its join says and becomes busy.
    Start,
    /// Is busy no more, empties its remove set, then puts tokens.
    Complete,
    /// Both at once.
    Pass,
}

/// One step of one marking.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The net.
    pub net: NetHandle,
    /// The marking.
    pub slot: Slot,
    /// Number of the task.
    pub task: u16,
    /// What it does.
    pub phase: Phase,
    /// Places of the flows that were chosen; a place named twice counts once; ignored at a start.
    pub put: &'a [u16],
}

/// The wave has no room for the step: run it and clear it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the wave is full")
    }
}

impl std::error::Error for Full {}

/// Steps for one call of [`super::run`] and what they did. Its buffers are kept from wave to wave.
#[derive(Debug)]
pub struct Wave {
    pub(super) word: WordWave,
    pub(super) tally: TallyWave,
    pub(super) many: ManyWave,
    pub(super) has_run: bool,
    order: Vec<(NetHandle, Form, u32)>,
    net_end: usize,
    /// Keys of the markings that have a step, in the order of the steps.
    keys: Vec<u64>,
    /// Finds keys: a table of their numbers from 1, 0 where there is none. Small, so that filling a wave leaves the
    /// caches to the run.
    seats: Vec<u16>,
    /// Seats that are taken, to be freed again.
    taken: Vec<u16>,
}

impl Default for Wave {
    fn default() -> Self {
        Self::new()
    }
}

impl Wave {
    /// Makes an empty wave with room for [`WAVE_STEPS_MAX`] steps on nets of at most 64 places.
    pub fn new() -> Self {
        let mut wave = Self {
            word: WordWave::default(),
            tally: TallyWave::default(),
            many: ManyWave::default(),
            has_run: false,
            order: Vec::with_capacity(WAVE_STEPS_MAX),
            net_end: 0,
            keys: Vec::with_capacity(WAVE_STEPS_MAX),
            seats: vec![0; SEAT_COUNT],
            taken: Vec::with_capacity(WAVE_STEPS_MAX),
        };
        wave.word.steps.reserve(WAVE_STEPS_MAX);
        wave.word.records.reserve(WAVE_STEPS_MAX);
        wave
    }

    /// Forgets all steps; keeps the buffers.
    pub fn clear(&mut self) {
        self.word.steps.clear();
        self.word.records.clear();
        (self.word.row_end, self.word.slot_end) = (0, 0);
        self.tally.steps.clear();
        self.tally.records.clear();
        (self.tally.row_end, self.tally.slot_end) = (0, 0);
        self.many.steps.clear();
        self.many.records.clear();
        self.many.puts.clear();
        self.many.lists.clear();
        self.many.list_max = 0;
        self.order.clear();
        self.net_end = 0;
        self.keys.clear();
        for seat in self.taken.drain(..) {
            self.seats[usize::from(seat)] = 0;
        }
        self.has_run = false;
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Tells whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Tells whether the marking has a step in this wave already.
    pub fn has(&self, net: NetHandle, slot: Slot) -> bool {
        let key = key(net, slot);
        self.seats[self.seat(key)] != 0
    }

    /// Adds a step; its outcome will have the number that [`Wave::len`] had before.
    ///
    /// # Errors
    /// The wave is full; nothing was added.
    ///
    /// # Panics
    /// The wave has run, the marking has a step already, the net has no such task, or a place lies beyond it.
    pub fn push(&mut self, step: Step<'_>) -> Result<(), Full> {
        assert!(!self.has_run, "invariant: a wave is cleared before it is filled again");
        assert!(step.task < step.net.task_count, "invariant: the net has task {}", step.task);
        let room = self.many.list_max + step.net.list_max as usize;
        if self.order.len() == WAVE_STEPS_MAX || room > WAVE_LIST_MAX {
            return Err(Full);
        }
        let key = key(step.net, step.slot);
        let seat = self.seat(key);
        assert!(self.seats[seat] == 0, "invariant: at most one step a marking in a wave");
        self.keys.push(key);
        self.seats[seat] = u16::try_from(self.keys.len()).expect("invariant: a wave has at most 4,096 steps");
        self.taken.push(u16::try_from(seat).expect("invariant: a seat is a number of 13 bits"));
        let index = match step.slot.form {
            Form::Word => {
                let resolved = resolve(&step);
                self.word.row_end = self.word.row_end.max(resolved.row as usize + 1);
                self.word.slot_end = self.word.slot_end.max(resolved.slot as usize + 1);
                self.word.steps.push(resolved);
                self.word.records.push(Record::default());
                self.word.steps.len() - 1
            }
            Form::Tally => {
                let resolved = resolve(&step);
                self.tally.row_end = self.tally.row_end.max(resolved.row as usize + 1);
                self.tally.slot_end = self.tally.slot_end.max(resolved.slot as usize + 1);
                self.tally.steps.push(resolved);
                self.tally.records.push(TallyRecord::default());
                self.tally.steps.len() - 1
            }
            Form::ManyBits | Form::ManyCounts => {
                self.push_many(&step);
                self.many.list_max = room;
                self.many.lists.reserve(room);
                self.many.steps.len() - 1
            }
        };
        self.net_end = self.net_end.max(step.net.number as usize + 1);
        let index = u32::try_from(index).expect("invariant: a wave has at most 4,096 steps");
        self.order.push((step.net, step.slot.form, index));
        Ok(())
    }

    fn push_many(&mut self, step: &Step<'_>) {
        let start = self.many.puts.len();
        if step.phase != Phase::Start {
            self.many.puts.extend_from_slice(step.put);
            self.many.puts[start..].sort_unstable();
            let mut end = start;
            for at in start..self.many.puts.len() {
                if at == start || self.many.puts[at] != self.many.puts[end - 1] {
                    self.many.puts[end] = self.many.puts[at];
                    end += 1;
                }
            }
            self.many.puts.truncate(end);
        }
        let position = |at: usize| u32::try_from(at).expect("invariant: puts are limited by flows and steps");
        self.many.steps.push(ManyStep {
            net: step.net.number,
            slot: step.slot.index,
            task: step.task,
            phase: step.phase,
            is_counted: step.slot.form == Form::ManyCounts,
            put_start: position(start),
            put_end: position(self.many.puts.len()),
        });
        self.many.records.push(ManyRecord::default());
    }

    /// Returns the seat of a key, or the free one that it would get.
    fn seat(&self, key: u64) -> usize {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let mut seat = usize::try_from(hash).expect("invariant: 24 bits fit") % SEAT_COUNT;
        while self.seats[seat] != 0 && self.keys[usize::from(self.seats[seat]) - 1] != key {
            seat = (seat + 1) % SEAT_COUNT;
        }
        seat
    }

    /// Checks before a run that this kernel has the nets of the wave.
    pub(super) fn check(&self, kernel: &Kernel) {
        assert!(!self.has_run, "invariant: a wave runs once");
        assert!(self.net_end <= kernel.tables.len(), "invariant: a wave's nets are this kernel's");
        let held = |step: &ManyStep| {
            let lens = kernel.many[step.net as usize].lens();
            (step.slot as usize) < lens[usize::from(step.is_counted)]
        };
        assert!(self.many.steps.iter().all(held), "invariant: a wave's slots are this kernel's");
        let known = |step: &ManyStep| {
            let places = kernel.many[step.net as usize].place_count();
            let put = &self.many.puts[step.put_start as usize..step.put_end as usize];
            put.last().is_none_or(|place| usize::from(*place) < places)
                && put.len() <= kernel.tables[step.net as usize].net.tasks[usize::from(step.task)].flows.len()
        };
        assert!(self.many.steps.iter().all(known), "invariant: a step puts on places of its flows");
        debug_assert!(self.order.iter().all(|(net, form, at)| {
            let step = match form {
                Form::Word => &self.word.steps[*at as usize],
                Form::Tally => &self.tally.steps[*at as usize],
                Form::ManyBits | Form::ManyCounts => return true,
            };
            let row = (step.row - net.first_row) as usize;
            step.put & !kernel.tables[net.number as usize].flows[row] == 0
        }));
    }

    /// Returns what step `index` did, once the wave has run.
    ///
    /// # Panics
    /// The wave has not run, or has no such step.
    pub fn outcome<'a>(&'a self, kernel: &'a Kernel, index: usize) -> Outcome<'a> {
        assert!(self.has_run, "invariant: outcomes are read after the run");
        let (net, form, at) = self.order[index];
        Outcome::of(self, kernel, net, form, at as usize)
    }
}

fn key(net: NetHandle, slot: Slot) -> u64 {
    let (form, net) = match slot.form {
        Form::Word => (0, 0),
        Form::Tally => (1, 0),
        Form::ManyBits => (2, net.number),
        Form::ManyCounts => (3, net.number),
    };
    // Four forms, 2^30 nets, 2^32 markings.
    form << 62 | u64::from(net) << 32 | u64::from(slot.index)
}

fn resolve(step: &Step<'_>) -> WordStep {
    let phase = match step.phase {
        Phase::Start => 0,
        Phase::Complete => 1,
        Phase::Pass => 2,
    };
    let mut put = 0;
    if step.phase != Phase::Start {
        for place in step.put {
            assert!(*place < 64, "invariant: a narrow net has at most 64 places");
            put |= 1_u64 << place;
        }
    }
    WordStep { row: step.net.first_row + 3 * u32::from(step.task) + phase, slot: step.slot.index, put }
}
