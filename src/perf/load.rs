//! The nets and cases that the kernel is measured with: made up, seeded, the same everywhere.

use std::sync::Arc;

use crate::kernel::{Kernel, NetHandle, Phase, Slot};
use crate::net::{Gate, Net, Shape, ShapeTask};

/// A seeded source of numbers (splitmix64), good enough to spread cases and steps.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Makes a source that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("invariant: a size fits 64 bits");
        usize::try_from(self.roll() % end).expect("invariant: smaller than a size")
    }
}

fn task(id: &str, join: Gate, split: Gate, preset: &[u16], flows: &[u16]) -> ShapeTask {
    ShapeTask {
        id: id.to_owned(),
        join,
        split,
        preset: preset.to_vec(),
        flows: flows.to_vec(),
        removes: Vec::new(),
        stops: Vec::new(),
    }
}

fn shape(conditions: u16, tasks: Vec<ShapeTask>) -> Shape {
    let mut conditions: Vec<String> = (0..conditions).map(|at| format!("c{at}")).collect();
    conditions.push("end".to_owned());
    Shape { conditions, tasks }
}

/// So many tasks in a ring.
fn ring(tasks: u16) -> Shape {
    let next = |at: u16| task(&format!("t{at}"), Gate::Xor, Gate::And, &[at], &[(at + 1) % tasks]);
    shape(tasks, (0..tasks).map(next).collect())
}

/// A task, then a join of two places that it fills, and again.
fn joins(join: Gate) -> Shape {
    let split = if join == Gate::Xor { Gate::Xor } else { Gate::And };
    shape(
        3,
        vec![task("split", Gate::Xor, split, &[0], &[1, 2]), task("join", join, Gate::And, &[1, 2], &[0])],
    )
}

/// Which nets the cases of a load are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nets {
    /// Four kinds side by side: what the budget is judged by.
    Typical,
    /// One where every second task has such a join.
    Joins(Gate),
    /// One of more places than a word has bits.
    Wide,
}

impl Nets {
    fn shapes(self) -> Vec<(&'static str, Shape)> {
        match self {
            Self::Typical => vec![
                ("ring", ring(12)),
                ("branches", branches()),
                ("choices", choices()),
                ("cancellation", cancellation()),
            ],
            Self::Joins(join) => vec![("joins", joins(join))],
            Self::Wide => vec![("wide", ring(WIDE_TASKS))],
        }
    }
}

/// Two places a task, its own among them, and the output: 81 places.
const WIDE_TASKS: u16 = 40;

/// Three parallel branches of two tasks, synchronized, and again.
fn branches() -> Shape {
    let mut tasks = vec![task("fork", Gate::Xor, Gate::And, &[0], &[1, 2, 3])];
    for branch in 1..4 {
        tasks.push(task(&format!("first{branch}"), Gate::Xor, Gate::And, &[branch], &[branch + 3]));
        tasks.push(task(&format!("second{branch}"), Gate::Xor, Gate::And, &[branch + 3], &[branch + 6]));
    }
    tasks.push(task("join", Gate::And, Gate::And, &[7, 8, 9], &[10]));
    tasks.push(task("again", Gate::Xor, Gate::And, &[10], &[0]));
    shape(11, tasks)
}

/// A deferred choice, an exclusive one, a multi-choice with its OR-join, and a loop back.
fn choices() -> Shape {
    shape(
        9,
        vec![
            task("accept", Gate::Xor, Gate::Xor, &[0], &[1, 2]),
            task("reject", Gate::Xor, Gate::And, &[0], &[8]),
            task("check", Gate::Xor, Gate::And, &[1], &[2]),
            task("select", Gate::Xor, Gate::Or, &[2], &[3, 4]),
            task("hotel", Gate::Xor, Gate::And, &[3], &[5]),
            task("flight", Gate::Xor, Gate::And, &[4], &[6]),
            task("pay", Gate::Or, Gate::And, &[5, 6], &[7]),
            task("send", Gate::Xor, Gate::And, &[7], &[8]),
            task("close", Gate::Xor, Gate::And, &[8], &[0]),
        ],
    )
}

/// Two parallel branches of which either cancels the other.
fn cancellation() -> Shape {
    let mut left = task("left", Gate::Xor, Gate::And, &[3], &[5]);
    left.removes = vec![2, 4];
    left.stops = vec![2, 4];
    let mut right = task("right", Gate::Xor, Gate::And, &[4], &[5]);
    right.removes = vec![1, 3];
    right.stops = vec![1, 3];
    shape(
        6,
        vec![
            task("both", Gate::And, Gate::And, &[0], &[1, 2]),
            task("try left", Gate::Xor, Gate::And, &[1], &[3]),
            task("try right", Gate::Xor, Gate::And, &[2], &[4]),
            left,
            right,
            task("settle", Gate::Xor, Gate::And, &[5], &[0]),
        ],
    )
}

