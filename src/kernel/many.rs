//! Steps on nets of more than 64 places: lists instead of masks, bits or counters beneath.

use super::slab::ManySlab;
use super::table::{NO_TASK, Table};
use super::wave::Phase;
use crate::net::{Gate, Task};

/// In an entry of the affected tasks: a place of the preset was marked before, and the task was not busy.
pub(super) const SOME_BEFORE: u16 = 1 << 15;
/// Every place was.
pub(super) const ALL_BEFORE: u16 = 1 << 14;
/// A place is marked after, and the task is not busy.
pub(super) const SOME_AFTER: u16 = 1 << 13;
/// Every place is.
pub(super) const ALL_AFTER: u16 = 1 << 12;
/// The task of an entry.
pub(super) const TASK: u16 = ALL_AFTER - 1;
const _: () = assert!(crate::net::TASK_COUNT_MAX <= TASK as usize + 1);

/// A step on a wider net.
#[derive(Debug, Clone, Copy)]
pub(super) struct ManyStep {
    pub(super) net: u32,
    pub(super) slot: u32,
    pub(super) task: u16,
    pub(super) phase: Phase,
    pub(super) is_counted: bool,
    /// Chosen places: where they lie in [`ManyWave::puts`].
    pub(super) put_start: u32,
    pub(super) put_end: u32,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ending {
    #[default]
    Done,
    Refused,
    Overflow,
}

/// What a step did; the lists lie one after the other in [`ManyWave::lists`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ManyRecord {
    pub(super) ending: Ending,
    pub(super) is_empty: bool,
    pub(super) is_output_marked: bool,
    pub(super) taken: u32,
    pub(super) removed: u32,
    pub(super) put: u32,
    pub(super) affected: u32,
    pub(super) end: u32,
}

/// The steps of a wave on wider nets, and what they did.
#[derive(Debug, Default)]
pub(super) struct ManyWave {
    pub(super) steps: Vec<ManyStep>,
    pub(super) records: Vec<ManyRecord>,
    pub(super) puts: Vec<u16>,
    /// Has room for what all steps may list.
    pub(super) lists: Vec<u16>,
    pub(super) list_max: usize,
}

/// Tokens by place.
trait Cells {
    const LIMIT: u8;
    fn count(&self, place: u16) -> u8;
    fn set(&mut self, place: u16, count: u8);
}

struct Bits<'a>(&'a mut [u64]);

impl Cells for Bits<'_> {
    const LIMIT: u8 = 1;

    fn count(&self, place: u16) -> u8 {
        u8::from(self.0[usize::from(place) / 64] & (1 << (place % 64)) != 0)
    }

    fn set(&mut self, place: u16, count: u8) {
        let word = &mut self.0[usize::from(place) / 64];
        *word = *word & !(1 << (place % 64)) | u64::from(count > 0) << (place % 64);
    }
}

struct Counts<'a>(&'a mut [u8]);

impl Cells for Counts<'_> {
    const LIMIT: u8 = u8::MAX;

    fn count(&self, place: u16) -> u8 {
        self.0[usize::from(place)]
    }

    fn set(&mut self, place: u16, count: u8) {
        self.0[usize::from(place)] = count;
    }
}

pub(super) fn run(tables: &mut [Table], slabs: &mut [ManySlab], wave: &mut ManyWave) {
    assert!(wave.steps.len() == wave.records.len(), "invariant: a record for each step");
    assert!(wave.lists.is_empty() && wave.lists.capacity() >= wave.list_max, "invariant: room for all lists");
    for (step, record) in wave.steps.iter().zip(&mut wave.records) {
        let (table, slab) = (&mut tables[step.net as usize], &mut slabs[step.net as usize]);
        let chosen = &wave.puts[step.put_start as usize..step.put_end as usize];
        let at = step.slot as usize;
        let (words, places) = (slab.word_count(), slab.place_count());
        if step.is_counted {
            let mut cells = Counts(&mut slab.counts[at * places..][..places]);
            *record = take_step(table, step, chosen, &mut cells, &mut slab.filled[1][at], &mut wave.lists);
        } else {
            let mut cells = Bits(&mut slab.bits[at * words..][..words]);
            *record = take_step(table, step, chosen, &mut cells, &mut slab.filled[0][at], &mut wave.lists);
        }
    }
    assert!(wave.lists.len() <= wave.list_max, "invariant: lists stay within their room");
}

