//! What the kernel knows about a net: masks for narrow ones, lists for the others.

use std::sync::Arc;

use super::wave::Phase;
use crate::net::{Gate, Net, Task};

/// Most places of a narrow net: one bit each in a word.
pub(super) const NARROW_PLACES_MAX: usize = 64;
/// Most tasks of a narrow net: one bit each beside the two that say how a step went.
pub(super) const NARROW_TASKS_MAX: usize = 62;
/// Tasks whose enabling is computed at once.
pub(super) const CHUNK_LANES: usize = 4;
/// Stands for no task in [`Table::owner`].
pub(super) const NO_TASK: u16 = u16::MAX;

/// When each of four tasks is enabled: `marking & care == care & any` and `marking & any != 0`.
///
/// `any` is the preset. `care` is what must be as it is in `any`: the busy place, which must be empty, and for an
/// AND-join the preset, which must be marked. An OR-join counts as enabled here when it may be: a place is marked.
/// An unused lane is all zeros and never enabled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chunk {
    pub(super) care: Masks,
    pub(super) any: Masks,
}

/// A mask for each of four tasks, aligned for one load.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Masks(pub(super) [u64; CHUNK_LANES]);

/// One phase of one task of a narrow net; two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Row {
    /// The first four tasks whose enabling it may change.
    pub(super) chunk: Chunk,
    /// Where tokens are taken from.
    pub(super) pre: u64,
    /// Which of them must all be marked.
    pub(super) need: u64,
    /// What must be as it is in `need`: the same, and the busy place, which must be empty at a start.
    pub(super) care: u64,
    /// All ones when every marked one is taken, zero when the lowest is.
    pub(super) all: u64,
    /// What is emptied before tokens are put.
    pub(super) remove: u64,
    /// What is put whatever was chosen: the busy place, at a start.
    pub(super) put: u64,
    /// Further chunks.
    pub(super) more: u32,
    pub(super) more_count: u32,
}

/// A net in use.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) net: Arc<Net>,
    pub(super) is_narrow: bool,
    pub(super) list_max: u32,
    /// The task that a busy place belongs to, by place; [`NO_TASK`] for others.
    pub(super) owner: Vec<u16>,
    /// Narrow: tasks by lane, for each row from the net's first.
    pub(super) affected: Vec<Vec<u16>>,
    /// Narrow: lanes of OR-joins, for each row.
    pub(super) or_lanes: Vec<u64>,
    /// Narrow: OR-joins whose judgement may depend on what a row touches, for each row.
    pub(super) judged: Vec<Vec<u16>>,
    /// Narrow: what may be put, for each row.
    pub(super) flows: Vec<u64>,
    /// Narrow: all busy places.
    pub(super) busy: u64,
    /// Wider: tasks that take from each place.
    pub(super) consumers: Vec<Vec<u16>>,
    /// Wider: all OR-joins.
    pub(super) or_joins: Vec<u16>,
    /// Wider: the step that last looked at a task.
    pub(super) stamps: Vec<u64>,
    pub(super) stamp: u64,
}

pub(super) fn mask(places: &[u16]) -> u64 {
    places.iter().fold(0, |mask, place| mask | 1 << place)
}

fn flow_mask(task: &Task) -> u64 {
    task.flows.iter().fold(0, |mask, flow| mask | 1 << flow.place)
}

fn number(index: usize) -> u16 {
    u16::try_from(index).expect("invariant: a net has at most 4,096 tasks")
}

impl Table {
    pub(super) fn build(net: &Arc<Net>, rows: &mut Vec<Row>, more: &mut Vec<Chunk>) -> Self {
        let is_narrow = net.places.len() <= NARROW_PLACES_MAX && net.tasks.len() <= NARROW_TASKS_MAX;
        let mut owner = vec![NO_TASK; net.places.len()];
        for (at, task) in net.tasks.iter().enumerate() {
            owner[usize::from(task.busy)] = number(at);
        }
        let mut table = Self {
            net: Arc::clone(net),
            is_narrow,
            list_max: 0,
            owner,
            affected: Vec::new(),
            or_lanes: Vec::new(),
            judged: Vec::new(),
            flows: Vec::new(),
            busy: 0,
            consumers: Vec::new(),
            or_joins: Vec::new(),
            stamps: Vec::new(),
            stamp: 0,
        };
        if is_narrow {
            table.busy = net.tasks.iter().fold(0, |mask, task| mask | 1 << task.busy);
            for task in &net.tasks {
                for phase in [Phase::Start, Phase::Complete, Phase::Pass] {
                    table.add_row(task, phase, rows, more);
                }
            }
        } else {
            table.add_lists();
        }
        table
    }

