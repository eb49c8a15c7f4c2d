//! What the engine offers to those who speak for clients: one trait, in names and values.
//!
//! `api` turns requests into these calls; the running engine and the simulator both implement them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::pending::{Again, Pending};
use super::room::{Answers, Room};

pub use crate::case::view::{
    CaseState, CaseView, Detail, HistoryView, IncidentView, ItemView, NetView, Value, ValueKind,
};
use crate::error::{Code, Kind};
pub use crate::expr::{Fragment, json};
use crate::id::{CaseId, ItemId, SpecNumber, Time};
use crate::net::Net;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Context, Tracer};

/// Why something asked was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Permanent code.
    pub code: Code,
    /// What it means outside.
    pub kind: Kind,
    /// Lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The key to ask again with, when the outcome is unknown.
    pub key: Option<String>,
    /// All that is wrong, when it is more than one thing: of a specification.
    pub mistakes: Vec<crate::spec::Mistake>,
    /// In how many seconds it may go better, where that is known; else in a moment, if at all.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// Returns that a command was not begun, because there was no room for its answer.
    pub fn not_begun() -> Self {
        super::answers::not_begun()
    }
}

/// Who asks. Shares of what is bounded are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Caller {
    /// A local client whose user is unknown, or the service itself.
    #[default]
    Local,
    /// A user of this machine, by number.
    User(u32),
    /// The holder of a token: the first bytes of the token's hash.
    Token(u64),
    /// A client on another machine that has shown no token.
    Address(IpAddr),
}

/// How a client wants a command carried out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Once {
    /// The client's `Idempotency-Key`, if it gave one.
    pub key: Option<String>,
    /// BLAKE3 of method, path and body: the same key with another request is refused.
    pub request: [u8; 32],
    /// The span that it belongs under, if it is traced.
    pub trace: Option<Context>,
    /// Who asks.
    pub caller: Caller,
    /// Room for the answer.
    pub room: Room,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Start a case.
    Create {
        /// `uri` or `uri@version`.
        workflow: String,
        /// Values of input parameters.
        data: Vec<(String, Fragment)>,
        /// The client's own name for the case.
        business_key: Option<String>,
    },
    /// Do something to a case.
    Case(CaseId, CaseAct),
    /// Do something to a work item.
    Item(ItemId, ItemAct),
}

/// What can be done to a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseAct {
    /// End it.
    Cancel {
        /// Why, in the client's words.
        reason: String,
    },
    /// Hold it.
    Suspend,
    /// Let it go on.
    Resume,
    /// Try again whatever failed.
    Retry,
    /// Run automatic tasks until nothing moves, which happens anyway; for older clients.
    Execute,
}

/// What can be done to a work item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemAct {
    /// Take it.
    Start,
    /// Hand in its outputs.
    Complete(Vec<(String, Fragment)>),
    /// Give it up.
    Fail {
        /// Why.
        reason: String,
    },
    /// Do without it.
    Skip {
        /// Why.
        reason: String,
    },
}

/// Answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The case was created, or was there already under its business key (`is_new` false).
    Created(Box<CaseView>, IsNew),
    /// The case as it is now.
    Case(Box<CaseView>),
    /// The item as it is now, or as it went, and the state of its case.
    Item(Box<ItemView>, CaseState),
    /// It was done, and there was no room to show what came of it.
    Brief(Brief),
    /// The answer to a request that had no effect, under a key of its client's: the key is not remembered, and a repeat is
    /// carried out as a new request.
    NotRemembered(Box<Self>),
}

/// What an answer is about, and how that is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brief {
    /// A case that was created, or was there already.
    Created(CaseId, CaseState, IsNew),
    /// A case.
    Case(CaseId, CaseState),
    /// A work item in the state of this word, and the state of its case.
    Item(ItemId, &'static str, CaseState),
}

/// Whether a create made something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsNew {
    /// It did.
    Yes,
    /// The business key had its case already.
    No,
}

/// An operation that somebody has begun.
#[derive(Debug)]
pub enum Begun {
    /// It is refused already.
    Refused(Refusal),
    /// The answer comes.
    Pending(Pending),
    /// This service answers only whoever waits: by [`Service::operate`].
    Blocks(Operation, Once),
}

/// A registered specification version.
#[derive(Debug, Clone)]
pub struct SpecificationView {
    /// Number in this store.
    pub number: SpecNumber,
    /// Its uri.
    pub id: String,
    /// Version, from 1.
    pub version: u32,
    /// Name for people.
    pub name: Option<String>,
    /// When it was registered.
    pub registered: Time,
    /// Its nets.
    pub nets: Nets,
    /// Warnings, as said at registration.
    pub warnings: Vec<String>,
    /// Whether this call registered it, or the same bytes were there already.
    pub is_new: bool,
}

