//! What someone may ask of a case, and the ways to refuse it.

use super::event::ItemNumber;
use crate::error::{Code, Kind};
use crate::expr::Fragment;
use crate::id::SpecNumber;

/// Something asked of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin a case.
    Create {
        /// Which version of which specification.
        spec: SpecNumber,
        /// The client's own name for it.
        business_key: Option<String>,
        /// Values of the root net's input parameters, one element a parameter.
        data: Fragment,
    },
    /// Take an offered item.
    Start(ItemNumber),
    /// Hand in an item's outputs; an item that is only offered is started by it.
    Complete(ItemNumber, Fragment),
    /// Give an item up.
    Fail(ItemNumber, String),
    /// Do without an item.
    Skip(ItemNumber, String),
    /// End the case.
    Cancel(String),
    /// Hold the case.
    Suspend,
    /// Let a suspended case go on.
    Resume,
    /// Try again whatever is an incident.
    Retry,
    /// Run automatic tasks until nothing moves: what happens anyway, for older clients.
    Execute,
}

/// Why a command was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such case.
    #[error("there is no such case")]
    NoCase,
    /// There is no such live item.
    #[error("there is no such work item: it never was, or it is finished or withdrawn")]
    NoItem,
    /// The case's status does not allow it.
    #[error("the case is {status}")]
    CaseStatus {
        /// What it is.
        status: &'static str,
    },
    /// The item's state does not allow it.
    #[error("the work item is {state}, which does not allow to {act} it")]
    ItemState {
        /// What it is.
        state: &'static str,
        /// What was asked.
        act: &'static str,
    },
    /// There is nothing to try again.
    #[error("the case has no incident to retry")]
    NothingToRetry,
    /// A parameter that the task or net does not have.
    #[error("there is no parameter {name:?}; there are: {known}")]
    UnknownParameter {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A value that is not of its variable's type.
    #[error("{name:?} takes {expected}, not {value:?}")]
    Type {
        /// The variable.
        name: String,
        /// What its type takes.
        expected: String,
        /// The value given.
        value: String,
    },
    /// An expression failed on this data.
    #[error("{place}: {message}")]
    Expression {
        /// Which expression.
        place: String,
        /// What went wrong.
        message: String,
    },
    /// A place would hold more tokens than it can.
    #[error("task {task:?} would put more tokens on a place than it can hold")]
    Tokens {
        /// The task.
        task: String,
    },
    /// A parameter is given more than once.
    #[error("parameter {name:?} is given twice")]
    RepeatedParameter {
        /// The name.
        name: String,
    },
    /// The case has had as many events as a case can have.
    #[error("the case has had {event_count} events, and {limit} are the most that a case can have")]
    TooLong {
        /// So many.
        event_count: u32,
        /// The limit.
        limit: u32,
    },
    /// More data than there is room for.
    #[error("{what} takes {bytes} bytes, and {limit} are the most it may")]
    TooLarge {
        /// What.
        what: &'static str,
        /// So many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes that are not what was written.
    #[error("stored {what} cannot be read from byte {at} on")]
    Bytes {
        /// What they should be.
        what: &'static str,
        /// Where reading ended.
        at: usize,
    },
    /// Bytes of a format that this program does not know.
    #[error("stored {what} is in format {format}, which this program does not know")]
    Format {
        /// What they should be.
        what: &'static str,
        /// The format.
        format: u8,
    },
    /// Rows that do not fit one another or their specification.
    #[error("stored rows of the case do not fit together: {how}")]
    Rows {
        /// How.
        how: String,
    },
    /// The kernel refused a step that the rows allow.
    #[error("task {task:?} is not enabled any more")]
    NotEnabled {
        /// The task.
        task: String,
    },
}

impl Error {
    /// Returns the permanent code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::NoCase => 350,
            Self::NoItem => 351,
            Self::CaseStatus { .. } => 352,
            Self::ItemState { .. } => 353,
            Self::NothingToRetry => 354,
            Self::UnknownParameter { .. } => 355,
            Self::Type { .. } => 356,
            Self::Expression { .. } => 357,
            Self::Tokens { .. } => 358,
            Self::NotEnabled { .. } => 359,
            Self::RepeatedParameter { .. } => 360,
            Self::TooLong { .. } => 361,
            Self::Bytes { .. } => 362,
            Self::Format { .. } => 363,
            Self::Rows { .. } => 364,
            Self::TooLarge { .. } => 365,
        })
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoCase | Self::NoItem => Kind::NotFound,
            Self::CaseStatus { .. }
            | Self::ItemState { .. }
            | Self::NothingToRetry
            | Self::Tokens { .. }
            | Self::NotEnabled { .. }
            | Self::TooLong { .. } => Kind::Conflict,
            Self::UnknownParameter { .. }
            | Self::RepeatedParameter { .. }
            | Self::Type { .. }
            | Self::Expression { .. } => Kind::Unacceptable,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Bytes { .. } | Self::Format { .. } | Self::Rows { .. } => Kind::Corrupt,
        }
    }
}
