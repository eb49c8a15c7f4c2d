//! What people and programs see of a case: names in place of numbers.

mod build;
mod history;

pub use build::{case, gone_item, item, item_word, live_item, state, task_and_state};
pub use history::Historian;

use super::row::Status;
use crate::expr::Fragment;
use crate::id::{CaseId, ItemId, Time};

/// State of a case in the words of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaseState {
    /// It runs and nothing is wrong.
    Running,
    /// Somebody suspended it.
    Suspended,
    /// It runs, and something in it needs a person.
    Incident,
    /// It is over.
    Completed,
    /// It was cancelled.
    Cancelled,
}

impl CaseState {
    /// All states, in the order in which they are listed.
    pub const ALL: [Self; 5] =
        [Self::Running, Self::Suspended, Self::Incident, Self::Completed, Self::Cancelled];

    /// Returns the word of the interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Incident => "incident",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Tells whether a case in this state is over.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }
}

/// A whole case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseView {
    /// Its id.
    pub id: CaseId,
    /// Id of its specification.
    pub workflow: String,
    /// Version of its specification.
    pub version: u32,
    /// State.
    pub state: CaseState,
    /// The row's own word for it.
    pub status: Status,
    /// The client's own name for it.
    pub business_key: Option<String>,
    /// When it was created.
    pub created: Time,
    /// When it last changed.
    pub changed: Time,
    /// How many events it has had.
    pub event_count: u32,
    /// The root net; of a closed case only its data is left, as it was when it closed.
    pub root: NetView,
    /// Open incidents, failed items among them.
    pub incidents: Vec<IncidentView>,
    /// The archive file that it was read from.
    pub archived: Option<String>,
}

/// One net instance and those below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetView {
    /// Number of the instance in its case.
    pub number: u32,
    /// Id of the net.
    pub net: String,
    /// Marked conditions by name, with their tokens; in order of name.
    pub marking: Vec<(String, u32)>,
    /// Busy tasks by id, in order.
    pub busy: Vec<String>,
    /// Enabled tasks by id, in order.
    pub enabled: Vec<String>,
    /// Variables that are set.
    pub data: Vec<Value>,
    /// Instances below it, by the composite task they work for.
    pub children: Vec<(String, Vec<NetView>)>,
}

/// A named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Name of the variable or parameter.
    pub name: String,
    /// How its text reads.
    pub kind: ValueKind,
    /// The value.
    pub value: Fragment,
}

/// How the text of a value reads on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Text.
    Text,
    /// A number, if the text is one.
    Number,
    /// true or false.
    Boolean,
}

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentView {
    /// One word: deadlock, data, undecided, chain, tokens, nesting, failed.
    pub kind: &'static str,
    /// Number of the net instance.
    pub instance: u32,
    /// Id of the task, if it is at one.
    pub task: Option<String>,
    /// The failed item, if it is one.
    pub item: Option<ItemId>,
    /// In words.
    pub detail: String,
    /// Since when.
    pub since: Time,
}

/// A work item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemView {
    /// Its id.
    pub id: ItemId,
    /// Id of its specification.
    pub workflow: String,
    /// Number of its net instance.
    pub instance: u32,
    /// Id of its task.
    pub task: String,
    /// Name of the task for people.
    pub name: Option<String>,
    /// enabled, executing, failed, and once it is gone completed, skipped or withdrawn.
    pub state: &'static str,
    /// Since when.
    pub since: Time,
    /// Its input, or what it would be.
    pub data: Vec<Value>,
    /// Names of the output parameters.
    pub outputs: Vec<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// One line of a case's history: a fact in names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryView {
    /// Counts the case's events from 1.
    pub seq: u32,
    /// When.
    pub time: Time,
    /// One word: created, opened, started, ...
    pub event: &'static str,
    /// What else there is to say, in order: ids, names, lists of places, data.
    pub details: Vec<(&'static str, Detail)>,
}

/// One detail of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A word, name or id.
    Text(String),
    /// A number.
    Number(u64),
    /// Names.
    List(Vec<String>),
    /// Values.
    Data(Vec<Value>),
}
