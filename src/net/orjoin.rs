//! When an OR-join is enabled: the formal answer of Wynn, Edmond, van der Aalst and ter Hofstede (ICATPN 2005).
//!
//! An OR-join of which some but not all places are marked is enabled when no further one of them can ever be
//! marked while those that are stay so. The net is seen as a reset net: a task takes tokens and is busy, a busy
//! task empties its remove set and then puts tokens; the join's own start is left out, other OR-joins count as
//! XOR-joins. Start at [`judge`]: trivial markings first, then a bit test where it is exact, then [`search`].
//! The answer is a pure function of [`projection`].

mod search;

use serde::{Deserialize, Serialize};

use super::numbering::number;
use super::{Gate, Net, Task};

/// Most states that one judgement keeps; beyond them it is undecided.
pub const ORJOIN_STATES_MAX: usize = 10_000;
/// Most places that all OR-joins of a net look at, counted for each; a net beyond it is refused.
pub const ORJOIN_PLACES_MAX: usize = 4_194_304;
/// Most places of an OR-join that the bit test answers for: one bit each in a `u64`.
const PLAIN_PRESET_MAX: usize = 64;

/// What the analysis knows about one OR-join of a net.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrJoin {
    /// The task.
    pub task: u16,
    /// Places from which a token can come to the join, its preset among them, ascending.
    pub region: Vec<u16>,
    /// For each place of the region, which places of the preset (one bit each, by index) a token on it can reach;
    /// `None` where that alone does not decide: a cycle, a cancellation or an AND-join lies before the join.
    reach: Option<Vec<u64>>,
}

impl OrJoin {
    /// Tells whether the bit test answers for it in every marking.
    pub fn is_plain(&self) -> bool {
        self.reach.is_some()
    }

    /// Makes every answer come from the search.
    #[cfg(test)]
    pub(super) fn forget_reach(&mut self) {
        self.reach = None;
    }
}

/// Answer about an OR-join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Judgement {
    /// No more tokens can come to it.
    Enabled,
    /// More may come, or there is nothing to start with.
    Waits,
    /// Not decided within the bound of states.
    Undecided,
}

/// Analyses all OR-joins.
///
/// # Errors
/// They look at more than [`ORJOIN_PLACES_MAX`] places; the number of places at which counting stopped.
pub(super) fn analyse(tasks: &[Task], place_count: usize) -> Result<Vec<OrJoin>, usize> {
    let graph = Graph::of(tasks, place_count);
    let mut regions = Vec::new();
    let mut looked_at = 0;
    for (at, task) in tasks.iter().enumerate().filter(|(_, task)| task.join == Gate::Or) {
        let mut region = graph.region(tasks, number(at), task);
        looked_at += region.len();
        if looked_at > ORJOIN_PLACES_MAX {
            return Err(looked_at);
        }
        region.sort_unstable();
        regions.push((number(at), region));
    }
    let join = |(task, region): (u16, Vec<u16>)| {
        let reach = reach(tasks, task, &region, &graph);
        OrJoin { task, region, reach }
    };
    Ok(regions.into_iter().map(join).collect())
}

/// Who produces for each place.
struct Graph {
    producers: Vec<Vec<u16>>,
    /// The task whose busy place this is.
    busy: Vec<Option<u16>>,
}

impl Graph {
    fn of(tasks: &[Task], place_count: usize) -> Self {
        let mut producers = vec![Vec::new(); place_count];
        let mut busy = vec![None; place_count];
        for (at, task) in tasks.iter().enumerate() {
            busy[usize::from(task.busy)] = Some(number(at));
            for flow in &task.flows {
                producers[usize::from(flow.place)].push(number(at));
            }
        }
        Self { producers, busy }
    }

    fn region(&self, tasks: &[Task], join: u16, task: &Task) -> Vec<u16> {
        let mut seen = vec![false; self.producers.len()];
        let mut region = Vec::new();
        let mut visit = |place: u16, region: &mut Vec<u16>| {
            if !std::mem::replace(&mut seen[usize::from(place)], true) {
                region.push(place);
            }
        };
        task.preset.iter().for_each(|place| visit(*place, &mut region));
        let mut next = 0;
        while next < region.len() {
            let place = usize::from(region[next]);
            next += 1;
            match self.busy[place] {
                Some(owner) if owner == join => {}
                Some(owner) => {
                    tasks[usize::from(owner)].preset.iter().for_each(|place| visit(*place, &mut region));
                }
                None => {
                    let busy = self.producers[place].iter().map(|task| tasks[usize::from(*task)].busy);
                    busy.for_each(|place| visit(place, &mut region));
                }
            }
        }
        region
    }
}

