//! Names to numbers: given out at registration, taken from the store ever after.

use std::collections::{HashMap, HashSet};

use super::{NetNumbering, Numbering, PlaceKey};
use crate::error::Code;
use crate::spec::tree::{ConditionKind, Net, Specification, Text};
use crate::spec::{Mistake, Position, Severity};

/// Most nets in a specification.
pub const NET_COUNT_MAX: usize = 1_024;
/// Most places in a net: conditions, implicit conditions and busy places.
pub const PLACE_COUNT_MAX: usize = 16_384;
/// Most tasks in a net.
pub const TASK_COUNT_MAX: usize = 4_096;
/// Most variables in a net, and most parameters of a decomposition.
pub const VARIABLE_COUNT_MAX: usize = 4_096;
/// Most flows out of the elements of a net, and most members of its remove sets.
pub const FLOW_COUNT_MAX: usize = 65_536;
const NUMBER_MAX: usize = u16::MAX as usize;
const _: () = assert!(PLACE_COUNT_MAX < NUMBER_MAX);
const _: () = assert!(TASK_COUNT_MAX < NUMBER_MAX);
const _: () = assert!(NET_COUNT_MAX < NUMBER_MAX);
const _: () = assert!(VARIABLE_COUNT_MAX < NUMBER_MAX);

/// Makes a mistake that prevents registration.
pub(super) fn mistake(code: u16, at: Position, message: String, hint: &str) -> Mistake {
    Mistake { code: Code(code), severity: Severity::Error, at, message, hint: hint.to_owned() }
}

/// Returns `index` as a number of a net, place, task or variable.
pub(super) fn number(index: usize) -> u16 {
    u16::try_from(index).expect("invariant: limits are checked before numbers are given")
}

/// The names of one net, to look numbers up by.
pub(super) struct Names<'a> {
    places: HashMap<&'a PlaceKey, u16>,
    tasks: HashMap<&'a str, u16>,
    variables: HashMap<&'a str, u16>,
}

