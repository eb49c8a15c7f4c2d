//! Ways through a net on which no work is done: harmless ones are said, endless ones are refused.
//!
//! A task without decomposition does no work; neither does one whose net may complete without work. A way that can
//! go round in a circle on such tasks, or that enters nets for ever, would never come to rest.

use super::{Decomposition, Decompositions, Index};
use crate::spec::codes;
use crate::spec::mistake::{MISTAKES_MAX, Mistake, quoted};
use crate::spec::tree::{ConditionKind, Specification, Task};

/// Most elements of a circle that a message names.
const NAMED_MAX: usize = 8;

/// Reports nets that may complete without any work, and circles without work.
pub(super) fn check(
    specification: &Specification,
    decompositions: &Decompositions<'_>,
    out: &mut Vec<Mistake>,
) {
    let nets: Vec<Index<'_>> = specification.nets.iter().map(Index::of).collect();
    let idle = idle_nets(&nets, decompositions);
    for (net, _) in specification.nets.iter().zip(&idle).filter(|(_, idle)| **idle) {
        let message = format!("net {} may complete without any work", quoted(&net.id.text));
        let hint = "nothing to do, if this is meant: there is a way on which no task has a decomposition";
        out.push(Mistake::warning(codes::NO_WORK, net.id.at, message, hint));
    }
    circles(&nets, &idle, decompositions, out);
}

/// What a token does at an element.
enum Way {
    /// It passes without work.
    Passes,
    /// It waits for work, or for a net that does some.
    Stops,
}

fn way(task: Option<&Task>, idle: &[bool], decompositions: &Decompositions<'_>) -> Way {
    let Some(task) = task else { return Way::Passes };
    match (&task.decomposition, &task.timer) {
        (_, Some(_)) => Way::Stops,
        (None, None) => Way::Passes,
        (Some(id), None) => match decompositions.get(id.text.as_str()) {
            Some(Decomposition::Net(net, _)) if idle[*net] => Way::Passes,
            _ => Way::Stops,
        },
    }
}

