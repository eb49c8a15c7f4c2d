//! Whether a net never holds two tokens in one place, shown by walking all its markings.
//!
//! Every choice is free, and an OR-join starts when it is judged so or could not be judged within a small bound:
//! what is walked contains all that can happen. A walk that meets a second token or a limit shows nothing.

use std::collections::HashSet;

use super::orjoin::{Judgement, judge_within};
use super::{Gate, Net, Task};

/// Most markings that are walked.
pub const SAFETY_STATES_MAX: usize = 32_768;
/// Most words of all markings that are walked: 8 MiB.
pub const SAFETY_WORDS_MAX: usize = 1_048_576;
/// Most tasks that are tried in all markings together; each is a little work.
pub const SAFETY_TRIES_MAX: usize = 4_194_304;
/// Most flows of an OR-split whose every choice is walked.
const OR_SPLIT_FLOWS_MAX: usize = 8;

/// Most states for judging an OR-join in one marking; where it is not judged, it may start.
const JUDGE_STATES_MAX: usize = 100;

type Marking = Box<[u64]>;

/// Tells whether every marking that can follow from one token on the input is shown to hold at most one a place.
pub(super) fn is_safe(net: &Net) -> bool {
    let (tasks, place_count) = (&net.tasks, net.places.len());
    if place_count == 0 {
        return false;
    }
    let word_count = place_count.div_ceil(64);
    let states_max = SAFETY_STATES_MAX.min(SAFETY_WORDS_MAX / word_count.max(1));
    let states_max = states_max.min(SAFETY_TRIES_MAX / tasks.len().max(1));
    let mut start = vec![0_u64; word_count].into_boxed_slice();
    set(&mut start, net.input);
    let mut seen = HashSet::from([start.clone()]);
    let mut todo = vec![start];
    while let Some(marking) = todo.pop() {
        for (number, task) in tasks.iter().enumerate() {
            if waits(net, number, &marking) {
                continue;
            }
            let Some(following) = follow(&marking, task) else { return false };
            for next in following {
                if seen.len() >= states_max && !seen.contains(&next) {
                    return false;
                }
                if seen.insert(next.clone()) {
                    todo.push(next);
                }
            }
        }
    }
    true
}

fn is_set(marking: &[u64], place: u16) -> bool {
    marking[usize::from(place) / 64] & (1 << (place % 64)) != 0
}

fn set(marking: &mut [u64], place: u16) {
    marking[usize::from(place) / 64] |= 1 << (place % 64);
}

fn clear(marking: &mut [u64], place: u16) {
    marking[usize::from(place) / 64] &= !(1 << (place % 64));
}

/// Tells whether the task is an OR-join that is not busy and must wait for more tokens.
fn waits(net: &Net, number: usize, marking: &Marking) -> bool {
    let task = &net.tasks[number];
    if task.join != Gate::Or || is_set(marking, task.busy) {
        return false;
    }
    let marked = task.preset.iter().filter(|place| is_set(marking, **place)).count();
    if marked == 0 || marked == task.preset.len() {
        return false;
    }
    let places = (0..).zip(&net.places).map(|(place, _)| place);
    let tokens: Vec<(u16, u16)> =
        places.filter(|place| is_set(marking, *place)).map(|place| (place, 1)).collect();
    judge_within(net, super::numbering::number(number), &tokens, JUDGE_STATES_MAX) == Judgement::Waits
}

/// Returns the markings after the task's next phase; `None` when one of them is not to be represented.
fn follow(marking: &Marking, task: &Task) -> Option<Vec<Marking>> {
    if !is_set(marking, task.busy) {
        return Some(start(marking, task).into_iter().collect());
    }
    let mut rest = marking.clone();
    clear(&mut rest, task.busy);
    for place in &task.removes {
        clear(&mut rest, *place);
    }
    let put = |chosen: &[u16]| -> Option<Marking> {
        let mut next = rest.clone();
        for place in chosen {
            if is_set(&rest, *place) {
                return None;
            }
            set(&mut next, *place);
        }
        Some(next)
    };
    let places: Vec<u16> = task.flows.iter().map(|flow| flow.place).collect();
    match task.split {
        Gate::And => Some(vec![put(&places)?]),
        Gate::Xor => places.iter().map(|place| put(&[*place])).collect(),
        Gate::Or if places.len() > OR_SPLIT_FLOWS_MAX => None,
        Gate::Or => (1_u32..1 << places.len())
            .map(|choice| {
                let chosen = places.iter().enumerate().filter(|(at, _)| choice & (1 << at) != 0);
                put(&chosen.map(|(_, place)| *place).collect::<Vec<_>>())
            })
            .collect(),
    }
}

fn start(marking: &Marking, task: &Task) -> Option<Marking> {
    let marked: Vec<u16> = task.preset.iter().copied().filter(|place| is_set(marking, *place)).collect();
    let taken = match task.join {
        _ if marked.is_empty() => return None,
        Gate::And if marked.len() < task.preset.len() => return None,
        Gate::And | Gate::Or => &marked[..],
        Gate::Xor => &marked[..1],
    };
    let mut next = marking.clone();
    for place in taken {
        clear(&mut next, *place);
    }
    set(&mut next, task.busy);
    Some(next)
}
