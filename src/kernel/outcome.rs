//! What a step did, in numbers of its net.

use super::many::{ALL_AFTER, ALL_BEFORE, Ending, ManyRecord, SOME_AFTER, SOME_BEFORE, TASK};
use super::table::{NO_TASK, Row, Table, mask};
use super::wave::Wave;
use super::word::{OVERFLOW, REFUSED, fire, take};
use super::{Form, Kernel, NetHandle};
use crate::net::Gate;

/// What one step of a wave did; worked out from the wave's record when asked.
///
/// A step that was refused or would have overflowed changed nothing and lists nothing.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    table: &'a Table,
    seen: Seen<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Seen<'a> {
    Narrow(Narrow<'a>),
    Many(&'a ManyRecord, &'a [u16]),
}

#[derive(Debug, Clone, Copy)]
struct Narrow<'a> {
    row: &'a Row,
    /// Number of the row within its net.
    number: usize,
    before: u64,
    after: u64,
    was: u64,
    now: u64,
    flags: u64,
    removed: u64,
    put: u64,
}

/// Numbers of places or tasks, ascending except where a net is wide.
#[derive(Debug, Clone)]
pub struct Numbers<'a>(Source<'a>);

#[derive(Debug, Clone)]
enum Source<'a> {
    /// Numbers of the bits set.
    Bits(u64),
    /// Names of the bits set.
    Named(u64, &'a [u16]),
    List(std::slice::Iter<'a, u16>),
    /// Owners of busy places in a list.
    Owners(std::slice::Iter<'a, u16>, &'a [u16]),
    /// Tasks of entries for which the test holds.
    Entries(std::slice::Iter<'a, u16>, &'a Table, Which),
    /// OR-joins that a marking leaves to be judged.
    Judged(std::slice::Iter<'a, u16>, &'a Table, u64),
}

/// What is asked of the tasks that a step may concern.
#[derive(Debug, Clone, Copy)]
enum Which {
    Enabled,
    Withdrawn,
    Changed,
}

impl Which {
    /// Answers for an entry of a wider net.
    fn holds(self, entry: u16, table: &Table) -> bool {
        let join = table.net.tasks[usize::from(entry & TASK)].join;
        let has = |bits: u16| entry & bits != 0;
        let (before, after) = if join == Gate::Xor {
            (has(SOME_BEFORE), has(SOME_AFTER))
        } else {
            (has(ALL_BEFORE), has(ALL_AFTER))
        };
        match (self, join) {
            (Self::Enabled, _) => after && !before,
            (Self::Withdrawn, Gate::Or) => has(SOME_BEFORE) && !has(SOME_AFTER),
            (Self::Withdrawn, _) => before && !after,
            (Self::Changed, Gate::Or) => has(SOME_AFTER) && !after,
            (Self::Changed, _) => false,
        }
    }
}

/// One bit a lane for each answer.
struct LaneSets {
    enabled: u64,
    withdrawn: u64,
}

impl<'a> Narrow<'a> {
    fn bits(&self, bits: u64) -> Numbers<'a> {
        Numbers(Source::Bits(if self.flags == 0 { bits } else { 0 }))
    }

    fn lanes(&self, table: &Table) -> LaneSets {
        if self.flags != 0 {
            return LaneSets { enabled: 0, withdrawn: 0 };
        }
        let or = table.or_lanes[self.number];
        let mut sets = LaneSets { enabled: self.now & !self.was & !or, withdrawn: self.was & !self.now };
        let mut rest = or & self.now;
        while let Some(lane) = lowest(&mut rest) {
            let task = table.affected[self.number][usize::from(lane)];
            let pre = mask(&table.net.tasks[usize::from(task)].preset);
            let was_all = self.was & (1 << lane) != 0 && self.before & pre == pre;
            if self.after & pre == pre && !was_all {
                sets.enabled |= 1 << lane;
            }
        }
        sets
    }
}

fn slice(lists: &[u16], from: u32, to: u32) -> &[u16] {
    &lists[from as usize..to as usize]
}

fn list(lists: &[u16], from: u32, to: u32) -> Numbers<'_> {
    Numbers(Source::List(slice(lists, from, to).iter()))
}

fn lowest(bits: &mut u64) -> Option<u16> {
    let bit = (*bits != 0).then_some(bits.trailing_zeros())?;
    *bits &= *bits - 1;
    u16::try_from(bit).ok()
}

impl Iterator for Numbers<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        match &mut self.0 {
            Source::Bits(bits) => lowest(bits),
            Source::Named(bits, names) => lowest(bits).map(|bit| names[usize::from(bit)]),
            Source::List(list) => list.next().copied(),
            Source::Owners(list, owner) => {
                list.map(|place| owner[usize::from(*place)]).find(|task| *task != NO_TASK)
            }
            Source::Judged(list, table, marking) => list.copied().find(|task| {
                let task = &table.net.tasks[usize::from(*task)];
                let (pre, busy) = (mask(&task.preset), 1_u64 << task.busy);
                *marking & busy == 0 && *marking & pre != 0 && *marking & pre != pre
            }),
            Source::Entries(list, table, which) => {
                list.find(|entry| which.holds(**entry, table)).map(|entry| entry & TASK)
            }
        }
    }
}

