//! What travels between clients' threads, shards, the journal's writer and those who answer parked questions.

use std::sync::Arc;

use super::places::Place;
use super::record::{Act, Archived, Hash16, KeyFact, Maker, Registration, Restored};
use super::registry::Registered;
use super::room::Room;
use super::service::{Answer, Caller, Refusal, SpecificationView};
use super::shard::Bounds;
use super::tables::{ArchivedRow, KeyRow};
use super::ticket::Answerer;
use super::traced::Traced;
use super::turn::{self, Rows, Tally};
use crate::case::command::Command;
use crate::case::effort::{Evaluation, Given};
use crate::case::row::Link;
use crate::expr::Fragment;
use crate::id::{CaseId, Partition, Time};
use crate::net::orjoin::{self, Judgement};
use crate::store::Entry;
use crate::telemetry::metrics::labels::Queue;

/// Something for a shard to do, and who waits for it.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub act: Asked,
    /// Under which key.
    pub key: Key,
    /// The place for its key, once its shard has taken one.
    pub place: Option<Place>,
    /// What goes before it.
    pub class: Class,
    /// Evaluation steps that the shard had taken when it was put into the inbox; `None` when it is not known, or when it
    /// waited for something else since.
    pub asked_at: Option<u64>,
    /// Who waits.
    pub answerer: Answerer<Reply>,
    /// What its spans will say, if it is traced.
    pub traced: Option<Box<Traced>>,
    /// Room for the answer.
    pub room: Room,
}

/// Which jobs go first when a shard has more to do than a turn has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One command, for which one client waits.
    Single,
    /// One of many that were asked together; and what a case does by itself.
    Bulk,
}

/// All classes.
pub const CLASSES: [Class; 2] = [Class::Single, Class::Bulk];

impl Class {
    /// Returns the name of the queue in which requests of it wait for a shard.
    pub fn queue(self) -> Queue {
        match self {
            Self::Single => Queue::Inbox,
            Self::Bulk => Queue::Batches,
        }
    }
}

/// The key a request comes under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Hash of key and scope.
    pub hash: Hash16,
    /// Hash of the request.
    pub request: Hash16,
    /// Who made it.
    pub maker: Maker,
    /// Whose share of the places for keys it takes.
    pub caller: Caller,
}

impl Key {
    /// Returns what the entry says of it.
    pub fn fact(self, act: Act) -> KeyFact {
        KeyFact { key: self.hash, request: self.request, act, maker: self.maker }
    }
}

/// What is asked of a shard.
#[derive(Debug)]
pub enum Asked {
    /// Begin a case in this partition.
    Create {
        /// Where it will live.
        partition: Partition,
        /// What it runs.
        spec: Arc<Registered>,
        /// Values of input parameters.
        data: Fragment,
        /// The client's own name for it, and its hash.
        business_key: Option<(String, Hash16)>,
    },
    /// A command on a case.
    Case(CaseId, Command),
    /// A command on an item of a case.
    Item(CaseId, u32, Command),
    /// Register a specification.
    Register(Box<NewSpecification>),
    /// Let a case leave the live store, or come back.
    Move(CaseId, Box<Move>),
}

/// A case that leaves the live store, or comes back. It has no key: asked twice, it is refused the second time.
#[derive(Debug, Clone)]
pub enum Move {
    /// It leaves: an archive file that is durable ends its history with this entry.
    Leave(Link, Box<Archived>),
    /// It comes back.
    Come(Box<Coming>),
}

/// A case that comes back.
#[derive(Debug, Clone)]
pub struct Coming {
    /// What there is of it now, by its newest entry: nothing by default.
    pub now: Link,
    /// What it is to be.
    pub fact: Restored,
    /// Hash of its business key.
    pub business: Option<Hash16>,
}

impl Asked {
    /// Returns the case that it names, if it names one.
    pub fn case(&self) -> Option<CaseId> {
        match self {
            Self::Case(case, _) | Self::Item(case, ..) | Self::Move(case, _) => Some(*case),
            Self::Create { .. } | Self::Register(_) => None,
        }
    }

    /// Returns the partition of what it names, where its key lives.
    pub fn partition(&self) -> Partition {
        match self {
            Self::Create { partition, .. } => *partition,
            Self::Case(case, _) | Self::Item(case, ..) | Self::Move(case, _) => case.partition(),
            Self::Register(_) => Partition::SPECIFICATIONS,
        }
    }
}

/// A specification that was read, checked and compiled, and is not registered yet.
#[derive(Debug)]
pub struct NewSpecification {
    /// All but number and version, which the shard gives.
    pub registration: Registration,
    /// Its nets.
    pub workflow: Arc<crate::net::Workflow>,
}