impl<'a> Names<'a> {
    /// Turns the lists of `net` around.
    pub(super) fn of(net: &'a NetNumbering) -> Self {
        let index = |(at, name): (usize, &'a String)| (name.as_str(), number(at));
        Self {
            places: net.places.iter().enumerate().map(|(at, key)| (key, number(at))).collect(),
            tasks: net.tasks.iter().enumerate().map(index).collect(),
            variables: net.variables.iter().enumerate().map(index).collect(),
        }
    }

    pub(super) fn condition(&self, id: &str) -> Option<u16> {
        self.places.get(&PlaceKey::Condition(id.to_owned())).copied()
    }

    pub(super) fn implicit(&self, from: &str, to: &str) -> Option<u16> {
        self.places.get(&PlaceKey::Implicit { from: from.to_owned(), to: to.to_owned() }).copied()
    }

    pub(super) fn busy(&self, task: &str) -> Option<u16> {
        self.places.get(&PlaceKey::Busy(task.to_owned())).copied()
    }

    pub(super) fn task(&self, id: &str) -> Option<u16> {
        self.tasks.get(id).copied()
    }

    pub(super) fn variable(&self, name: &str) -> Option<u16> {
        self.variables.get(name).copied()
    }
}

/// Gives out numbers in the order that every registration uses: input condition, other conditions in source
/// order, implicit conditions by source task and flow, output condition, busy places.
pub(super) fn give(specification: &Specification) -> Numbering {
    Numbering { nets: specification.nets.iter().map(give_net).collect() }
}

fn give_net(net: &Net) -> NetNumbering {
    let of = |kind: ConditionKind| net.conditions.iter().filter(move |condition| condition.kind == kind);
    let condition = |condition: &crate::spec::tree::Condition| PlaceKey::Condition(condition.id.text.clone());
    let tasks: HashSet<&str> = net.tasks.iter().map(|task| task.id.text.as_str()).collect();
    let mut places: Vec<PlaceKey> = of(ConditionKind::Input).map(condition).collect();
    places.extend(of(ConditionKind::Plain).map(condition));
    for task in &net.tasks {
        for flow in &task.flows {
            if tasks.contains(flow.target.text.as_str()) {
                let (from, to) = (task.id.text.clone(), flow.target.text.clone());
                places.push(PlaceKey::Implicit { from, to });
            }
        }
    }
    places.extend(of(ConditionKind::Output).map(condition));
    places.extend(net.tasks.iter().map(|task| PlaceKey::Busy(task.id.text.clone())));
    let variables = net.inputs.iter().chain(&net.outputs).chain(&net.locals);
    NetNumbering {
        id: net.id.text.clone(),
        places: without_repeats(places),
        tasks: without_repeats(net.tasks.iter().map(|task| task.id.text.clone())),
        variables: without_repeats(variables.map(|variable| variable.name.text.clone())),
    }
}

fn without_repeats<T: Clone + Eq + std::hash::Hash>(names: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

/// Says what is beyond a limit or named twice; numbers may be given out when nothing is.
pub(super) fn check(specification: &Specification) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    too_many("nets", specification.nets.len(), NET_COUNT_MAX, specification.uri.at, &mut mistakes);
    let decompositions = specification
        .nets
        .iter()
        .map(|net| &net.id)
        .chain(specification.gateways.iter().map(|gateway| &gateway.id));
    twice(decompositions, &mut mistakes);
    for gateway in &specification.gateways {
        let count = gateway.inputs.len().max(gateway.outputs.len());
        too_many("parameters", count, VARIABLE_COUNT_MAX, gateway.id.at, &mut mistakes);
    }
    for net in &specification.nets {
        check_net(net, &mut mistakes);
    }
    mistakes
}

fn check_net(net: &Net, mistakes: &mut Vec<Mistake>) {
    let at = net.id.at;
    let flows = net.conditions.iter().map(|condition| condition.flows.len()).sum::<usize>()
        + net.tasks.iter().map(|task| task.flows.len()).sum::<usize>();
    let removes: usize = net.tasks.iter().map(|task| task.removes.len() + task.removes_flows.len()).sum();
    let variables = net.inputs.len() + net.outputs.len() + net.locals.len();
    too_many("tasks", net.tasks.len(), TASK_COUNT_MAX, at, mistakes);
    too_many("flows", flows, FLOW_COUNT_MAX, at, mistakes);
    too_many("members of remove sets", removes, FLOW_COUNT_MAX, at, mistakes);
    too_many("variables", variables, VARIABLE_COUNT_MAX, at, mistakes);
    too_many("places", give_net(net).places.len(), PLACE_COUNT_MAX, at, mistakes);
    let elements = net.conditions.iter().map(|condition| &condition.id);
    twice(elements.chain(net.tasks.iter().map(|task| &task.id)), mistakes);
    for (kind, what) in [(ConditionKind::Input, "input"), (ConditionKind::Output, "output")] {
        let count = net.conditions.iter().filter(|condition| condition.kind == kind).count();
        if count != 1 {
            mistakes.push(mistake(
                256,
                at,
                format!("net {:?} has {count} {what} conditions; exactly one is needed", net.id.text),
                "give every net one inputCondition and one outputCondition",
            ));
        }
    }
}

fn too_many(what: &str, count: usize, limit: usize, at: Position, mistakes: &mut Vec<Mistake>) {
    if count > limit {
        mistakes.push(mistake(
            252,
            at,
            format!("{count} {what} are more than the limit of {limit}"),
            "split the specification, for instance by moving a part into a net of its own",
        ));
    }
}

fn twice<'a>(ids: impl Iterator<Item = &'a Text>, mistakes: &mut Vec<Mistake>) {
    let mut seen = HashSet::new();
    for id in ids {
        if !seen.insert(id.text.as_str()) {
            mistakes.push(mistake(
                255,
                id.at,
                format!("the id {:?} is given twice", id.text),
                "give each element an id of its own",
            ));
        }
    }
}

/// Says how a stored numbering differs from the names of the specification that it should be for.
pub(super) fn compare(specification: &Specification, stored: &Numbering) -> Vec<Mistake> {
    let fresh = give(specification);
    let mut mistakes = Vec::new();
    let ids = |numbering: &Numbering| numbering.nets.iter().map(|net| net.id.clone()).collect::<Vec<_>>();
    difference("net", &ids(&fresh), &ids(stored), &mut mistakes);
    for net in &fresh.nets {
        let Some(other) = stored.nets.iter().find(|other| other.id == net.id) else { continue };
        difference("place", &net.places, &other.places, &mut mistakes);
        difference("task", &net.tasks, &other.tasks, &mut mistakes);
        difference("variable", &net.variables, &other.variables, &mut mistakes);
    }
    mistakes
}

fn difference<T: Eq + std::hash::Hash + std::fmt::Debug>(
    what: &str,
    needed: &[T],
    stored: &[T],
    mistakes: &mut Vec<Mistake>,
) {
    let known: HashSet<&T> = stored.iter().collect();
    let wanted: HashSet<&T> = needed.iter().collect();
    let missing = needed.iter().find(|name| !known.contains(name)).map(|name| (name, "lacks"));
    let surplus = stored.iter().find(|name| !wanted.contains(name)).map(|name| (name, "has the unknown"));
    let found = missing.or(surplus);
    let found = found.or_else(|| (known.len() < stored.len()).then(|| (&stored[0], "repeats a")));
    if let Some((name, how)) = found {
        mistakes.push(mistake(
            254,
            Position::default(),
            format!("the stored numbering {how} {what} {name:?}"),
            "the stored registration is not what was written: run `knhk state verify`",
        ));
    }
}