fn take_step(
    table: &mut Table,
    step: &ManyStep,
    chosen: &[u16],
    cells: &mut impl Cells,
    filled: &mut u32,
    lists: &mut Vec<u16>,
) -> ManyRecord {
    let net = std::sync::Arc::clone(&table.net);
    let task = &net.tasks[usize::from(step.task)];
    let taken = position(lists);
    let is_enabled = list_taken(task, step.phase, cells, lists);
    let removed = position(lists);
    if is_enabled {
        list_removed(task, step.phase, cells, lists, taken);
    }
    let put = position(lists);
    lists.extend_from_slice(chosen);
    if step.phase == Phase::Start {
        lists.push(task.busy);
    }
    let affected = position(lists);
    let mut record = ManyRecord { taken, removed, put, affected, ..ManyRecord::default() };
    record.ending = if !is_enabled {
        Ending::Refused
    } else if overflows(task, step.phase, cells, lists, &record) {
        Ending::Overflow
    } else {
        Ending::Done
    };
    if record.ending == Ending::Done {
        list_affected(table, cells, lists, &record);
        apply(cells, filled, lists, &record);
        for entry in &mut lists[affected as usize..] {
            *entry |= enabling(&net.tasks[usize::from(*entry & TASK)], cells) >> 2;
        }
    } else {
        lists.truncate(taken as usize);
        (record.removed, record.put, record.affected) = (taken, taken, taken);
    }
    record.end = position(lists);
    record.is_empty = *filled == 0;
    record.is_output_marked = cells.count(net.output) > 0;
    record
}

fn position(lists: &[u16]) -> u32 {
    u32::try_from(lists.len()).expect("invariant: lists are limited")
}

/// Lists what is taken; tells whether the step is enabled.
fn list_taken(task: &Task, phase: Phase, cells: &impl Cells, lists: &mut Vec<u16>) -> bool {
    let is_busy = cells.count(task.busy) > 0;
    if phase == Phase::Complete {
        lists.push(task.busy);
        return is_busy;
    }
    let start = lists.len();
    for place in task.preset.iter().filter(|place| cells.count(**place) > 0) {
        lists.push(*place);
        if task.join == Gate::Xor {
            break;
        }
    }
    let count = lists.len() - start;
    let is_joined = if task.join == Gate::And { count == task.preset.len() } else { true };
    !is_busy && count > 0 && is_joined
}

fn list_removed(task: &Task, phase: Phase, cells: &impl Cells, lists: &mut Vec<u16>, taken: u32) {
    if phase == Phase::Start {
        return;
    }
    let end = lists.len();
    for place in &task.removes {
        let is_taken = lists[taken as usize..end].binary_search(place).is_ok();
        if cells.count(*place) > u8::from(is_taken) {
            lists.push(*place);
        }
    }
}

fn overflows<C: Cells>(task: &Task, phase: Phase, cells: &C, lists: &[u16], record: &ManyRecord) -> bool {
    let taken = &lists[record.taken as usize..record.removed as usize];
    lists[record.put as usize..record.affected as usize].iter().any(|place| {
        let is_removed = phase != Phase::Start && task.removes.binary_search(place).is_ok();
        !is_removed && cells.count(*place) - u8::from(taken.binary_search(place).is_ok()) == C::LIMIT
    })
}

/// Lists the tasks that look at a place that changes, with how enabled they are before.
fn list_affected(table: &mut Table, cells: &impl Cells, lists: &mut Vec<u16>, record: &ManyRecord) {
    table.stamp += 1;
    let Table { net, owner, consumers, or_joins, stamps, stamp, .. } = table;
    let mut look = |task: u16, lists: &mut Vec<u16>| {
        if std::mem::replace(&mut stamps[usize::from(task)], *stamp) != *stamp {
            lists.push(task | enabling(&net.tasks[usize::from(task)], cells));
        }
    };
    for at in record.taken as usize..record.affected as usize {
        let place = usize::from(lists[at]);
        if owner[place] != NO_TASK {
            look(owner[place], lists);
        }
        for task in &consumers[place] {
            look(*task, lists);
        }
    }
    for task in or_joins.iter() {
        look(*task, lists);
    }
}

/// Returns how enabled a task is, in the bits for before.
fn enabling(task: &Task, cells: &impl Cells) -> u16 {
    let marked = task.preset.iter().filter(|place| cells.count(**place) > 0).count();
    if marked == 0 || cells.count(task.busy) > 0 {
        return 0;
    }
    if marked == task.preset.len() { SOME_BEFORE | ALL_BEFORE } else { SOME_BEFORE }
}

fn apply(cells: &mut impl Cells, filled: &mut u32, lists: &[u16], record: &ManyRecord) {
    for place in &lists[record.taken as usize..record.removed as usize] {
        let count = cells.count(*place) - 1;
        *filled -= u32::from(count == 0);
        cells.set(*place, count);
    }
    for place in &lists[record.removed as usize..record.put as usize] {
        *filled -= 1;
        cells.set(*place, 0);
    }
    for place in &lists[record.put as usize..record.affected as usize] {
        let count = cells.count(*place) + 1;
        *filled += u32::from(count == 1);
        cells.set(*place, count);
    }
}
