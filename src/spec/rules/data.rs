//! Variables, their initial values, and mappings.

use std::collections::{HashMap, HashSet};

use super::names::unique;
use super::{Decomposition, Decompositions};
use crate::spec::mistake::{Mistake, quoted};
use crate::spec::tree::{Builtin, DataType, Mapping, Net, Task, Variable};
use crate::spec::{codes, fragment};

/// The names of the input parameters of each decomposition.
type Inputs<'a> = HashMap<&'a str, HashSet<&'a str>>;

/// Returns the names of the input parameters of each decomposition.
pub(super) fn inputs<'a>(decompositions: &Decompositions<'a>) -> Inputs<'a> {
    let names =
        |variables: &'a [Variable]| variables.iter().map(|variable| variable.name.text.as_str()).collect();
    decompositions
        .iter()
        .map(|(id, decomposition)| match decomposition {
            Decomposition::Net(_, net) => (*id, names(&net.inputs)),
            Decomposition::Gateway(gateway) => (*id, names(&gateway.inputs)),
        })
        .collect()
}

/// Checks the variables of a net and the mappings of its tasks.
pub(super) fn net(net: &Net, inputs: &Inputs<'_>, out: &mut Vec<Mistake>) {
    variables(&net.inputs, &net.outputs, &net.locals, out);
    let names: HashSet<&str> = [&net.inputs, &net.outputs, &net.locals]
        .into_iter()
        .flatten()
        .map(|variable| variable.name.text.as_str())
        .collect();
    for task in &net.tasks {
        mappings(task, &names, inputs, out);
    }
}

/// Checks names and initial values. Editors write a variable that goes out as an output parameter and a local variable
/// of the same name, or as an input and an output parameter: both are one variable.
pub(super) fn variables(
    inputs: &[Variable],
    outputs: &[Variable],
    locals: &[Variable],
    out: &mut Vec<Mistake>,
) {
    unique("input parameter", inputs.iter().map(|variable| &variable.name), out);
    unique("output parameter", outputs.iter().map(|variable| &variable.name), out);
    let taken: HashSet<&str> = inputs.iter().map(|variable| variable.name.text.as_str()).collect();
    for local in locals.iter().filter(|local| taken.contains(local.name.text.as_str())) {
        let message =
            format!("local variable {} has the name of an input parameter", quoted(&local.name.text));
        out.push(Mistake::error(codes::DUPLICATE, local.name.at, message, "give each a name of its own"));
    }
    unique("local variable", locals.iter().map(|variable| &variable.name), out);
    for variable in inputs.iter().chain(outputs).chain(locals) {
        let Some(initial) = &variable.initial else { continue };
        if initial.text.trim().is_empty() {
            continue;
        }
        let name = quoted(&variable.name.text);
        let message = match &variable.data_type {
            DataType::Builtin(builtin) if builtin.accepts(&initial.text) => continue,
            DataType::Builtin(builtin) => {
                format!("{} is not {} as variable {name} needs", quoted(&initial.text), described(*builtin))
            }
            DataType::Opaque(_) => match fragment::fault(&initial.text) {
                None => continue,
                Some(fault) => format!("the initial value of variable {name} is no piece of XML: {fault}"),
            },
        };
        let hint = "write a value of its type, or leave it empty";
        out.push(Mistake::error(codes::INITIAL_VALUE, initial.at, message, hint));
    }
}

fn described(builtin: Builtin) -> String {
    let text = match builtin {
        Builtin::String => "a text",
        Builtin::Boolean => "true or false",
        Builtin::Integer => "a whole number",
        Builtin::BoundedInteger { min, max } => {
            return match (min, max) {
                (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
                (Some(min), None) => format!("a whole number from {min}"),
                (None, Some(max)) => format!("a whole number up to {max}"),
                (None, None) => "a whole number".to_owned(),
            };
        }
        Builtin::Decimal => "a decimal number",
        Builtin::Double => "a number",
        Builtin::Date => "a date (YYYY-MM-DD)",
        Builtin::Time => "a time (hh:mm:ss)",
        Builtin::DateTime => "a date and time (YYYY-MM-DDThh:mm:ss)",
        Builtin::Duration => "a duration (such as P1DT12H)",
    };
    text.to_owned()
}

fn mappings(task: &Task, variables: &HashSet<&str>, inputs: &Inputs<'_>, out: &mut Vec<Mistake>) {
    let id = quoted(&task.id.text);
    let Some(decomposition) = &task.decomposition else {
        if let Some(first) = task.starting.iter().chain(&task.completed).chain(&task.enablement).next() {
            let message = format!("task {id} has mappings and no decomposition");
            let hint = "write decomposesTo, or take the mappings out";
            out.push(Mistake::error(codes::MAPPING_WITHOUT_DECOMPOSITION, first.query.at, message, hint));
        }
        return;
    };
    twice(&task.starting, &id, out);
    twice(&task.completed, &id, out);
    for mapping in task.completed.iter().filter(|mapping| !variables.contains(mapping.target.text.as_str())) {
        let message =
            format!("task {id} maps to {}, which its net does not have", quoted(&mapping.target.text));
        let hint = "name a parameter or local variable of the net";
        out.push(Mistake::error(codes::MAPPING_TARGET, mapping.target.at, message, hint));
    }
    let Some(inputs) = inputs.get(decomposition.text.as_str()) else { return };
    for mapping in task.starting.iter().filter(|mapping| !inputs.contains(mapping.target.text.as_str())) {
        let message = format!(
            "task {id} maps to {}, which is no input parameter of {}",
            quoted(&mapping.target.text),
            quoted(&decomposition.text)
        );
        let hint = "name an input parameter of the decomposition";
        out.push(Mistake::error(codes::MAPPING_TARGET, mapping.target.at, message, hint));
    }
}

fn twice(mappings: &[Mapping], task: &str, out: &mut Vec<Mistake>) {
    let mut seen = HashSet::new();
    for mapping in mappings {
        if !seen.insert(mapping.target.text.as_str()) {
            let message = format!("two mappings of task {task} write {}", quoted(&mapping.target.text));
            out.push(Mistake::error(codes::MAPPING_TWICE, mapping.target.at, message, "keep one of them"));
        }
    }
}
