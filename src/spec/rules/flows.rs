//! Flows and what they may carry, the ends of a net, and remove sets.

use std::collections::HashSet;

use super::Index;
use crate::spec::codes;
use crate::spec::mistake::{Mistake, Position, quoted};
use crate::spec::tree::{ConditionKind, Flow, Gate, Net, Task};

/// Checks all flows of a net. Returns whether every flow leads to an element of it and both ends are there.
pub(super) fn check(net: &Net, index: &Index<'_>, out: &mut Vec<Mistake>) -> bool {
    let mut resolved = ends(net, out);
    for number in 0..index.count() {
        let flows = index.flows(number);
        let is_output = is_kind(index, number, ConditionKind::Output);
        if flows.is_empty() && !is_output {
            let message = format!("{} has no flow out", index.described(number));
            let hint = "write flowsInto with the element that comes next";
            out.push(Mistake::error(codes::NO_FLOW, index.id(number).at, message, hint));
        }
        let mut targets = HashSet::new();
        for flow in flows {
            resolved &= leads(index, number, flow, out);
            if is_output {
                let message = format!("a flow leads out of the output {}", index.described(number));
                out.push(Mistake::error(codes::FLOW_AT_ENDS, flow.target.at, message, "take it out"));
            }
            if !targets.insert(flow.target.text.as_str()) {
                let message =
                    format!("{} has two flows to {}", index.described(number), quoted(&flow.target.text));
                out.push(Mistake::error(codes::FLOW_TWICE, flow.target.at, message, "keep one of them"));
            }
        }
        match index.task(number) {
            Some(task) => split(task, out),
            None => flows.iter().filter(|flow| carries(flow)).for_each(|flow| {
                let message = "a flow out of a condition has a predicate, an ordering or is a default";
                let hint = "take these out: who starts first decides; or use a task with an XOR-split";
                out.push(Mistake::error(codes::CONDITION_FLOW, at(flow), message, hint));
            }),
        }
    }
    resolved
}

fn is_kind(index: &Index<'_>, number: usize, kind: ConditionKind) -> bool {
    index.net.conditions.get(number).is_some_and(|condition| condition.kind == kind)
}

fn carries(flow: &Flow) -> bool {
    flow.predicate.is_some() || flow.ordering.is_some() || flow.is_default
}

/// Returns where the part of a flow stands that a rule is about.
fn at(flow: &Flow) -> Position {
    flow.predicate.as_ref().map_or(flow.target.at, |predicate| predicate.at)
}

fn ends(net: &Net, out: &mut Vec<Mistake>) -> bool {
    let mut both = true;
    for (kind, name) in [(ConditionKind::Input, "input"), (ConditionKind::Output, "output")] {
        let of_kind: Vec<_> = net.conditions.iter().filter(|condition| condition.kind == kind).collect();
        let (place, message) = match of_kind.as_slice() {
            [_] => continue,
            [] => (net.id.at, format!("net {} has no {name} condition", quoted(&net.id.text))),
            [_, second, ..] => (
                second.id.at,
                format!("net {} has {} {name} conditions", quoted(&net.id.text), of_kind.len()),
            ),
        };
        both = false;
        out.push(Mistake::error(
            codes::NET_ENDS,
            place,
            message,
            "a net has one input and one output condition",
        ));
    }
    both
}

/// Checks where a flow leads; returns whether that is an element of the net.
fn leads(index: &Index<'_>, from: usize, flow: &Flow, out: &mut Vec<Mistake>) -> bool {
    let Some(to) = index.number(&flow.target.text) else {
        let message = format!(
            "{} flows into {}, which is not in its net",
            index.described(from),
            quoted(&flow.target.text)
        );
        let hint = "correct the id, or write the element that is meant";
        out.push(Mistake::error(codes::FLOW_TARGET, flow.target.at, message, hint));
        return false;
    };
    if is_kind(index, to, ConditionKind::Input) {
        let message = format!("{} flows into the input {}", index.described(from), index.described(to));
        let hint = "put a condition after the input condition and flow into that";
        out.push(Mistake::error(codes::FLOW_AT_ENDS, flow.target.at, message, hint));
    } else if index.task(from).is_none() && index.task(to).is_none() {
        let message = format!("{} flows into {}", index.described(from), index.described(to));
        let hint = "put a task between two conditions";
        out.push(Mistake::error(codes::CONDITION_TO_CONDITION, flow.target.at, message, hint));
    }
    true
}