    fn add_row(&mut self, task: &Task, phase: Phase, rows: &mut Vec<Row>, more: &mut Vec<Chunk>) {
        let (pre, busy, remove, flows) =
            (mask(&task.preset), 1 << task.busy, mask(&task.removes), flow_mask(task));
        let need = if task.join == Gate::And { pre } else { 0 };
        let all = if task.join == Gate::Xor { 0 } else { u64::MAX };
        let (row, touched) = match phase {
            Phase::Start => {
                (Row { put: busy, care: need | busy, pre, need, all, ..Row::empty() }, pre | busy)
            }
            Phase::Complete => {
                let row = Row { pre: busy, need: busy, care: busy, all: u64::MAX, remove, ..Row::empty() };
                (row, busy | remove | flows)
            }
            Phase::Pass => {
                (Row { pre, need, care: need | busy, all, remove, ..Row::empty() }, pre | remove | flows)
            }
        };
        let net = Arc::clone(&self.net);
        let all = || (0..net.tasks.len()).map(number);
        let affected: Vec<u16> = all().filter(|task| looks_at(&net, *task) & touched != 0).collect();
        let chunks: Vec<Chunk> = affected.chunks(CHUNK_LANES).map(|tasks| chunk(&net, tasks)).collect();
        let first_more = u32::try_from(more.len()).expect("invariant: fewer chunks than 2^32 are in use");
        more.extend(chunks.iter().skip(1));
        rows.push(Row {
            chunk: chunks.first().copied().unwrap_or_default(),
            more: first_more,
            more_count: u32::try_from(chunks.len().saturating_sub(1)).expect("invariant: few chunks a row"),
            ..row
        });
        let is_or = |task: &u16| net.tasks[usize::from(*task)].join == Gate::Or;
        let lanes = affected.iter().enumerate().filter(|(_, task)| is_or(task));
        self.or_lanes.push(lanes.fold(0, |lanes, (lane, _)| lanes | 1 << lane));
        let judged = net.or_joins.iter().filter(|join| mask(&join.region) & touched != 0);
        let judged = judged.map(|join| join.task);
        let busy_now = affected.iter().copied().filter(is_or);
        let mut judged: Vec<u16> = judged.chain(busy_now).collect();
        judged.sort_unstable();
        judged.dedup();
        self.judged.push(judged);
        self.flows.push(if phase == Phase::Start { 0 } else { flows });
        self.affected.push(affected);
    }

    fn add_lists(&mut self) {
        let net = Arc::clone(&self.net);
        self.consumers = vec![Vec::new(); net.places.len()];
        for (at, task) in net.tasks.iter().enumerate() {
            for place in &task.preset {
                self.consumers[usize::from(*place)].push(number(at));
            }
            if task.join == Gate::Or {
                self.or_joins.push(number(at));
            }
        }
        self.stamps = vec![0; net.tasks.len()];
        let longest = net.tasks.iter().map(|task| {
            let moved = task.preset.len() + task.removes.len() + task.flows.len() + 2;
            let flows = task.flows.iter().map(|flow| flow.place);
            let touched = task.preset.iter().chain(&task.removes).copied().chain(flows);
            let affected: usize =
                touched.map(|place| self.consumers[usize::from(place)].len() + 1).sum::<usize>() + 1;
            moved + (affected + self.or_joins.len()).min(net.tasks.len())
        });
        self.list_max = u32::try_from(longest.max().unwrap_or(0))
            .expect("invariant: flows and places of a net are limited");
    }
}

impl Row {
    fn empty() -> Self {
        Self {
            chunk: Chunk::default(),
            pre: 0,
            need: 0,
            care: 0,
            all: 0,
            remove: 0,
            put: 0,
            more: 0,
            more_count: 0,
        }
    }
}

/// Returns the places that tell whether a task may start.
fn looks_at(net: &Net, task: u16) -> u64 {
    let task = &net.tasks[usize::from(task)];
    mask(&task.preset) | 1 << task.busy
}

fn chunk(net: &Net, tasks: &[u16]) -> Chunk {
    let mut chunk = Chunk::default();
    for (lane, task) in tasks.iter().enumerate() {
        let task = &net.tasks[usize::from(*task)];
        let (pre, busy) = (mask(&task.preset), 1_u64 << task.busy);
        chunk.any.0[lane] = pre;
        chunk.care.0[lane] = if task.join == Gate::And { pre | busy } else { busy };
    }
    chunk
}
