//! The tree of a specification as its author wrote it, with positions.
//!
//! It is stored with the registration, as JSON, so that folding and compiling never need the reader again.
//! Fields are therefore added with `#[serde(default)]` and never change their meaning.

use serde::{Deserialize, Serialize};

use super::Position;

/// A piece of source text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The text, entities resolved.
    pub text: String,
    /// Where it begins in the source.
    pub at: Position,
}

/// A whole specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specification {
    /// The specification's id.
    pub uri: Text,
    /// Name for people: `name`, else the metadata's title.
    pub name: Option<String>,
    /// Documentation or the metadata's description.
    pub documentation: Option<String>,
    /// The schema version as written; `None` up to Beta 2.
    pub version: Option<String>,
    /// Up to Beta 2 the root of every document in an expression is `data`, not the decomposition's id.
    pub data_root: bool,
    /// All nets; `root` is one of them.
    pub nets: Vec<Net>,
    /// Index of the root net in `nets`.
    pub root: usize,
    /// Decompositions of atomic tasks.
    pub gateways: Vec<Gateway>,
}

/// A net: conditions, tasks and variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// Id, any string.
    pub id: Text,
    /// Name for people.
    pub name: Option<String>,
    /// Input parameters.
    pub inputs: Vec<Variable>,
    /// Output parameters.
    pub outputs: Vec<Variable>,
    /// Local variables.
    pub locals: Vec<Variable>,
    /// Conditions in source order, the input and the output condition among them.
    pub conditions: Vec<Condition>,
    /// Tasks in source order.
    pub tasks: Vec<Task>,
}

/// What a condition is to its net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// The one where a case starts.
    Input,
    /// The one that completes the net.
    Output,
    /// Any other.
    Plain,
}

/// A condition (a place with a name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Id, any string.
    pub id: Text,
    /// Name for people.
    pub name: Option<String>,
    /// What it is to its net.
    pub kind: ConditionKind,
    /// Flows to tasks.
    pub flows: Vec<Flow>,
}

/// Kind of a join or split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// All branches.
    And,
    /// Exactly one branch.
    Xor,
    /// Some branches.
    Or,
}

/// A flow out of a condition or task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Id of the element it leads to.
    pub target: Text,
    /// When it is chosen, for XOR and OR splits.
    pub predicate: Option<Text>,
    /// Order of asking, for XOR splits.
    pub ordering: Option<i64>,
    /// Chosen when no other is.
    pub is_default: bool,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Id, any string.
    pub id: Text,
    /// Name for people.
    pub name: Option<String>,
    /// Documentation for people.
    pub documentation: Option<String>,
    /// Kind of the join.
    pub join: Gate,
    /// Kind of the split.
    pub split: Gate,
    /// Flows out.
    pub flows: Vec<Flow>,
    /// Remove set: conditions and tasks by id.
    pub removes: Vec<Text>,
    /// Remove set: implicit conditions, as (source task, target task).
    pub removes_flows: Vec<(Text, Text)>,
    /// Mappings that make the input of the task.
    pub starting: Vec<Mapping>,
    /// Mappings from the output of the task to the net.
    pub completed: Vec<Mapping>,
    /// Mappings at enabling; kept, without effect.
    pub enablement: Vec<Mapping>,
    /// Id of the net or gateway that the task decomposes to.
    pub decomposition: Option<Text>,
    /// Multiple-instance attributes.
    pub multiple: Option<MultipleInstance>,
    /// Timer.
    pub timer: Option<Timer>,
}

/// A mapping from a query to a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The expression.
    pub query: Text,
    /// Name of the variable that takes the result.
    pub target: Text,
}

/// A parameter or local variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Name.
    pub name: Text,
    /// Type.
    pub data_type: DataType,
    /// Initial value as XML text, entities of the outer document resolved; empty text = unset.
    pub initial: Option<Text>,
}

/// Type of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// A built-in simple type of XML Schema.
    Builtin(Builtin),
    /// A type from the specification's own schema or from nowhere; its values are checked to be well-formed only.
    Opaque(String),
}

/// Built-in simple types, by what their lexical form must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Any text: string, normalizedString, token, anyURI, anyType, untyped and the like.
    String,
    /// true, false, 1, 0.
    Boolean,
    /// Whole number without bounds: integer.
    Integer,
    /// Whole number within inclusive bounds, such as int, long, unsignedByte, positiveInteger.
    BoundedInteger {
        /// Smallest value, if any.
        min: Option<i64>,
        /// Largest value, if any.
        max: Option<u64>,
    },
    /// Decimal number without exponent.
    Decimal,
    /// double or float, with INF and `NaN`.
    Double,
    /// YYYY-MM-DD with optional zone.
    Date,
    /// hh:mm:ss with optional fraction and zone.
    Time,
    /// Date, T, time.
    DateTime,
    /// ISO 8601 duration.
    Duration,
}

/// Decomposition of an atomic task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Id, any string.
    pub id: Text,
    /// Name for people.
    pub name: Option<String>,
    /// Input parameters.
    pub inputs: Vec<Variable>,
    /// Output parameters.
    pub outputs: Vec<Variable>,
    /// Whether it runs by itself (`externalInteraction` = automated).
    pub automated: bool,
}

/// Multiple-instance attributes; read now, refused at registration until a later release runs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultipleInstance {
    /// Where the first of its elements stands.
    pub at: Position,
    /// Smallest number of instances: a number or a query.
    pub minimum: Option<Text>,
    /// Largest number of instances.
    pub maximum: Option<Text>,
    /// How many must complete.
    pub threshold: Option<Text>,
    /// `static` or `dynamic`.
    pub creation_mode: Option<Text>,
    /// Query whose result is split.
    pub input: Option<Text>,
    /// Splits the input into instances.
    pub splitting: Option<Text>,
    /// Parameter that takes an instance's part.
    pub formal_input: Option<Text>,
    /// Query for an instance's output.
    pub formal_output: Option<Text>,
    /// Joins the outputs.
    pub joining: Option<Text>,
    /// Variable that takes the joined output.
    pub result: Option<Text>,
}

/// A timer; read now, refused at registration until a later release runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Where the element stands.
    pub at: Position,
    /// Variable that holds the timer's parameters.
    pub parameter: Option<Text>,
    /// `OnEnabled` or `OnExecuting`.
    pub trigger: Option<Text>,
    /// ISO 8601 duration.
    pub duration: Option<Text>,
    /// Milliseconds of the Unix epoch, or a date.
    pub expiry: Option<Text>,
    /// Ticks and interval, as written.
    pub interval: Option<(Text, Text)>,
    /// Whether only working days count.
    pub workdays: bool,
}
