//! Ids that are unique, references to decompositions, and how many there may be.

use std::collections::{HashMap, HashSet};

use super::{Decomposition, Decompositions, NET_COUNT_MAX, PLACE_COUNT_MAX, TASK_COUNT_MAX};
use crate::spec::codes;
use crate::spec::mistake::{Mistake, quoted};
use crate::spec::tree::{Net, Specification, Text};

/// Checks how many nets, tasks and places there are.
pub(super) fn limits(specification: &Specification) -> Vec<Mistake> {
    let mut out = Vec::new();
    if specification.nets.len() > NET_COUNT_MAX {
        let message = format!("there are {} nets, more than {NET_COUNT_MAX}", specification.nets.len());
        out.push(Mistake::error(codes::TOO_MANY, specification.uri.at, message, "split the specification"));
    }
    for net in &specification.nets {
        let tasks: HashSet<&str> = net.tasks.iter().map(|task| task.id.text.as_str()).collect();
        let flows = net.tasks.iter().flat_map(|task| &task.flows);
        let between = flows.filter(|flow| tasks.contains(flow.target.text.as_str())).count();
        for (count, max, what) in [
            (net.tasks.len(), TASK_COUNT_MAX, "tasks"),
            (net.conditions.len() + between, PLACE_COUNT_MAX, "conditions and flows between tasks"),
        ] {
            if count > max {
                let message = format!("net {} has {count} {what}, more than {max}", quoted(&net.id.text));
                out.push(Mistake::error(
                    codes::TOO_MANY,
                    net.id.at,
                    message,
                    "make a part of it a net of its own",
                ));
            }
        }
    }
    out
}

/// Returns the decompositions by id; of two with the same id the first keeps it.
pub(super) fn decompositions<'a>(
    specification: &'a Specification,
    out: &mut Vec<Mistake>,
) -> Decompositions<'a> {
    let mut all: Vec<(&Text, Decomposition<'_>)> = Vec::new();
    all.extend(
        specification.nets.iter().enumerate().map(|(index, net)| (&net.id, Decomposition::Net(index, net))),
    );
    all.extend(specification.gateways.iter().map(|gateway| (&gateway.id, Decomposition::Gateway(gateway))));
    all.sort_by_key(|(id, _)| id.at);
    let mut decompositions = HashMap::new();
    for (id, decomposition) in all {
        if decompositions.contains_key(id.text.as_str()) {
            duplicate("decomposition", id, out);
        } else {
            decompositions.insert(id.text.as_str(), decomposition);
        }
    }
    decompositions
}

/// Checks that the ids of a net's elements are unique.
pub(super) fn elements(net: &Net, out: &mut Vec<Mistake>) {
    let mut ids: Vec<&Text> = net.conditions.iter().map(|condition| &condition.id).collect();
    ids.extend(net.tasks.iter().map(|task| &task.id));
    ids.sort_by_key(|id| id.at);
    unique("element of the net", ids, out);
}

/// Checks that no two of these ids or names are the same.
pub(super) fn unique<'a>(what: &str, ids: impl IntoIterator<Item = &'a Text>, out: &mut Vec<Mistake>) {
    let mut seen = HashSet::new();
    for id in ids {
        if !seen.insert(id.text.as_str()) {
            duplicate(what, id, out);
        }
    }
}

fn duplicate(what: &str, id: &Text, out: &mut Vec<Mistake>) {
    let message = format!("there is another {what} with the name {}", quoted(&id.text));
    out.push(Mistake::error(codes::DUPLICATE, id.at, message, "give each a name of its own"));
}

/// Checks that what tasks decompose to exists, and says which decompositions no task uses.
pub(super) fn used(
    specification: &Specification,
    decompositions: &Decompositions<'_>,
    out: &mut Vec<Mistake>,
) {
    let mut used = HashSet::new();
    for id in
        specification.nets.iter().flat_map(|net| &net.tasks).filter_map(|task| task.decomposition.as_ref())
    {
        used.insert(id.text.as_str());
        if !decompositions.contains_key(id.text.as_str()) {
            let message = format!("there is no decomposition {}", quoted(&id.text));
            let hint = "write a decomposition with this id, or correct the id";
            out.push(Mistake::error(codes::DECOMPOSITION, id.at, message, hint));
        }
    }
    if let Some(root) = specification.nets.get(specification.root) {
        used.insert(root.id.text.as_str());
    }
    let nets = specification.nets.iter().map(|net| &net.id);
    for id in nets.chain(specification.gateways.iter().map(|gateway| &gateway.id)) {
        if !used.contains(id.text.as_str()) {
            let message = format!("no task uses decomposition {}", quoted(&id.text));
            out.push(Mistake::warning(codes::UNUSED_DECOMPOSITION, id.at, message, "take it out, or use it"));
        }
    }
}