/// The nets of a specification.
#[derive(Debug, Clone)]
pub struct Nets {
    /// All, in the order of their numbers, by which composite tasks name them.
    pub all: Vec<Arc<Net>>,
    /// Number of the root net.
    pub root: u16,
}

impl Nets {
    /// Returns the root net; `None` when there is no net of its number.
    pub fn root(&self) -> Option<&Arc<Net>> {
        self.all.get(usize::from(self.root))
    }

    /// Returns all nets, the root first and the others in order: how people are shown them.
    pub fn root_first(&self) -> impl Iterator<Item = &Arc<Net>> {
        let others = self.all.iter().zip(0_u16..).filter(|(_, number)| *number != self.root);
        self.root().into_iter().chain(others.map(|(net, _)| net))
    }
}

/// Filters of the list of cases. All that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaseFilter {
    /// State.
    pub state: Option<CaseState>,
    /// `uri` or `uri@version`.
    pub workflow: Option<String>,
    /// Not changed for so many microseconds.
    pub older_than_us: Option<u64>,
    /// Cases in archives, in place of those in the live store.
    pub is_archived: bool,
}

/// Filters of the work list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemFilter {
    /// Of this case.
    pub case: Option<CaseId>,
    /// Of this specification: `uri` or `uri@version`.
    pub workflow: Option<String>,
    /// Of this task.
    pub task: Option<String>,
    /// In this state: enabled, executing, failed.
    pub state: Option<String>,
}

/// Where a page begins and how long it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOf {
    /// The token of the page before.
    pub after: Option<String>,
    /// Most items, 1 to [`PAGE_ITEMS_MAX`].
    pub limit: u32,
}

/// Most items of a page.
pub const PAGE_ITEMS_MAX: u32 = 1_000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order of creation.
    pub items: Vec<T>,
    /// Give this as `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

/// A case in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseSummary {
    /// Its id.
    pub id: CaseId,
    /// Id of its specification.
    pub workflow: String,
    /// Version of its specification.
    pub version: u32,
    /// State.
    pub state: CaseState,
    /// The client's own name for it.
    pub business_key: Option<String>,
    /// When it was created.
    pub created: Time,
    /// When it last changed.
    pub changed: Time,
    /// How many work items are enabled.
    pub enabled_count: u32,
    /// The archive file that has it.
    pub archived: Option<String>,
}

/// What can be asked of the state on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// Write a snapshot now.
    Snapshot,
    /// Take away now what nobody needs any longer.
    Trim,
    /// Raise the store to the newest format.
    Upgrade,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintained {
    /// A snapshot holds everything up to a frame.
    Snapshot {
        /// The frame.
        seq: u64,
        /// Its length if it was written just now; `None` when the last one held everything already.
        new_bytes: Option<u64>,
    },
    /// Files are gone.
    Trimmed {
        /// How many.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The store has the newest format.
    Upgraded {
        /// Its format before.
        from: u32,
        /// Its format now.
        to: u32,
    },
}

/// Which closed cases are to leave the live store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveOrder {
    /// Those that have not changed for so many microseconds.
    pub older_than_us: u64,
    /// Of this specification: `uri` or `uri@version`.
    pub workflow: Option<String>,
    /// In this state.
    pub state: Option<CaseState>,
    /// Most cases, 1 to [`CASES_MAX`](super::archiving::CASES_MAX).
    pub limit: u32,
    /// The token of the slice before.
    pub after: Option<String>,
    /// Nothing is done; it is only said what would be.
    pub is_trial: bool,
}

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchivedSlice {
    /// Cases that left.
    pub cases: u64,
    /// Bytes of their file: about what comes back of history.
    pub bytes: u64,
    /// Their file.
    pub file: Option<String>,
    /// Cases that are old enough and stay, because idempotency keys that were used for them are still good.
    pub kept_back: u64,
    /// Cases that stay because they changed meanwhile, or because there was too much else to do.
    pub refused: u64,
    /// Give this as `after` for the next slice; `None` at the end.
    pub next: Option<String>,
}

/// A case that is to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOrder {
    /// The case.
    pub case: CaseId,
    /// All that happened in it, packed as [`CaseHistory`](crate::store::CaseHistory) is; `None` is what its archive has.
    pub history: Option<Vec<u8>>,
    /// Where that comes from, for people.
    pub from: String,
    /// Also when the case here is newer or another.
    pub is_forced: bool,
}

/// Whether the service can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Why it cannot; empty when it can.
    pub failing: Vec<String>,
    /// What is less than well.
    pub degraded: Vec<String>,
}

