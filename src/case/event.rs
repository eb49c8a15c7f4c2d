//! Facts: what happened in a case, in the words that history, rows and people share.
//!
//! An event says everything that folding needs: no event is ever evaluated again, so a newer program replays
//! an old journal to the same state. Variants are only ever appended, and a changed one becomes a new variant,
//! because their order is their encoding. Places, tasks, nets and variables are numbers of the numbering that
//! was stored with the specification.

use serde::{Deserialize, Serialize};

use crate::expr::Fragment;
use crate::id::SpecNumber;

/// Number of a net instance within its case; 0 is the root net's.
pub type InstanceNumber = u32;
/// Number of a work item within its case, from 1.
pub type ItemNumber = u32;
/// Number of a place within its net.
pub type PlaceNumber = u16;
/// Number of a task within its net.
pub type TaskNumber = u16;
/// Number of a variable within its net.
pub type VariableNumber = u16;

/// Values written to variables of one net instance.
pub type Writes = Vec<(VariableNumber, Fragment)>;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The case began.
    Created {
        /// Which version of which specification it runs, for life.
        spec: SpecNumber,
        /// The client's own name for it.
        business_key: Option<String>,
    },
    /// A net instance began with one token.
    Opened {
        /// Its number.
        instance: InstanceNumber,
        /// Number of its net.
        net: u16,
        /// The composite task that it works for; `None` for the root net.
        parent: Option<(InstanceNumber, TaskNumber)>,
        /// The place of the first token.
        place: PlaceNumber,
        /// Initial values.
        data: Writes,
    },
    /// A task started, completed or passed through.
    Stepped {
        /// Where.
        instance: InstanceNumber,
        /// Which task.
        task: TaskNumber,
        /// What it did.
        phase: Phase,
        /// Places that lost one token each to the join.
        taken: Vec<PlaceNumber>,
        /// Places that lost all tokens to the remove set.
        removed: Vec<PlaceNumber>,
        /// Places that got one token each.
        put: Vec<PlaceNumber>,
        /// What its output mappings wrote.
        wrote: Writes,
    },
    /// A work item is offered.
    Offered {
        /// Its number.
        item: ItemNumber,
        /// Where.
        instance: InstanceNumber,
        /// Which task.
        task: TaskNumber,
        /// How the join came to be satisfied, when it took a judgement.
        verdict: Option<Verdict>,
    },
    /// Somebody started the item.
    Started {
        /// Which.
        item: ItemNumber,
        /// The item's input, one element a parameter.
        data: Fragment,
    },
    /// The item is done and gone.
    Finished {
        /// Which.
        item: ItemNumber,
        /// How.
        how: Finish,
        /// The worker's output, one element a parameter; empty when skipped.
        data: Fragment,
    },
    /// The item is gone without having been done.
    Withdrawn {
        /// Which.
        item: ItemNumber,
        /// Why.
        why: Withdrawal,
    },
    /// The worker gave up; the item is an incident of its case until retried.
    Failed {
        /// Which.
        item: ItemNumber,
        /// The worker's words.
        reason: String,
    },
    /// A failed item is offered anew; the tokens it took stay taken.
    Reoffered {
        /// Which.
        item: ItemNumber,
    },
    /// The engine cannot go on somewhere in the case and says so.
    Incident {
        /// Its number within the case, from 1.
        incident: u32,
        /// Where.
        instance: InstanceNumber,
        /// At which task, if at one.
        task: Option<TaskNumber>,
        /// What.
        kind: IncidentKind,
        /// What a person needs to know.
        detail: String,
    },
    /// Somebody asked to try again.
    IncidentCleared {
        /// Which.
        incident: u32,
    },
    /// A net instance is over; its tokens and data are gone.
    Ended {
        /// Which.
        instance: InstanceNumber,
        /// How.
        how: End,
    },
    /// Nothing starts until resumed.
    Suspended,
    /// The case goes on.
    Resumed,
    /// The case is over.
    Closed {
        /// How.
        how: End,
        /// Why it was cancelled, in the words of whoever did it.
        reason: Option<String>,
    },
    /// The command ended at a limit; what the case has still to do is derived when it is next looked at.
    Unfinished,
}

/// What a task did in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Took its tokens and is busy.
    Start,
    /// Was busy and put its tokens.
    Complete,
    /// Both at once.
    Pass,
}

/// How an OR-join was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// No more tokens can come.
    NoMore,
}

/// How an item was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// With its outputs.
    Completed,
    /// As completed, outputs unset.
    Skipped {
        /// The words of whoever did it.
        reason: String,
    },
}

/// Why an item went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Withdrawal {
    /// Its task is no longer enabled: another task of the choice took the token.
    Choice,
    /// A remove set reached its task.
    Removed,
    /// Its net completed while it was there.
    Discarded,
    /// Its case, or the composite task around it, was cancelled.
    Cancelled,
}

/// How an instance or a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The output condition was marked, or no token was left.
    Completed,
    /// Completed with tokens left behind, which are gone.
    Improper,
    /// Cancelled.
    Cancelled,
}

/// What the engine cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IncidentKind {
    /// Nothing is enabled, nothing is busy, and the net is not complete.
    Deadlock,
    /// An expression of an automated task could not be evaluated, or its result not be stored.
    Data,
    /// An OR-join could not be judged within its bound of states.
    Undecided,
    /// Automated tasks ran on and on.
    Chain,
    /// A place would hold more tokens than it can.
    Tokens,
    /// Subnets nest too deep.
    Nesting,
}