fn split(task: &Task, out: &mut Vec<Mistake>) {
    let id = quoted(&task.id.text);
    match task.split {
        Gate::And => {
            for flow in task.flows.iter().filter(|flow| carries(flow)) {
                let message = format!(
                    "a flow out of the AND-split of task {id} has a predicate, an ordering or is a default"
                );
                let hint = "take these out, or make it an XOR-split or OR-split";
                out.push(Mistake::error(codes::AND_FLOW, at(flow), message, hint));
            }
        }
        Gate::Xor => xor_split(task, &id, out),
        Gate::Or => {
            for flow in &task.flows {
                if flow.predicate.is_none() {
                    let message = format!("a flow out of the OR-split of task {id} has no predicate");
                    let hint = "write one; the default flow needs one, too, if only false()";
                    out.push(Mistake::error(codes::OR_FLOW, at(flow), message, hint));
                }
                if flow.ordering.is_some() {
                    let message = format!("a predicate of the OR-split of task {id} has an ordering");
                    let hint = "take the ordering out: every predicate is asked";
                    out.push(Mistake::error(codes::OR_FLOW, at(flow), message, hint));
                }
            }
        }
    }
    let defaults: Vec<&Flow> = task.flows.iter().filter(|flow| flow.is_default).collect();
    if task.split == Gate::And || task.flows.is_empty() || defaults.len() == 1 {
        return;
    }
    let (place, count) = defaults
        .get(1)
        .map_or((task.id.at, "no default flow"), |flow| (flow.target.at, "several default flows"));
    let message = format!("task {id} has {count}");
    out.push(Mistake::error(
        codes::DEFAULT_FLOW,
        place,
        message,
        "write isDefaultFlow in exactly one of its flows",
    ));
}

fn xor_split(task: &Task, id: &str, out: &mut Vec<Mistake>) {
    let mut orderings = HashSet::new();
    for flow in &task.flows {
        match (&flow.predicate, flow.is_default) {
            (None, false) => {
                let message = format!(
                    "a flow out of the XOR-split of task {id} has no predicate and is not the default"
                );
                out.push(Mistake::error(
                    codes::XOR_FLOW,
                    at(flow),
                    message,
                    "write a predicate, or isDefaultFlow",
                ));
            }
            (Some(_), true) => {
                let message = format!("the default flow of the XOR-split of task {id} has a predicate");
                let hint = "take the predicate out: the default is taken when no predicate is true";
                out.push(Mistake::error(codes::XOR_FLOW, at(flow), message, hint));
            }
            (None, true) => {}
            (Some(_), false) => match flow.ordering {
                None => {
                    let message = format!("a predicate of the XOR-split of task {id} has no ordering");
                    let hint = "write <predicate ordering=\"0\">, with another number for each";
                    out.push(Mistake::error(codes::XOR_ORDERING, at(flow), message, hint));
                }
                Some(ordering) if !orderings.insert(ordering) => {
                    let message =
                        format!("two predicates of the XOR-split of task {id} have the ordering {ordering}");
                    let hint = "give each another number; the smallest is asked first";
                    out.push(Mistake::error(codes::XOR_ORDERING, at(flow), message, hint));
                }
                Some(_) => {}
            },
        }
    }
}

/// Checks that everything in the remove sets of a net's tasks is in the net.
pub(super) fn remove_sets(net: &Net, index: &Index<'_>, out: &mut Vec<Mistake>) {
    let is_task = |id: &str| index.number(id).is_some_and(|number| index.task(number).is_some());
    let flows: HashSet<(&str, &str)> = net
        .tasks
        .iter()
        .flat_map(|task| task.flows.iter().map(|flow| (task.id.text.as_str(), flow.target.text.as_str())))
        .filter(|(_, target)| is_task(target))
        .collect();
    for task in &net.tasks {
        for id in &task.removes {
            if index.number(&id.text).is_none() {
                let message = format!(
                    "task {} removes tokens from {}, which is not in its net",
                    quoted(&task.id.text),
                    quoted(&id.text)
                );
                let hint = "name a condition or task of the same net";
                out.push(Mistake::error(codes::REMOVE_SET, id.at, message, hint));
            }
        }
        for (source, destination) in &task.removes_flows {
            if !flows.contains(&(source.text.as_str(), destination.text.as_str())) {
                let message = format!(
                    "task {} removes tokens from the flow from {} to {}, and there is no such flow between two tasks",
                    quoted(&task.id.text),
                    quoted(&source.text),
                    quoted(&destination.text)
                );
                let hint = "name two tasks of the same net with a flow between them; a condition goes in removesTokens";
                out.push(Mistake::error(codes::REMOVE_SET, source.at, message, hint));
            }
        }
    }
}