/// The engine as clients' requests see it. Calls block until answered, at most until their own limit; [`Service::begin`],
/// [`Service::health`] and [`Service::metrics`] do not block.
pub trait Service: Send + Sync {
    /// Registers a specification from its source text.
    ///
    /// # Errors
    /// It is wrong, or the service cannot take it now.
    fn register(&self, source: &[u8], once: &Once) -> Result<SpecificationView, Refusal>;
    /// Begins operations, each by itself and with the time that one may take; in order.
    fn begin(&self, operations: Vec<(Operation, Once)>) -> Vec<Begun> {
        operations.into_iter().map(|(operation, once)| Begun::Blocks(operation, once)).collect()
    }
    /// Answers an operation that was begun and turned out to be a repeat.
    ///
    /// # Errors
    /// It was refused the first time, its key was used for another request, or the service cannot say now.
    fn again(&self, again: Again) -> Result<Answer, Refusal>;
    /// Carries out operations, all in one group commit, each by itself; answers come in order.
    fn operate(&self, operations: Vec<(Operation, Once)>) -> Vec<Result<Answer, Refusal>>;
    /// Returns the room of all answers.
    fn answers(&self) -> &Arc<Answers>;
    /// Returns a case.
    ///
    /// # Errors
    /// There is none, the room is full, or the service cannot say now.
    fn case(&self, id: CaseId, room: &Room) -> Result<CaseView, Refusal>;
    /// Returns a live work item.
    ///
    /// # Errors
    /// There is none, the room is full, or the service cannot say now.
    fn item(&self, id: ItemId, room: &Room) -> Result<ItemView, Refusal>;
    /// Lists cases in order of their ids. A page ends early when the room is full.
    ///
    /// # Errors
    /// A bad token, no room for the first one, or the service cannot say now.
    fn cases(&self, filter: &CaseFilter, page: &PageOf, room: &Room) -> Result<Page<CaseSummary>, Refusal>;
    /// Follows the histories of cases back by their own chains, and says of each what is wrong if folding it does not give
    /// the case; `None` when all is well. Takes as long as the histories are. Refused for a case: there is none, or the
    /// service cannot say now.
    fn check_cases(&self, ids: &[CaseId]) -> BTreeMap<CaseId, Result<Option<String>, Refusal>>;
    /// Lists live work items in order of their ids. A page ends early when the room is full.
    ///
    /// # Errors
    /// A bad token, no room for the first one, or the service cannot say now.
    fn items(&self, filter: &ItemFilter, page: &PageOf, room: &Room) -> Result<Page<ItemView>, Refusal>;
    /// Returns what happened in a case, oldest first. A page ends early when the room is full.
    ///
    /// # Errors
    /// There is no such case, no room for the first event, or its history cannot be read.
    fn history(&self, id: CaseId, page: &PageOf, room: &Room) -> Result<Page<HistoryView>, Refusal>;
    /// Lists registered specifications: every version, by uri. A page ends early when the room is full.
    ///
    /// # Errors
    /// A bad token, no room for the first one, or the service cannot say now.
    fn specifications(&self, page: &PageOf, room: &Room) -> Result<Page<SpecificationView>, Refusal>;
    /// Returns a specification: `uri` (newest version) or `uri@version`.
    ///
    /// # Errors
    /// There is none.
    fn specification(&self, id: &str) -> Result<SpecificationView, Refusal>;
    /// Returns the nets of a case's own version, for drawing.
    ///
    /// # Errors
    /// There is no such case.
    fn nets_of(&self, id: CaseId) -> Result<Nets, Refusal>;
    /// Does something to the state on disk; answers when it is done.
    ///
    /// # Errors
    /// It could not be done, or takes so long that it goes on alone.
    fn maintain(&self, what: Maintenance) -> Result<Maintained, Refusal>;
    /// Reads the configuration again and works by it, as far as that needs no restart; returns what changed and what
    /// the service has now.
    ///
    /// # Errors
    /// The configuration holds mistakes, or this service has none.
    fn reload(&self) -> Result<serde_json::Value, Refusal> {
        Err(super::answers::no_configuration())
    }
    /// Archives some closed cases; answers when they have left.
    ///
    /// # Errors
    /// It could not be done, or the service cannot say whether it was.
    fn archive(&self, order: &ArchiveOrder) -> Result<ArchivedSlice, Refusal>;
    /// Brings a case back from its archive, or as it is given; returns it as it is then, as far as there is room.
    ///
    /// # Errors
    /// There is nothing to restore it from, what is given is damaged, the case here is newer or another, or the service
    /// cannot say now.
    fn restore(&self, order: RestoreOrder, room: &Room) -> Result<Answer, Refusal>;
    /// Tells whether the service can do its work.
    fn health(&self) -> Health;
    /// Returns the service's figures. Every request counts in them, so this costs nothing.
    fn metrics(&self) -> &Metrics;
    /// Returns what decides which requests are traced, where any are.
    fn tracer(&self) -> Option<&Tracer> {
        None
    }
    /// Brings those figures up to date that are looked at and not counted: before they are shown.
    fn measure(&self) {}
}
