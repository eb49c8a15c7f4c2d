//! Tree to immutable numbered tables, the analysis of OR-joins, and limits. Pure.
//!
//! Start at [`Workflow`] and [`compile`]. Numbers of places, tasks and variables are given out once, when a
//! specification is registered, and stored with it ([`Numbering`]): a stored marking means the same for ever.
//! Nothing here runs a net: `kernel` moves tokens, `case` decides.

mod compile;
mod numbering;
pub mod orjoin;
mod safety;
mod shape;
pub mod svg;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use compile::{Compiled, compile};
pub use numbering::{FLOW_COUNT_MAX, NET_COUNT_MAX, PLACE_COUNT_MAX, TASK_COUNT_MAX, VARIABLE_COUNT_MAX};
pub use safety::{SAFETY_STATES_MAX, SAFETY_TRIES_MAX, SAFETY_WORDS_MAX};
pub use shape::{Shape, ShapeTask};

use crate::expr::{Expression, Fragment};
pub use crate::spec::tree::{Builtin, DataType, Gate};

/// A compiled specification.
#[derive(Debug)]
pub struct Workflow {
    /// The specification's uri, its id.
    pub uri: String,
    /// Name for people.
    pub name: Option<String>,
    /// Number of the root net.
    pub root: u16,
    /// All nets by number.
    pub nets: Vec<Arc<Net>>,
}

/// Names in the order of their numbers, as stored with the registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    /// One entry a net.
    pub nets: Vec<NetNumbering>,
}

/// Names of one net in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetNumbering {
    /// Id of the net.
    pub id: String,
    /// Places by name: conditions, implicit conditions, busy places.
    pub places: Vec<PlaceKey>,
    /// Tasks by id.
    pub tasks: Vec<String>,
    /// Variables by name.
    pub variables: Vec<String>,
}

/// What a place is, by names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PlaceKey {
    /// A condition of the author, by id.
    Condition(String),
    /// The implicit condition of a flow between two tasks.
    Implicit {
        /// Id of the task it comes from.
        from: String,
        /// Id of the task it leads to.
        to: String,
    },
    /// Holds a token while the task is busy.
    Busy(String),
}

impl PlaceKey {
    /// Returns the name that people see: an id, or `c{A_B}`; `None` for a busy place.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Condition(id) => Some(id.clone()),
            Self::Implicit { from, to } => Some(format!("c{{{from}_{to}}}")),
            Self::Busy(_) => None,
        }
    }
}

/// A net in numbers.
#[derive(Debug)]
pub struct Net {
    /// Id, any string.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Root element of the net's data document: its id, or `data` up to Beta 2.
    pub document_root: String,
    /// Places by number.
    pub places: Vec<PlaceKey>,
    /// Tasks by number.
    pub tasks: Vec<Task>,
    /// Variables by number.
    pub variables: Vec<Variable>,
    /// The input condition's place.
    pub input: u16,
    /// The output condition's place.
    pub output: u16,
    /// Tasks that run by themselves: composite ones, then empty, then automated ones, each by number.
    pub automatic: Vec<u16>,
    /// What is known about its OR-joins, by task.
    pub or_joins: Vec<orjoin::OrJoin>,
    /// Whether every reachable marking is shown to hold at most one token a place.
    pub is_safe: bool,
}

/// What runs a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// A person or worker: it becomes a work item.
    Manual,
    /// The engine: each input parameter is copied to the output parameter of the same name.
    Automated,
    /// Nothing: the task has no decomposition.
    Empty,
    /// The net of this number.
    Composite(u16),
}

/// A task in numbers.
#[derive(Debug)]
pub struct Task {
    /// Id, any string.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Documentation for people.
    pub documentation: Option<String>,
    /// Kind of its join.
    pub join: Gate,
    /// Kind of its split.
    pub split: Gate,
    /// What runs it.
    pub kind: TaskKind,
    /// Places it takes from, ascending.
    pub preset: Vec<u16>,
    /// Its flows in the order of asking: by `ordering` and source order, the default last.
    pub flows: Vec<TaskFlow>,
    /// Places that lose all tokens when it completes, ascending; busy places of removed tasks are among them.
    pub removes: Vec<u16>,
    /// Its busy place.
    pub busy: u16,
    /// Root element of the task's own data documents: its decomposition's id, or `data` up to Beta 2.
    pub document_root: String,
    /// Input parameters of its decomposition.
    pub inputs: Vec<Parameter>,
    /// Output parameters of its decomposition.
    pub outputs: Vec<Parameter>,
    /// Mappings over the net's document, each to an input parameter (index in `inputs`).
    pub starting: Vec<Mapping>,
    /// Mappings over the task's output document, each to a variable of the net (number).
    pub completed: Vec<Mapping>,
}

/// A flow out of a task.
#[derive(Debug)]
pub struct TaskFlow {
    /// The place that gets the token.
    pub place: u16,
    /// When it is chosen; `None` for AND-splits and defaults without one.
    pub predicate: Option<Predicate>,
    /// Chosen when no other is.
    pub is_default: bool,
}

/// An expression of the specification with its source text.
#[derive(Debug)]
pub struct Predicate {
    /// As written.
    pub text: String,
    /// Compiled.
    pub expression: Expression,
}

/// A mapping in numbers.
#[derive(Debug)]
pub struct Mapping {
    /// As written.
    pub text: String,
    /// Compiled.
    pub expression: Expression,
    /// Index or number of what takes the result.
    pub target: u16,
}

/// A parameter of a decomposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Type.
    pub data_type: DataType,
}

/// A variable of a net: parameters and local variables of one name are one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Type.
    pub data_type: DataType,
    /// Initial value; `None` = unset.
    pub initial: Option<Fragment>,
    /// Whether it is an input parameter.
    pub is_input: bool,
    /// Whether it is an output parameter.
    pub is_output: bool,
}
