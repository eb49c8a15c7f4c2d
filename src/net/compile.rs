//! From the tree of a specification to numbered tables; all mistakes at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::numbering::{self, Names, mistake, number};
use super::{
    Gate, Mapping, Net, NetNumbering, Numbering, Parameter, Predicate, Task, TaskFlow, TaskKind, Variable,
    Workflow, orjoin, safety,
};
use crate::expr::{self, Expression, Fragment};
use crate::spec::tree::{self, ConditionKind, Specification, Text};
use crate::spec::{Mistake, Severity};

/// A workflow, and the numbers that its registration stores.
#[derive(Debug)]
pub struct Compiled {
    /// The tables.
    pub workflow: Workflow,
    /// The names behind their numbers.
    pub numbering: Numbering,
}

/// Compiles a specification: with the numbers that its registration stored, or with new ones.
///
/// # Errors
/// All mistakes, in the order of the source; or, when ids or limits are wrong, those alone.
pub fn compile(
    specification: &Specification,
    numbering: Option<&Numbering>,
) -> Result<Compiled, Vec<Mistake>> {
    let mut mistakes = numbering::check(specification);
    if mistakes.is_empty()
        && let Some(stored) = numbering
    {
        mistakes = numbering::compare(specification, stored);
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let numbering = numbering.cloned().unwrap_or_else(|| numbering::give(specification));
    let mut compiler = Compiler::of(specification, &numbering);
    let trees: HashMap<&str, &tree::Net> =
        specification.nets.iter().map(|net| (net.id.text.as_str(), net)).collect();
    let mut nets = Vec::with_capacity(numbering.nets.len());
    for names in &numbering.nets {
        let tree = trees.get(names.id.as_str()).expect("invariant: the numbering was compared");
        nets.push(Arc::new(compiler.net(tree, names)));
    }
    let root =
        specification.nets.get(specification.root).and_then(|net| compiler.nets.get(net.id.text.as_str()));
    let Some(root) = root.copied() else {
        return Err(vec![mistake(
            251,
            specification.uri.at,
            "the specification has no root net".to_owned(),
            "mark one net as the root net",
        )]);
    };
    let mut mistakes = compiler.mistakes;
    if !mistakes.is_empty() {
        mistakes.sort_by_key(|mistake| mistake.at);
        return Err(mistakes);
    }
    let workflow =
        Workflow { uri: specification.uri.text.clone(), name: specification.name.clone(), root, nets };
    Ok(Compiled { workflow, numbering })
}

/// What a task decomposes to.
enum Decomposition<'a> {
    Net(u16, &'a tree::Net),
    Gateway(&'a tree::Gateway),
}

struct Compiler<'a> {
    data_root: bool,
    nets: HashMap<&'a str, u16>,
    decompositions: HashMap<&'a str, Decomposition<'a>>,
    mistakes: Vec<Mistake>,
}

impl<'a> Compiler<'a> {
    fn of(specification: &'a Specification, numbering: &'a Numbering) -> Self {
        let nets: HashMap<&str, u16> =
            numbering.nets.iter().enumerate().map(|(at, net)| (net.id.as_str(), number(at))).collect();
        let mut decompositions = HashMap::new();
        for gateway in &specification.gateways {
            decompositions.insert(gateway.id.text.as_str(), Decomposition::Gateway(gateway));
        }
        for net in &specification.nets {
            let id = net.id.text.as_str();
            decompositions.insert(id, Decomposition::Net(nets[id], net));
        }
        Self { data_root: specification.data_root, nets, decompositions, mistakes: Vec::new() }
    }

    fn root_of(&self, id: &str) -> String {
        if self.data_root { "data".to_owned() } else { id.to_owned() }
    }

    fn net(&mut self, tree: &tree::Net, numbering: &NetNumbering) -> Net {
        let names = Names::of(numbering);
        let presets = self.presets(tree, &names);
        let by_id: HashMap<&str, &tree::Task> =
            tree.tasks.iter().map(|task| (task.id.text.as_str(), task)).collect();
        let tasks: Vec<Task> = numbering
            .tasks
            .iter()
            .zip(presets)
            .map(|(id, preset)| self.task(by_id[id.as_str()], preset, &names))
            .collect();
        let place = |kind| {
            let condition = tree.conditions.iter().find(|condition| condition.kind == kind);
            condition
                .and_then(|condition| names.condition(&condition.id.text))
                .expect("invariant: each net has one of each")
        };
        let (input, output) = (place(ConditionKind::Input), place(ConditionKind::Output));
        let or_joins = orjoin::analyse(&tasks, numbering.places.len()).unwrap_or_else(|looked_at| {
            self.mistakes.push(mistake(
                253,
                tree.id.at,
                format!(
                    "the OR-joins of net {:?} look at {looked_at} places or more; the limit is {}",
                    tree.id.text,
                    orjoin::ORJOIN_PLACES_MAX
                ),
                "use fewer OR-joins, or move a part into a net of its own",
            ));
            Vec::new()
        });
        let mut net = Net {
            id: tree.id.text.clone(),
            name: tree.name.clone(),
            document_root: self.root_of(&tree.id.text),
            places: numbering.places.clone(),
            automatic: automatic(&tasks),
            is_safe: false,
            or_joins,
            tasks,
            variables: self.variables(tree, numbering),
            input,
            output,
        };
        net.is_safe = self.mistakes.is_empty() && safety::is_safe(&net);
        net
    }

    /// Returns the preset of each task, ascending.
    fn presets(&mut self, tree: &tree::Net, names: &Names<'_>) -> Vec<Vec<u16>> {
        let mut presets = vec![Vec::new(); tree.tasks.len()];
        for condition in &tree.conditions {
            let place = names.condition(&condition.id.text).expect("invariant: every condition has a number");
            for flow in &condition.flows {
                match names.task(&flow.target.text) {
                    Some(task) => presets[usize::from(task)].push(place),
                    None => self.unknown("task", &flow.target),
                }
            }
        }
        for task in &tree.tasks {
            for flow in &task.flows {
                let place = names.implicit(&task.id.text, &flow.target.text);
                if let (Some(target), Some(place)) = (names.task(&flow.target.text), place) {
                    presets[usize::from(target)].push(place);
                }
            }
        }
        for preset in &mut presets {
            preset.sort_unstable();
            preset.dedup();
        }
        presets
    }

    fn task(&mut self, tree: &tree::Task, preset: Vec<u16>, names: &Names<'_>) -> Task {
        let id = &tree.id.text;
        let mut task = Task {
            id: id.clone(),
            name: tree.name.clone(),
            documentation: tree.documentation.clone(),
            join: tree.join,
            split: tree.split,
            kind: TaskKind::Empty,
            preset,
            flows: self.flows(tree, names),
            removes: self.removes(tree, names),
            busy: names.busy(id).expect("invariant: every task has a busy place"),
            document_root: self.root_of(tree.decomposition.as_ref().map_or(id, |id| &id.text)),
            inputs: Vec::new(),
            outputs: Vec::new(),
            starting: Vec::new(),
            completed: Vec::new(),
        };
        if let Some(decomposition) = &tree.decomposition {
            let found = self.decompositions.get(decomposition.text.as_str());
            let (kind, inputs, outputs) = match found {
                Some(Decomposition::Net(net, tree)) => {
                    (TaskKind::Composite(*net), &tree.inputs, &tree.outputs)
                }
                Some(Decomposition::Gateway(gateway)) => {
                    let kind = if gateway.automated { TaskKind::Automated } else { TaskKind::Manual };
                    (kind, &gateway.inputs, &gateway.outputs)
                }
                None => {
                    self.unknown("decomposition", decomposition);
                    return task;
                }
            };
            (task.kind, task.inputs, task.outputs) = (kind, parameters(inputs), parameters(outputs));
        }
        let inputs: HashMap<&str, u16> =
            task.inputs.iter().enumerate().map(|(at, input)| (input.name.as_str(), number(at))).collect();
        let input = |name: &str| inputs.get(name).copied();
        let starting = self.mappings(&tree.starting, "input parameter of the decomposition", input);
        task.starting = starting;
        task.completed = self.mappings(&tree.completed, "variable of the net", |name| names.variable(name));
        task
    }

    /// Returns the flows in the order of asking. Two flows to one element are one place, asked for each.
    fn flows(&mut self, task: &tree::Task, names: &Names<'_>) -> Vec<TaskFlow> {
        let mut ordered: Vec<&tree::Flow> = task.flows.iter().collect();
        match task.split {
            Gate::And => {}
            Gate::Xor => {
                ordered.sort_by_key(|flow| (flow.is_default, flow.ordering.is_none(), flow.ordering));
            }
            Gate::Or => ordered.sort_by_key(|flow| flow.is_default),
        }
        let mut flows: Vec<TaskFlow> = Vec::with_capacity(ordered.len());
        for flow in ordered {
            let target = &flow.target.text;
            let Some(place) = names.condition(target).or_else(|| names.implicit(&task.id.text, target))
            else {
                self.unknown("condition or task", &flow.target);
                continue;
            };
            if task.split == Gate::And {
                if flows.iter().all(|other| other.place != place) {
                    flows.push(TaskFlow { place, predicate: None, is_default: false });
                }
                continue;
            }
            let predicate = flow.predicate.as_ref().and_then(|text| {
                Some(Predicate { text: text.text.clone(), expression: self.expression(text)? })
            });
            flows.push(TaskFlow { place, predicate, is_default: flow.is_default });
        }
        flows
    }

    fn removes(&mut self, task: &tree::Task, names: &Names<'_>) -> Vec<u16> {
        let mut removes = Vec::new();
        for id in &task.removes {
            match names.condition(&id.text).or_else(|| names.busy(&id.text)) {
                Some(place) => removes.push(place),
                None => self.unknown("condition or task", id),
            }
        }
        for (from, to) in &task.removes_flows {
            match names.implicit(&from.text, &to.text) {
                Some(place) => removes.push(place),
                None => self.mistakes.push(mistake(
                    251,
                    from.at,
                    format!("there is no flow from task {:?} to task {:?}", from.text, to.text),
                    "name the two tasks that a flow of this net connects, or the condition between them",
                )),
            }
        }
        removes.sort_unstable();
        removes.dedup();
        removes
    }

    fn mappings(
        &mut self,
        trees: &[tree::Mapping],
        what: &str,
        target_of: impl Fn(&str) -> Option<u16>,
    ) -> Vec<Mapping> {
        let mut mappings = Vec::with_capacity(trees.len());
        for tree in trees {
            let expression = self.expression(&tree.query);
            match (target_of(&tree.target.text), expression) {
                (None, _) => self.unknown(what, &tree.target),
                (Some(target), Some(expression)) => {
                    mappings.push(Mapping { text: tree.query.text.clone(), expression, target });
                }
                (Some(_), None) => {}
            }
        }
        mappings
    }

    fn variables(&mut self, tree: &tree::Net, numbering: &NetNumbering) -> Vec<Variable> {
        let mut variables: HashMap<&str, Variable> = HashMap::new();
        let lists = [(&tree.inputs, true, false), (&tree.outputs, false, true), (&tree.locals, false, false)];
        for (list, is_input, is_output) in lists {
            for one in list {
                let initial = one.initial.as_ref().and_then(|text| self.initial(text));
                let variable = variables.entry(one.name.text.as_str()).or_insert_with(|| Variable {
                    name: one.name.text.clone(),
                    data_type: one.data_type.clone(),
                    initial: None,
                    is_input: false,
                    is_output: false,
                });
                variable.initial = variable.initial.take().or(initial);
                variable.is_input |= is_input;
                variable.is_output |= is_output;
            }
        }
        let taken = numbering.variables.iter().map(|name| variables.remove(name.as_str()));
        taken.map(|variable| variable.expect("invariant: the numbering names each variable once")).collect()
    }

    fn initial(&mut self, text: &Text) -> Option<Fragment> {
        if text.text.trim().is_empty() {
            return None;
        }
        match Fragment::parse(&text.text) {
            Ok(fragment) => Some(fragment),
            Err(error) => {
                self.wrong(text, "the initial value", &error);
                None
            }
        }
    }

    fn expression(&mut self, text: &Text) -> Option<Expression> {
        match expr::compile(&text.text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.wrong(text, "the expression", &error);
                None
            }
        }
    }

    fn wrong(&mut self, text: &Text, what: &str, error: &expr::Error) {
        self.mistakes.push(Mistake {
            code: error.code(),
            severity: Severity::Error,
            at: text.at,
            message: format!("{what} is wrong at its byte {}: {error}", error.offset()),
            hint: error.hint().to_owned(),
        });
    }

    fn unknown(&mut self, what: &str, id: &Text) {
        self.mistakes.push(mistake(
            251,
            id.at,
            format!("there is no {what} {:?}", id.text),
            "check the spelling; names are compared letter by letter",
        ));
    }
}

fn parameters(variables: &[tree::Variable]) -> Vec<Parameter> {
    let parameter =
        |one: &tree::Variable| Parameter { name: one.name.text.clone(), data_type: one.data_type.clone() };
    variables.iter().map(parameter).collect()
}

/// Returns the tasks that run by themselves in the order in which they are taken.
pub(super) fn automatic(tasks: &[Task]) -> Vec<u16> {
    let rank = |task: &Task| match task.kind {
        TaskKind::Composite(_) => Some(0),
        TaskKind::Empty => Some(1),
        TaskKind::Automated => Some(2),
        TaskKind::Manual => None,
    };
    let mut found: Vec<(u8, u16)> =
        tasks.iter().enumerate().filter_map(|(at, task)| Some((rank(task)?, number(at)))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, task)| task).collect()
}
