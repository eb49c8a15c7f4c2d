//! What must hold in any specification, whatever it was written in: structure, remove sets, mappings, values, limits.
//!
//! [`check`] reports everything it finds. Soundness is not judged here. A rule that needs what another rule found
//! broken is left out for that net: paths are not searched where flows lead nowhere.

mod data;
mod empty;
mod flows;
mod later;
mod names;
mod paths;

use std::collections::HashMap;

use super::mistake::{Mistake, quoted};
use super::tree::{Flow, Gateway, Net, Specification, Task, Text};

/// Most nets of a specification.
pub const NET_COUNT_MAX: usize = 1_024;
/// Most tasks of a net.
pub const TASK_COUNT_MAX: usize = 4_096;
/// Most places of a net: its conditions, and one for each flow between two tasks.
pub const PLACE_COUNT_MAX: usize = 4_096;

/// Returns everything that is wrong or odd, in the order of the source; or, when a limit is passed, only that.
pub fn check(specification: &Specification) -> Vec<Mistake> {
    let mut out = names::limits(specification);
    if !out.is_empty() {
        return out;
    }
    let decompositions = names::decompositions(specification, &mut out);
    let inputs = data::inputs(&decompositions);
    for net in &specification.nets {
        let index = Index::of(net);
        names::elements(net, &mut out);
        let resolved = flows::check(net, &index, &mut out);
        flows::remove_sets(net, &index, &mut out);
        paths::check(net, &index, resolved, &mut out);
        data::net(net, &inputs, &mut out);
        later::check(net, &mut out);
    }
    for gateway in &specification.gateways {
        data::variables(&gateway.inputs, &gateway.outputs, &[], &mut out);
    }
    names::used(specification, &decompositions, &mut out);
    empty::check(specification, &decompositions, &mut out);
    out.sort_by_key(|mistake| (mistake.at, mistake.code));
    out
}

/// What a decomposition's id stands for.
#[derive(Clone, Copy)]
enum Decomposition<'a> {
    /// A net, by its index.
    Net(usize, &'a Net),
    Gateway(&'a Gateway),
}

type Decompositions<'a> = HashMap<&'a str, Decomposition<'a>>;

/// The elements of a net by number: conditions first, then tasks, each in source order.
struct Index<'a> {
    net: &'a Net,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Index<'a> {
    /// Numbers the elements; of two with the same id the first keeps it.
    fn of(net: &'a Net) -> Self {
        let mut numbers = HashMap::new();
        let ids =
            net.conditions.iter().map(|condition| &condition.id).chain(net.tasks.iter().map(|task| &task.id));
        for (number, id) in ids.enumerate() {
            numbers.entry(id.text.as_str()).or_insert(number);
        }
        Self { net, numbers }
    }

    fn count(&self) -> usize {
        self.net.conditions.len() + self.net.tasks.len()
    }

    fn number(&self, id: &str) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    /// Returns the task of a number; `None` for conditions.
    fn task(&self, number: usize) -> Option<&'a Task> {
        self.net.tasks.get(number.checked_sub(self.net.conditions.len())?)
    }

    fn id(&self, number: usize) -> &'a Text {
        self.task(number).map_or_else(|| &self.net.conditions[number].id, |task| &task.id)
    }

    fn flows(&self, number: usize) -> &'a [Flow] {
        self.task(number).map_or_else(|| &self.net.conditions[number].flows, |task| &task.flows)
    }

    /// Returns `task "a"` or `condition "c"`.
    fn described(&self, number: usize) -> String {
        let kind = if self.task(number).is_some() { "task" } else { "condition" };
        format!("{kind} {}", quoted(&self.id(number).text))
    }
}
