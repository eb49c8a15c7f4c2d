//! Every element lies on a way from the input condition to the output condition.

use super::Index;
use crate::spec::codes;
use crate::spec::mistake::Mistake;
use crate::spec::tree::{ConditionKind, Net};

/// Checks a net whose flows all lead somewhere; others are left out, since their own mistakes explain what is missing.
pub(super) fn check(net: &Net, index: &Index<'_>, resolved: bool, out: &mut Vec<Mistake>) {
    if !resolved {
        return;
    }
    let mut forward = vec![Vec::new(); index.count()];
    let mut backward = vec![Vec::new(); index.count()];
    for (from, targets) in forward.iter_mut().enumerate() {
        for to in index.flows(from).iter().filter_map(|flow| index.number(&flow.target.text)) {
            targets.push(to);
            backward[to].push(from);
        }
    }
    let of_kind = |kind| (0..net.conditions.len()).filter(move |&number| net.conditions[number].kind == kind);
    let reached = reachable(&forward, of_kind(ConditionKind::Input).collect());
    // An element without a flow has its own mistake; what leads to it need not be reported again.
    let without_flow = (0..index.count()).filter(|&number| forward[number].is_empty());
    let ends = reachable(&backward, of_kind(ConditionKind::Output).chain(without_flow).collect());
    for number in 0..index.count() {
        let id = index.id(number);
        if !reached[number] {
            let message = format!("{} cannot be reached from the input condition", index.described(number));
            let hint = "let something flow into it, or take it out";
            out.push(Mistake::error(codes::UNREACHABLE, id.at, message, hint));
        }
        if !ends[number] {
            let message = format!("the output condition cannot be reached from {}", index.described(number));
            let hint = "let it flow on to the output condition";
            out.push(Mistake::error(codes::DEAD_END, id.at, message, hint));
        }
    }
}

/// Returns for each element whether it can be reached from `starts`.
fn reachable(next: &[Vec<usize>], starts: Vec<usize>) -> Vec<bool> {
    let mut reached = vec![false; next.len()];
    let mut waiting = starts;
    while let Some(number) = waiting.pop() {
        if !std::mem::replace(&mut reached[number], true) {
            waiting.extend(next[number].iter().filter(|&&to| !reached[to]));
        }
    }
    reached
}