/// What a shard says.
#[derive(Debug)]
pub enum Reply {
    /// It was done, and is durable.
    Done(Answer),
    /// It is registered, and durable.
    Registered(SpecificationView),
    /// The case has left, or is back, and that is durable.
    Moved,
    /// Nothing changed.
    Refused(Refusal),
    /// The key was used before: this is where, and what it was used for.
    Repeat(Box<Repeat>),
}

/// A key that was used before.
#[derive(Debug, Clone, Copy)]
pub enum Repeat {
    /// A client's, and when it was used; its row is in the follower, once the last durable frame is folded.
    Client(Partition, Time, Hash16),
    /// One of the service's own.
    Service(Partition, KeyRow),
    /// A business key that has its case already, and who made the key of the request: it is not remembered.
    Business(CaseId, Maker),
}

/// One shard's share of a frame, and what follows when it is durable. It fits a frame, so that it becomes durable as a
/// whole or not at all.
#[derive(Debug)]
pub struct Staged {
    /// Which shard.
    pub shard: usize,
    /// Counts the shard's batches from 1.
    pub batch: u64,
    /// How many failures of the journal the shard knew of; a batch that missed one is void.
    pub generation: u64,
    /// The latest time in its entries; the frame that holds them is no older.
    pub at: Time,
    /// Bytes that its entries take in a frame, at most.
    pub bytes: usize,
    /// Those, and the bytes of the cases that it changed: about what folding it takes.
    pub held_bytes: usize,
    /// Entries in order.
    pub entries: Vec<Entry>,
    /// Specifications that become known to all.
    pub publish: Vec<Arc<Registered>>,
    /// Answers that leave when it is durable.
    pub replies: Vec<(Answerer<Reply>, Reply)>,
    /// What there is to count when it is durable.
    pub tally: Tally,
    /// Commands among them that are traced.
    pub traced: Vec<Traced>,
}

/// Bytes of a frame besides its entries, at most; docs/reference/store.md has the format.
pub const FRAME_HEAD_BYTES: usize = 128;
/// Bytes of an entry in a frame besides its payload, at most.
const ENTRY_HEAD_BYTES: usize = 64;

/// Returns how many bytes of a frame an entry takes, at most.
pub fn entry_bytes(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_HEAD_BYTES
}

impl Staged {
    /// Tells whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.publish.is_empty() && self.replies.is_empty()
    }
}

/// A question that a shard does not answer by itself, but from durable rows: it parks what waits for it and goes on.
#[derive(Debug)]
pub enum Question {
    /// The rows of a case that is not in memory.
    Load(CaseId),
    /// The case of a business key.
    Business(Partition, Hash16),
}

/// What takes a shard too long to work out by itself. All that it needs is in it.
#[derive(Debug)]
pub enum Computation {
    /// Whether an OR-join is enabled.
    Judge(CaseId, Box<turn::Question>),
    /// What an expression gives, under a number of the shard's. Of each shard at most one is under way.
    Evaluate(u64, Box<Evaluation>),
}

impl Computation {
    /// Works it out, and returns how many evaluation steps that took. Calls `pause` every so often.
    pub fn work_out(self, pause: &dyn Fn()) -> (Told, u64) {
        match self {
            Self::Judge(case, question) => {
                let turn::Question::OrJoin { net, task, marking, .. } = question.as_ref();
                let judgement = orjoin::judge(net, *task, marking);
                (Told::Judged(case, question, judgement), 0)
            }
            Self::Evaluate(number, evaluation) => {
                let (given, cost) = evaluation.work_out(pause);
                (Told::Evaluated(number, given), cost.steps)
            }
        }
    }
}

/// What there is of a case.
#[derive(Debug)]
pub enum Found {
    /// Its rows.
    Rows(Box<Rows>),
    /// It is archived.
    Archived(Box<ArchivedRow>),
    /// There is no such case.
    Nothing,
}

/// Answer to a [`Question`], or what came of a [`Computation`].
#[derive(Debug)]
pub enum Told {
    /// What there is of a case, or why that is not known.
    Loaded(CaseId, Result<Found, Refusal>),
    /// The case of a business key, if it has one, or why it is not known.
    Business(Partition, Hash16, Result<Option<CaseId>, Refusal>),
    /// The verdict.
    Judged(CaseId, Box<turn::Question>, Judgement),
    /// What the expression of this number gives.
    Evaluated(u64, Given),
}

/// What a shard finds in its inbox.
#[derive(Debug)]
pub enum Message {
    /// From a client's thread; all of one request of its client.
    Requests(Vec<Request>),
    /// From whoever answers questions. There is always room for it.
    Told(Told),
    /// Asks for a sign of life.
    Beat,
    /// A minute has passed: expired keys go.
    Minute,
    /// Rows that cases were read from may have been wrong: whatever is at rest is read again.
    Doubt,
    /// Other bounds hold from now on.
    Bounds(Bounds),
    /// Nothing more comes.
    Stop,
}