/// Returns what each place of the region can reach, when that decides the join.
///
/// Where every task of the region takes one token at a time, none is cancelled, and there is no cycle, a
/// further place can be marked exactly when a token to spare (not the first on a place of the preset) has a path
/// to it: tokens then move independently, and a token of the preset that moved away would have to be replaced by
/// one that could have gone the same way itself.
fn reach(tasks: &[Task], join: u16, region: &[u16], graph: &Graph) -> Option<Vec<u64>> {
    let preset = &tasks[usize::from(join)].preset;
    if preset.len() > PLAIN_PRESET_MAX {
        return None;
    }
    let index = |place: u16| region.binary_search(&place).ok();
    let mut successors = vec![Vec::new(); region.len()];
    let mut degree = vec![0_u32; region.len()];
    for (at, place) in region.iter().enumerate() {
        let Some(owner) = graph.busy[usize::from(*place)] else { continue };
        let task = &tasks[usize::from(owner)];
        if owner != join {
            let takes_many = task.join == Gate::And && task.preset.len() > 1;
            if takes_many || task.removes.iter().any(|place| index(*place).is_some()) {
                return None;
            }
            for place in task.preset.iter().filter_map(|place| index(*place)) {
                successors[place].push(at);
                degree[place] += 1;
            }
        }
        for flow in task.flows.iter().filter_map(|flow| index(flow.place)) {
            successors[at].push(flow);
            degree[at] += 1;
        }
    }
    let mut predecessors = vec![Vec::new(); region.len()];
    for (from, targets) in successors.iter().enumerate() {
        for to in targets {
            predecessors[*to].push(from);
        }
    }
    let mut masks = vec![0_u64; region.len()];
    for (bit, place) in preset.iter().enumerate() {
        masks[index(*place)?] |= 1 << bit;
    }
    let mut ready: Vec<usize> = (0..region.len()).filter(|at| degree[*at] == 0).collect();
    let mut done = 0;
    while let Some(at) = ready.pop() {
        done += 1;
        for from in &predecessors[at] {
            masks[*from] |= masks[at];
            degree[*from] -= 1;
            if degree[*from] == 0 {
                ready.push(*from);
            }
        }
    }
    (done == region.len()).then_some(masks)
}

/// Judges whether OR-join `task` is enabled in `marking` (place, tokens; busy places among them).
pub fn judge(net: &Net, task: u16, marking: &[(u16, u16)]) -> Judgement {
    judge_within(net, task, marking, ORJOIN_STATES_MAX)
}

/// Judges as [`judge`] does, keeping at most `states_max` states; 0 asks for what needs no search.
/// Time grows with the square of the states kept.
pub fn judge_within(net: &Net, task: u16, marking: &[(u16, u16)], states_max: usize) -> Judgement {
    let Some(join) = find(net, task) else { return Judgement::Waits };
    let preset = &net.tasks[usize::from(task)].preset;
    let busy = net.tasks[usize::from(task)].busy;
    let tokens = |place: u16| -> u32 {
        marking.iter().filter(|entry| entry.0 == place).map(|entry| u32::from(entry.1)).sum()
    };
    let empty: Vec<usize> = (0..preset.len()).filter(|at| tokens(preset[*at]) == 0).collect();
    if tokens(busy) > 0 || empty.len() == preset.len() {
        return Judgement::Waits;
    }
    if empty.is_empty() {
        return Judgement::Enabled;
    }
    if let Some(reach) = &join.reach {
        let wanted = empty.iter().fold(0_u64, |mask, at| mask | 1 << at);
        let more = marking.iter().any(|(place, count)| {
            let needed = u16::from(preset.binary_search(place).is_ok());
            let spare = *count > needed;
            spare && join.region.binary_search(place).is_ok_and(|at| reach[at] & wanted != 0)
        });
        return if more { Judgement::Waits } else { Judgement::Enabled };
    }
    search::decide(net, join, marking, states_max)
}

/// Returns the part of a marking that the judgement depends on, ascending: the key of a cache of judgements.
pub fn projection(net: &Net, task: u16, marking: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let Some(join) = find(net, task) else { return Vec::new() };
    let busy = net.tasks[usize::from(task)].busy;
    let matters = |place: u16| place == busy || join.region.binary_search(&place).is_ok();
    let mut kept: Vec<(u16, u16)> =
        marking.iter().copied().filter(|(place, count)| *count > 0 && matters(*place)).collect();
    kept.sort_unstable();
    kept
}

fn find(net: &Net, task: u16) -> Option<&OrJoin> {
    let at = net.or_joins.binary_search_by_key(&task, |join| join.task).ok()?;
    Some(&net.or_joins[at])
}
