//! What is kept of a case: one row for the case, one for each net instance, one for each live work item.
//!
//! Folding events makes these rows and nothing else does. A finished item has no row; its history has it.

use serde::{Deserialize, Serialize};

use super::event::{End, IncidentKind, InstanceNumber, PlaceNumber, TaskNumber, VariableNumber};
use crate::expr::Fragment;
use crate::id::{SpecNumber, Time};

/// The end of a case's own chain of journal entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Link {
    /// Position of the entry in its partition; 0 before the first.
    pub n: u64,
    /// The entry's hash.
    pub hash: [u8; 16],
}

/// Where a case stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It runs, perhaps with incidents.
    Running,
    /// Somebody suspended it.
    Suspended,
    /// It is over.
    Closed(End),
}

/// Something a person must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Number within the case.
    pub number: u32,
    /// Where.
    pub instance: InstanceNumber,
    /// At which task, if at one.
    pub task: Option<TaskNumber>,
    /// What.
    pub kind: IncidentKind,
    /// In words.
    pub detail: String,
    /// Since when.
    pub since: Time,
}

/// The row of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseRow {
    /// Which version of which specification it runs.
    pub spec: SpecNumber,
    /// Where it stands.
    pub status: Status,
    /// When it was created.
    pub created: Time,
    /// When it last changed.
    pub changed: Time,
    /// The client's own name for it.
    pub business_key: Option<String>,
    /// How many events it has had.
    pub event_count: u32,
    /// Its newest journal entry.
    pub last: Link,
    /// Items made so far.
    pub item_count: u32,
    /// Net instances made so far.
    pub instance_count: u32,
    /// Incidents so far.
    pub incident_count: u32,
    /// Live items that wait for somebody to start them.
    pub enabled_count: u32,
    /// Live items that somebody gave up.
    pub failed_count: u32,
    /// Something is still to be done without being asked.
    pub unfinished: bool,
    /// Open incidents, failed items not among them.
    pub incidents: Vec<Incident>,
    /// Data of the root net when the case closed.
    pub output: Vec<(VariableNumber, Fragment)>,
}

/// The row of a net instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// Number of its net.
    pub net: u16,
    /// The composite task that it works for.
    pub parent: Option<(InstanceNumber, TaskNumber)>,
    /// Variables that are set, by number.
    pub data: Vec<(VariableNumber, Fragment)>,
    /// Marked places with their tokens, by number. A shard keeps the marking in its slab and leaves this empty.
    pub tokens: Vec<(PlaceNumber, u16)>,
}

impl InstanceRow {
    /// Returns the value of a variable, if it is set.
    pub fn value(&self, variable: VariableNumber) -> Option<&Fragment> {
        self.data.binary_search_by_key(&variable, |entry| entry.0).ok().map(|at| &self.data[at].1)
    }

    /// Sets a variable; an empty value unsets it.
    pub(super) fn write(&mut self, variable: VariableNumber, value: Fragment) {
        match (self.data.binary_search_by_key(&variable, |entry| entry.0), value.is_empty()) {
            (Ok(at), false) => self.data[at].1 = value,
            (Ok(at), true) => drop(self.data.remove(at)),
            (Err(at), false) => self.data.insert(at, (variable, value)),
            (Err(_), true) => {}
        }
    }
}

/// Where a work item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ItemState {
    /// Its task is enabled; starting it takes the tokens.
    Enabled,
    /// Offered anew after a failure: its task is busy already.
    Reoffered,
    /// Somebody works on it.
    Executing,
    /// The worker gave up.
    Failed,
}

/// The row of a live work item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// Where.
    pub instance: InstanceNumber,
    /// Which task.
    pub task: TaskNumber,
    /// Where it stands.
    pub state: ItemState,
    /// Since when it stands there.
    pub since: Time,
    /// Its input, once started.
    pub data: Option<Fragment>,
    /// Why it failed.
    pub reason: Option<String>,
}