/// Returns for each net whether its output condition can be reached without work. Every round but the last finds a net.
fn idle_nets(nets: &[Index<'_>], decompositions: &Decompositions<'_>) -> Vec<bool> {
    let mut idle = vec![false; nets.len()];
    loop {
        let found: Vec<usize> =
            (0..nets.len()).filter(|&net| !idle[net] && is_idle(&nets[net], &idle, decompositions)).collect();
        if found.is_empty() {
            return idle;
        }
        for net in found {
            idle[net] = true;
        }
    }
}

fn is_idle(index: &Index<'_>, idle: &[bool], decompositions: &Decompositions<'_>) -> bool {
    let kind = |number: usize| index.net.conditions.get(number).map(|condition| condition.kind);
    let mut seen = vec![false; index.count()];
    let mut waiting: Vec<usize> = (0..index.net.conditions.len())
        .filter(|&number| kind(number) == Some(ConditionKind::Input))
        .collect();
    while let Some(number) = waiting.pop() {
        if std::mem::replace(&mut seen[number], true) {
            continue;
        }
        if kind(number) == Some(ConditionKind::Output) {
            return true;
        }
        if matches!(way(index.task(number), idle, decompositions), Way::Passes) {
            waiting.extend(index.flows(number).iter().filter_map(|flow| index.number(&flow.target.text)));
        }
    }
    false
}

/// The elements of all nets, numbered through, and where a token can go from each without work.
struct Graph {
    /// Number of the first element of each net.
    first: Vec<usize>,
    next: Vec<Vec<usize>>,
}

impl Graph {
    fn of(nets: &[Index<'_>], idle: &[bool], decompositions: &Decompositions<'_>) -> Self {
        let mut first = Vec::with_capacity(nets.len());
        let mut count = 0;
        for net in nets {
            first.push(count);
            count += net.count();
        }
        let mut next = vec![Vec::new(); count];
        for (net, index) in nets.iter().enumerate() {
            for number in 0..index.count() {
                let from = first[net] + number;
                let task = index.task(number);
                if matches!(way(task, idle, decompositions), Way::Passes) {
                    let targets =
                        index.flows(number).iter().filter_map(|flow| index.number(&flow.target.text));
                    next[from].extend(targets.map(|to| first[net] + to));
                }
                let entered =
                    task.filter(|task| task.timer.is_none()).and_then(|task| task.decomposition.as_ref());
                if let Some(Decomposition::Net(inner, tree)) =
                    entered.and_then(|id| decompositions.get(id.text.as_str()))
                {
                    let input =
                        tree.conditions.iter().position(|condition| condition.kind == ConditionKind::Input);
                    next[from].extend(input.map(|input| first[*inner] + input));
                }
            }
        }
        Self { first, next }
    }

    /// Keeps only steps between elements that have a step both in and out: what remains contains every circle.
    fn peel(&mut self) {
        let mut into = vec![Vec::new(); self.next.len()];
        for (from, targets) in self.next.iter().enumerate() {
            for &to in targets {
                into[to].push(from);
            }
        }
        let mut out_count: Vec<usize> = self.next.iter().map(Vec::len).collect();
        let mut in_count: Vec<usize> = into.iter().map(Vec::len).collect();
        let mut gone = vec![false; self.next.len()];
        let mut waiting: Vec<usize> = (0..gone.len()).collect();
        while let Some(number) = waiting.pop() {
            if gone[number] || (out_count[number] > 0 && in_count[number] > 0) {
                continue;
            }
            gone[number] = true;
            for &to in &self.next[number] {
                in_count[to] = in_count[to].saturating_sub(1);
                waiting.push(to);
            }
            for &from in &into[number] {
                out_count[from] = out_count[from].saturating_sub(1);
                waiting.push(from);
            }
        }
        for number in 0..gone.len() {
            if gone[number] {
                self.next[number].clear();
            } else {
                self.next[number].retain(|&to| !gone[to]);
            }
        }
    }

    /// Returns a circle among the elements that remain, if there is one.
    fn circle(&self) -> Option<Vec<usize>> {
        let start = self.next.iter().position(|targets| !targets.is_empty())?;
        let mut seen = vec![usize::MAX; self.next.len()];
        let mut path = Vec::new();
        let mut number = start;
        while seen[number] == usize::MAX {
            seen[number] = path.len();
            path.push(number);
            number = *self.next[number].first().expect("invariant: what remains has a step out");
        }
        Some(path.split_off(seen[number]))
    }

    fn net_of(&self, number: usize) -> usize {
        self.first.partition_point(|&first| first <= number) - 1
    }
}

/// Reports circles without work, one for each part of the nets that has some, until enough are reported.
fn circles(nets: &[Index<'_>], idle: &[bool], decompositions: &Decompositions<'_>, out: &mut Vec<Mistake>) {
    let mut graph = Graph::of(nets, idle, decompositions);
    for _ in 0..MISTAKES_MAX {
        graph.peel();
        let Some(circle) = graph.circle() else { return };
        let place = |number: usize| {
            let net = graph.net_of(number);
            (&nets[net], number - graph.first[net])
        };
        let id = |number: &usize| {
            let (index, element) = place(*number);
            index.id(element)
        };
        // The first in source order begins, so that the message does not depend on the search.
        let begin = (0..circle.len()).min_by_key(|&at| id(&circle[at]).at).unwrap_or(0);
        let ring: Vec<usize> = circle[begin..].iter().chain(&circle[..begin]).copied().collect();
        let mut names: Vec<String> =
            ring.iter().take(NAMED_MAX).map(|number| quoted(&id(number).text)).collect();
        if ring.len() > NAMED_MAX {
            names.push("...".to_owned());
        }
        names.push(names[0].clone());
        let message = format!("this can go round for ever without any work: {}", names.join(" -> "));
        let hint = "give one of these tasks a decomposition that does work, or break the circle";
        out.push(Mistake::error(codes::ENDLESS, id(&ring[0]).at, message, hint));
        for number in circle {
            graph.next[number].clear();
        }
    }
}