/// How the markings of a load are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Bits: all nets are 1-safe.
    Bits,
    /// Counters, for the same nets.
    Counters,
}

/// A step of a load, to be pushed to a wave.
#[derive(Debug, Clone, Copy)]
pub struct LoadStep {
    /// The net.
    pub net: NetHandle,
    /// The marking.
    pub slot: Slot,
    /// The task.
    pub task: u16,
    /// What it does.
    pub phase: Phase,
    /// Chosen places.
    pub put: [u16; 4],
    /// How many of them.
    pub put_count: usize,
}

/// A population of cases.
#[derive(Debug)]
pub struct Load {
    /// The kernel with all markings.
    pub kernel: Kernel,
    nets: Vec<(Arc<Net>, NetHandle)>,
    cases: Vec<(usize, Slot)>,
    dice: Dice,
}

impl Load {
    /// Opens `cases` cases, each of one of four nets.
    pub fn new(kernel: Kernel, cases: usize, held: Held, seed: u64) -> Self {
        Self::of(Nets::Typical, kernel, cases, held, seed)
    }

    /// Opens `cases` cases, each of one of these nets.
    pub fn of(which: Nets, mut kernel: Kernel, cases: usize, held: Held, seed: u64) -> Self {
        let mut nets = Vec::new();
        for (name, shape) in which.shapes() {
            let mut net = shape.net(name);
            assert!(net.is_safe, "invariant: the nets of the load are 1-safe");
            net.is_safe = held == Held::Bits;
            let net = Arc::new(net);
            let handle = kernel.add_net(&net);
            nets.push((net, handle));
        }
        let mut dice = Dice::new(seed);
        let cases = (0..cases)
            .map(|_| {
                let net = dice.below(nets.len());
                (net, kernel.open(nets[net].1, nets[net].0.input))
            })
            .collect();
        Self { kernel, nets, cases, dice }
    }

    /// Chooses `count` distinct cases, at most all of them, and a step for each: one that can be taken, but for one
    /// in 32, which is any step at all.
    pub fn steps(&mut self, count: usize) -> Vec<LoadStep> {
        let count = count.min(self.cases.len());
        let mut steps = Vec::with_capacity(count);
        for at in 0..count {
            let other = at + self.dice.below(self.cases.len() - at);
            self.cases.swap(at, other);
            steps.push(self.step(at));
        }
        steps
    }

    fn step(&mut self, case: usize) -> LoadStep {
        let (net, slot) = self.cases[case];
        let (net, handle) = (Arc::clone(&self.nets[net].0), self.nets[net].1);
        let tasks = net.tasks.len();
        let first = self.dice.below(tasks);
        let any = self.dice.below(32) == 0;
        let tokens = self.kernel.tokens(handle, slot);
        let is_marked = |place: &u16| tokens.binary_search_by_key(place, |entry| entry.0).is_ok();
        for at in 0..tasks {
            let number = (first + at) % tasks;
            let task = &net.tasks[number];
            let marked = task.preset.iter().filter(|place| is_marked(place)).count();
            let enabled = match task.join {
                Gate::And => marked == task.preset.len(),
                Gate::Xor => marked > 0,
                Gate::Or => {
                    let number = u16::try_from(number).expect("invariant: few tasks");
                    crate::net::orjoin::judge(&net, number, &tokens) == crate::net::orjoin::Judgement::Enabled
                }
            };
            let is_busy = is_marked(&task.busy);
            // An OR-join is never started unjudged: a second token could follow.
            if !(enabled || is_busy || any && task.join != Gate::Or) {
                continue;
            }
            let phase = match (is_busy, self.dice.below(2)) {
                (true, _) => Phase::Complete,
                (false, 0) => Phase::Start,
                (false, _) => Phase::Pass,
            };
            return self.chosen(handle, slot, &net, number, phase);
        }
        self.chosen(handle, slot, &net, first, Phase::Start)
    }

    fn chosen(&mut self, handle: NetHandle, slot: Slot, net: &Net, number: usize, phase: Phase) -> LoadStep {
        let task = &net.tasks[number];
        let mut put = [0; 4];
        let mut put_count = 0;
        let must = self.dice.below(task.flows.len());
        for (at, flow) in task.flows.iter().enumerate() {
            let is_chosen = match task.split {
                Gate::And => true,
                Gate::Xor => at == must,
                Gate::Or => at == must || self.dice.below(2) == 0,
            };
            if is_chosen && phase != Phase::Start {
                put[put_count] = flow.place;
                put_count += 1;
            }
        }
        let task = u16::try_from(number).expect("invariant: few tasks");
        LoadStep { net: handle, slot, task, phase, put, put_count }
    }
}
