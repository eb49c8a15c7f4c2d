//! Data of a case: initial values, mappings in and out, predicates, and the check of types.
//!
//! A document holds every variable of its net or parameter of its task; one that is unset is there as an empty
//! element. Unset and empty are the same: an empty value is of every type, and a mapping whose result is
//! empty leaves its variable unset, whatever it held before.

use std::borrow::Cow;

use super::command::Error;
use super::effort::Effort;
use super::event::Writes;
use super::lexical;
use super::row::InstanceRow;
use crate::expr::{Document, Expression, Fragment};
use crate::net::{DataType, Mapping, Net, Parameter, Predicate, Task};

/// Most bytes that the variables of one net instance may hold together; its row holds them all.
pub const DATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most characters of an expression that an error repeats.
const EXPRESSION_QUOTED_CHARS_MAX: usize = 200;

/// Names and values as a document shows them.
pub(super) struct Values<'a> {
    root: &'a str,
    named: Vec<(&'a str, Cow<'a, Fragment>)>,
    effort: &'a Effort,
}

impl<'a> Values<'a> {
    /// Returns the data of a net instance as it will be after `wrote`.
    pub(super) fn of_net(net: &'a Net, row: &'a InstanceRow, wrote: &'a Writes, effort: &'a Effort) -> Self {
        let mut values: Vec<(&str, Cow<'_, Fragment>)> = net
            .variables
            .iter()
            .map(|variable| (variable.name.as_str(), Cow::Owned(Fragment::empty())))
            .collect();
        for (variable, value) in row.data.iter().chain(wrote) {
            if let Some(entry) = values.get_mut(usize::from(*variable)) {
                entry.1 = Cow::Borrowed(value);
            }
        }
        Self { root: &net.document_root, named: values, effort }
    }

    /// Returns the output of a task as its mappings see it; `given` has one element a parameter.
    fn of_outputs(task: &'a Task, given: &Fragment, effort: &'a Effort) -> Self {
        let given = given.children();
        let value = |name: &str| {
            let found = given.iter().find(|(given, _)| given == name);
            found.map_or_else(Fragment::empty, |(_, value)| value.clone())
        };
        let values =
            task.outputs.iter().map(|output| (output.name.as_str(), Cow::Owned(value(&output.name))));
        Self { root: &task.document_root, named: values.collect(), effort }
    }

    /// Asks a predicate.
    ///
    /// # Errors
    /// It cannot be evaluated on this data, or the decision breaks off.
    pub(super) fn holds(&self, task: &Task, predicate: &Predicate) -> Result<bool, Error> {
        let place = || format!("predicate {:?} of task {:?}", shortened(&predicate.text), task.id);
        self.ask(&predicate.expression, place, Effort::holds)
    }

    fn value(&self, task: &Task, mapping: &Mapping) -> Result<Fragment, Error> {
        let place = || format!("mapping {:?} of task {:?}", shortened(&mapping.text), task.id);
        self.ask(&mapping.expression, place, Effort::value)
    }

    fn ask<T>(
        &self,
        expression: &Expression,
        place: impl FnOnce() -> String,
        how: impl FnOnce(&Effort, &Expression, &Document<'_>) -> Option<Result<T, crate::expr::Error>>,
    ) -> Result<T, Error> {
        let variables: Vec<(&str, &Fragment)> =
            self.named.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let given = how(self.effort, expression, &Document { root: self.root, variables: &variables });
        // Nobody hears of a decision that breaks off.
        let put_off = || Error::Expression { place: String::new(), message: String::new() };
        given
            .ok_or_else(put_off)?
            .map_err(|error| Error::Expression { place: place(), message: error.to_string() })
    }
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(EXPRESSION_QUOTED_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// Checks that the variables of a net instance keep within their limit.
fn check_bytes(row: &[(u16, Fragment)], wrote: &[(u16, Fragment)]) -> Result<(), Error> {
    let stays = |variable: u16| wrote.iter().all(|(written, _)| *written != variable);
    let kept = row.iter().filter(|(variable, _)| stays(*variable));
    let bytes: usize = kept.chain(wrote).map(|(_, value)| value.len_bytes()).sum();
    if bytes > DATA_BYTES_MAX {
        return Err(Error::TooLarge { what: "the data of a net", bytes, limit: DATA_BYTES_MAX });
    }
    Ok(())
}

fn check(name: &str, data_type: &DataType, value: &Fragment) -> Result<(), Error> {
    if value.is_empty() {
        return Ok(());
    }
    lexical::check(data_type, value).map_err(|expected| Error::Type {
        name: name.to_owned(),
        expected,
        value: lexical::quoted(value),
    })
}

/// Finds the place of each given name among those there are, each at most once.
fn place_names<'a>(
    given: &'a [(String, Fragment)],
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<usize>, Error> {
    let mut places = Vec::with_capacity(given.len());
    for (name, _) in given {
        let Some(place) = known.clone().position(|known| known == name) else {
            let known: Vec<String> = known.map(|name| format!("{name:?}")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::UnknownParameter { name: name.clone(), known });
        };
        if places.contains(&place) {
            return Err(Error::RepeatedParameter { name: name.clone() });
        }
        places.push(place);
    }
    Ok(places)
}

/// Returns the first values of a net instance: initial values, and over them what is given to its input
/// parameters, one element a parameter. An empty element gives nothing.
///
/// # Errors
/// A name that is no input parameter, or a value that is not of its type.
pub(super) fn initial(net: &Net, given: &Fragment) -> Result<Writes, Error> {
    let given = given.children();
    let inputs: Vec<usize> = (0..net.variables.len()).filter(|at| net.variables[*at].is_input).collect();
    let names = inputs.iter().map(|at| net.variables[*at].name.as_str());
    let places = place_names(&given, names)?;
    let mut values: Vec<Option<Fragment>> =
        net.variables.iter().map(|variable| variable.initial.clone()).collect();
    for ((name, value), place) in given.into_iter().zip(places) {
        let at = inputs[place];
        check(&name, &net.variables[at].data_type, &value)?;
        if !value.is_empty() {
            values[at] = Some(value);
        }
    }
    let numbered = values.into_iter().enumerate().filter_map(|(at, value)| {
        let number = u16::try_from(at).expect("invariant: variables are numbered in 16 bits");
        value.filter(|value| !value.is_empty()).map(|value| (number, value))
    });
    let data: Writes = numbered.collect();
    check_bytes(&[], &data)?;
    Ok(data)
}

/// Returns the input of a task: what its starting mappings give, one element a parameter.
///
/// # Errors
/// A mapping cannot be evaluated on this data, or its value is not of its parameter's type.
pub(super) fn input(net: &Net, task: &Task, row: &InstanceRow, effort: &Effort) -> Result<Fragment, Error> {
    if task.inputs.is_empty() {
        return Ok(Fragment::empty());
    }
    let wrote = Writes::new();
    let values = Values::of_net(net, row, &wrote, effort);
    let mut given: Vec<(String, Fragment)> =
        task.inputs.iter().map(|input| (input.name.clone(), Fragment::empty())).collect();
    for mapping in &task.starting {
        let at = usize::from(mapping.target);
        let value = values.value(task, mapping)?;
        check(&task.inputs[at].name, &task.inputs[at].data_type, &value)?;
        given[at].1 = value;
    }
    Ok(Fragment::from_children(&given))
}

/// Checks what a worker, a child or the engine hands in as the output of a task.
///
/// # Errors
/// A name that is no output parameter, or a value that is not of its type.
pub(super) fn check_output(task: &Task, given: &Fragment) -> Result<(), Error> {
    let given = given.children();
    let places = place_names(&given, task.outputs.iter().map(|output| output.name.as_str()))?;
    for ((name, value), place) in given.iter().zip(places) {
        check(name, &task.outputs[place].data_type, value)?;
    }
    Ok(())
}

/// Returns what the completed mappings write to the net, in order; a value that is empty unsets its variable.
///
/// # Errors
/// A mapping cannot be evaluated on this data, or its value is not of its variable's type.
pub(super) fn output(
    net: &Net,
    task: &Task,
    row: &InstanceRow,
    given: &Fragment,
    effort: &Effort,
) -> Result<Writes, Error> {
    if task.completed.is_empty() {
        return Ok(Writes::new());
    }
    let values = Values::of_outputs(task, given, effort);
    let assign = |mapping: &Mapping| Ok((mapping.target, assigned(net, task, &values, mapping)?));
    let wrote = task.completed.iter().map(assign).collect::<Result<Writes, Error>>()?;
    check_bytes(&row.data, &wrote)?;
    Ok(wrote)
}

/// Returns what the completed mappings write when the task is skipped: the outputs are unset, and so is every
/// variable whose mapping makes nothing of that.
pub(super) fn output_of_skipped(net: &Net, task: &Task, effort: &Effort) -> Writes {
    let values = Values::of_outputs(task, &Fragment::empty(), effort);
    let value = |mapping| assigned(net, task, &values, mapping).unwrap_or_else(|_| Fragment::empty());
    task.completed.iter().map(|mapping| (mapping.target, value(mapping))).collect()
}

fn assigned(net: &Net, task: &Task, values: &Values<'_>, mapping: &Mapping) -> Result<Fragment, Error> {
    let variable = &net.variables[usize::from(mapping.target)];
    let value = values.value(task, mapping)?;
    check(&variable.name, &variable.data_type, &value)?;
    Ok(value)
}

/// Returns the output of a task that nobody works on: each input is copied to the output of the same name,
/// other outputs stay unset.
pub(super) fn echo(task: &Task, input: &Fragment) -> Fragment {
    let is_output = |name: &str| task.outputs.iter().any(|output: &Parameter| output.name == name);
    let copied: Vec<(String, Fragment)> =
        input.children().into_iter().filter(|(name, _)| is_output(name)).collect();
    Fragment::from_children(&copied)
}

/// Returns the output of a net instance that is done: its output parameters that are set.
pub(super) fn result(net: &Net, row: &InstanceRow) -> Fragment {
    let set = row.data.iter().filter_map(|(number, value)| {
        let variable = net.variables.get(usize::from(*number))?;
        variable.is_output.then(|| (variable.name.clone(), value.clone()))
    });
    Fragment::from_children(&set.collect::<Vec<_>>())
}