impl<'a> Outcome<'a> {
    fn named(&self, narrow: Narrow<'a>, lanes: u64) -> Numbers<'a> {
        Numbers(Source::Named(lanes, &self.table.affected[narrow.number]))
    }

    fn entries(&self, record: &ManyRecord, lists: &'a [u16], which: Which) -> Numbers<'a> {
        let entries = slice(lists, record.affected, record.end).iter();
        Numbers(Source::Entries(entries, self.table, which))
    }

    pub(super) fn of(wave: &'a Wave, kernel: &'a Kernel, net: NetHandle, form: Form, at: usize) -> Self {
        let table = &kernel.tables[net.number as usize];
        let narrow = |row: u32| (&kernel.rows[row as usize], (row - net.first_row) as usize);
        let seen = match form {
            Form::Word => {
                let (step, record) = (&wave.word.steps[at], &wave.word.records[at]);
                let (row, number) = narrow(step.row);
                let (_, flags) = fire(row, record.before, step.put);
                let (taken, _) = take(row, record.before);
                Seen::Narrow(Narrow {
                    row,
                    number,
                    before: record.before,
                    after: record.after,
                    was: record.was,
                    now: record.now,
                    flags,
                    removed: record.before & !taken & row.remove,
                    put: step.put,
                })
            }
            Form::Tally => {
                let (step, record) = (&wave.tally.steps[at], &wave.tally.records[at]);
                let (row, number) = narrow(step.row);
                let flags = record.now & (REFUSED | OVERFLOW);
                Seen::Narrow(Narrow {
                    row,
                    number,
                    before: record.before,
                    after: record.after,
                    was: record.was,
                    now: record.now & !flags,
                    flags,
                    removed: record.removed,
                    put: step.put,
                })
            }
            Form::ManyBits | Form::ManyCounts => Seen::Many(&wave.many.records[at], &wave.many.lists),
        };
        Self { table, seen }
    }

    /// Tells whether the step was not enabled.
    pub fn refused(&self) -> bool {
        match self.seen {
            Seen::Narrow(narrow) => narrow.flags & REFUSED != 0,
            Seen::Many(record, _) => record.ending == Ending::Refused,
        }
    }

    /// Tells whether the step would have put a token more than the marking's form holds in a place.
    pub fn overflow(&self) -> bool {
        match self.seen {
            Seen::Narrow(narrow) => narrow.flags & OVERFLOW != 0,
            Seen::Many(record, _) => record.ending == Ending::Overflow,
        }
    }

    /// Tells whether the step was taken.
    pub fn is_done(&self) -> bool {
        !self.refused() && !self.overflow()
    }

    /// Returns the places that lost one token each: those of the join, or the busy place at a completion.
    pub fn taken(&self) -> Numbers<'a> {
        match self.seen {
            Seen::Narrow(narrow) => narrow.bits(take(narrow.row, narrow.before).0),
            Seen::Many(record, lists) => list(lists, record.taken, record.removed),
        }
    }

    /// Returns the places that lost all their tokens to the remove set; places that had none are not among them.
    pub fn removed(&self) -> Numbers<'a> {
        match self.seen {
            Seen::Narrow(narrow) => narrow.bits(narrow.removed),
            Seen::Many(record, lists) => list(lists, record.removed, record.put),
        }
    }

    /// Returns the places that got one token each: those chosen, or the busy place at a start.
    pub fn put(&self) -> Numbers<'a> {
        match self.seen {
            Seen::Narrow(narrow) => narrow.bits(narrow.put | narrow.row.put),
            Seen::Many(record, lists) => list(lists, record.put, record.affected),
        }
    }

    /// Returns the tasks that were busy and lost that to the remove set.
    pub fn stopped(&self) -> Numbers<'a> {
        Numbers(match self.seen {
            Seen::Narrow(narrow) if narrow.flags != 0 => Source::Bits(0),
            Seen::Narrow(narrow) => Source::Named(narrow.removed & self.table.busy, &self.table.owner),
            Seen::Many(record, lists) => {
                Source::Owners(slice(lists, record.removed, record.put).iter(), &self.table.owner)
            }
        })
    }

    /// Returns the tasks that became enabled; of the OR-joins those whose places are now all marked.
    pub fn enabled(&self) -> Numbers<'a> {
        match self.seen {
            Seen::Narrow(narrow) => {
                let lanes = narrow.lanes(self.table);
                self.named(narrow, lanes.enabled)
            }
            Seen::Many(record, lists) => self.entries(record, lists, Which::Enabled),
        }
    }

    /// Returns the tasks that were enabled, or OR-joins that may have been, and cannot start now.
    pub fn withdrawn(&self) -> Numbers<'a> {
        match self.seen {
            Seen::Narrow(narrow) => {
                let lanes = narrow.lanes(self.table);
                self.named(narrow, lanes.withdrawn)
            }
            Seen::Many(record, lists) => self.entries(record, lists, Which::Withdrawn),
        }
    }

    /// Returns the OR-joins of which some but not all places are marked now and which this step may concern:
    /// they must be judged anew.
    pub fn changed(&self) -> Numbers<'a> {
        match self.seen {
            Seen::Narrow(narrow) => {
                let judged = if narrow.flags == 0 { &self.table.judged[narrow.number][..] } else { &[] };
                Numbers(Source::Judged(judged.iter(), self.table, narrow.after))
            }
            Seen::Many(record, lists) => self.entries(record, lists, Which::Changed),
        }
    }

    /// Tells whether the output condition is marked now.
    pub fn output_marked(&self) -> bool {
        match self.seen {
            Seen::Narrow(narrow) => narrow.after & (1 << self.table.net.output) != 0,
            Seen::Many(record, _) => record.is_output_marked,
        }
    }

    /// Tells whether no place is marked now.
    pub fn is_empty(&self) -> bool {
        match self.seen {
            Seen::Narrow(narrow) => narrow.after == 0,
            Seen::Many(record, _) => record.is_empty,
        }
    }
}
