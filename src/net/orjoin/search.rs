//! Backward coverability on the reset net before an OR-join, bounded in states.
//!
//! From the markings that would prove the join wrong (one more place of its preset marked), step back through
//! every transition to the smallest marking from which it leads there, keep only what is not above another, and
//! stop when the actual marking is above one. Where a task may put on several sets of places, the largest set
//! stands for all: a marking with more tokens covers what one with fewer does, also in a reset net.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};

use super::{Judgement, OrJoin};
use crate::net::{Gate, Net};

/// A marking demanded at least: (index in the region, tokens), ascending.
type Demand = Vec<(u32, u32)>;

/// A transition, in indices of the region.
struct Transition {
    take: Vec<u32>,
    reset: Vec<u32>,
    put: Vec<u32>,
}

struct Kept {
    demand: Demand,
    /// One bit for each place modulo 64; a subset of places has a subset of bits.
    places: u64,
    alive: bool,
}

pub(super) fn decide(net: &Net, join: &OrJoin, marking: &[(u16, u16)], states_max: usize) -> Judgement {
    let index = |place: u16| {
        let at = join.region.binary_search(&place).ok()?;
        Some(u32::try_from(at).expect("invariant: a region has at most 65,536 places"))
    };
    let mut actual: HashMap<u32, u32> = HashMap::new();
    for (place, count) in marking {
        if let Some(at) = index(*place) {
            *actual.entry(at).or_default() += u32::from(*count);
        }
    }
    let transitions = transitions(net, join, index);
    let mut search = Search { actual, kept: Vec::new(), queue: VecDeque::new(), states_max };
    let preset: Vec<u32> =
        net.tasks[usize::from(join.task)].preset.iter().filter_map(|place| index(*place)).collect();
    let is_marked = |at: &u32| search.actual.get(at).is_some_and(|count| *count > 0);
    let (marked, empty): (Vec<u32>, Vec<u32>) = preset.into_iter().partition(is_marked);
    for more in empty {
        let mut demand: Demand = marked.iter().chain([&more]).map(|at| (*at, 1)).collect();
        demand.sort_unstable();
        match search.keep(demand) {
            Keep::Covered => return Judgement::Waits,
            Keep::Full => return Judgement::Undecided,
            Keep::Done => {}
        }
    }
    search.run(&transitions, join.region.len())
}

fn transitions(net: &Net, join: &OrJoin, index: impl Fn(u16) -> Option<u32>) -> Vec<Transition> {
    let mut transitions = Vec::new();
    for (number, task) in net.tasks.iter().enumerate() {
        let Some(busy) = index(task.busy) else { continue };
        let inside =
            |places: &mut dyn Iterator<Item = u16>| -> Vec<u32> { places.filter_map(&index).collect() };
        let put = inside(&mut task.flows.iter().map(|flow| flow.place));
        let reset = inside(&mut task.removes.iter().copied());
        if task.split == Gate::Xor {
            transitions.extend(put.iter().map(|place| Transition {
                take: vec![busy],
                reset: reset.clone(),
                put: vec![*place],
            }));
        } else {
            transitions.push(Transition { take: vec![busy], reset, put });
        }
        if number == usize::from(join.task) {
            continue;
        }
        let preset = inside(&mut task.preset.iter().copied());
        let start = |take| Transition { take, reset: Vec::new(), put: vec![busy] };
        if task.join == Gate::And {
            transitions.push(start(preset));
        } else {
            transitions.extend(preset.into_iter().map(|place| start(vec![place])));
        }
    }
    transitions
}

enum Keep {
    Done,
    Covered,
    Full,
}

struct Search {
    actual: HashMap<u32, u32>,
    kept: Vec<Kept>,
    queue: VecDeque<usize>,
    states_max: usize,
}

impl Search {
    fn run(&mut self, transitions: &[Transition], place_count: usize) -> Judgement {
        let mut producers: Vec<Vec<usize>> = vec![Vec::new(); place_count];
        for (at, transition) in transitions.iter().enumerate() {
            transition.put.iter().for_each(|place| producers[*place as usize].push(at));
        }
        let mut seen_in = vec![usize::MAX; transitions.len()];
        while let Some(state) = self.queue.pop_front() {
            if !self.kept[state].alive {
                continue;
            }
            let demand = self.kept[state].demand.clone();
            for (place, _) in &demand {
                for &at in &producers[*place as usize] {
                    if std::mem::replace(&mut seen_in[at], state) == state {
                        continue;
                    }
                    let Some(before) = step_back(&demand, &transitions[at]) else { continue };
                    match self.keep(before) {
                        Keep::Covered => return Judgement::Waits,
                        Keep::Full => return Judgement::Undecided,
                        Keep::Done => {}
                    }
                }
            }
        }
        Judgement::Enabled
    }

    fn keep(&mut self, demand: Demand) -> Keep {
        if demand.iter().all(|(at, count)| self.actual.get(at).is_some_and(|actual| actual >= count)) {
            return Keep::Covered;
        }
        let places = demand.iter().fold(0_u64, |bits, (at, _)| bits | 1 << (at % 64));
        let known = |kept: &Kept| kept.alive && kept.places & !places == 0 && is_below(&kept.demand, &demand);
        if self.kept.iter().any(known) {
            return Keep::Done;
        }
        if self.kept.len() >= self.states_max {
            return Keep::Full;
        }
        for kept in &mut self.kept {
            if kept.alive && places & !kept.places == 0 && is_below(&demand, &kept.demand) {
                kept.alive = false;
                kept.demand = Vec::new();
            }
        }
        self.queue.push_back(self.kept.len());
        self.kept.push(Kept { demand, places, alive: true });
        Keep::Done
    }
}

/// Returns the smallest marking from which the transition leads to one that meets the demand.
fn step_back(demand: &Demand, transition: &Transition) -> Option<Demand> {
    let mut before: Demand = Vec::with_capacity(demand.len() + transition.take.len());
    for (at, count) in demand {
        let rest = count - u32::from(transition.put.contains(at));
        // Emptied first and filled then: what is demanded beyond the token just put can never be there.
        let is_reset = transition.reset.contains(at);
        if is_reset && rest > 0 {
            return None;
        }
        if rest > 0 {
            before.push((*at, rest));
        }
    }
    for at in &transition.take {
        match before.iter_mut().find(|entry| entry.0 == *at) {
            Some(entry) => entry.1 = entry.1.saturating_add(1),
            None => before.push((*at, 1)),
        }
    }
    before.sort_unstable();
    Some(before)
}

/// Tells whether the first demands no more than the second.
fn is_below(less: &Demand, more: &Demand) -> bool {
    let mut rest = more.iter();
    less.iter().all(|(at, count)| rest.any(|(other, have)| other == at && have >= count))
}
