//! A job on its way through a shard, and who waits for it.

use crate::engine::places::Place;
use crate::engine::record::{Act, Hash16};
use crate::engine::request::{Asked, Key, Move, Reply, Request};
use crate::engine::room::Room;
use crate::engine::ticket::Answerer;
use crate::engine::traced::Traced;
use crate::engine::turn::{Job, What};
use crate::id::CaseId;

/// A job: for a client, or for the case itself.
pub(super) struct Work {
    pub(super) job: Job,
    pub(super) client: Option<Client>,
    /// The case leaves or comes, in place of the job.
    pub(super) moves: Option<Box<Move>>,
}

/// Who waits for a job, and what for.
pub(super) struct Client {
    pub(super) key: Key,
    /// The place for its key, if it came with a key of its own.
    pub(super) place: Option<Place>,
    pub(super) act: Act,
    pub(super) business: Option<Hash16>,
    pub(super) answerer: Answerer<Reply>,
    pub(super) traced: Option<Box<Traced>>,
}

impl Work {
    /// Returns the work of a request that names a case.
    pub(super) fn of(request: Request) -> Self {
        let Request { act, key, place, answerer, traced, room } = request;
        let (case, command, act) = match act {
            Asked::Move(case, moves) => {
                let client = Client { key, place, act: Act::Case, business: None, answerer, traced };
                return Self { client: Some(client), moves: Some(moves), ..Self::go_on(case) };
            }
            Asked::Case(case, command) => (case, command, Act::Case),
            Asked::Item(case, item, command) => (case, command, Act::Item(item)),
            Asked::Create { .. } | Asked::Register(_) => {
                unreachable!("invariant: only what names a case comes here")
            }
        };
        let client = Client { key, place, act, business: None, answerer, traced };
        let job = Job { case, registered: None, what: What::Command(command), room };
        Self { job, client: Some(client), moves: None }
    }

    /// Returns what lets a case go on by itself.
    pub(super) fn go_on(case: CaseId) -> Self {
        let job = Job { case, registered: None, what: What::Continue, room: Room::default() };
        Self { job, client: None, moves: None }
    }
}
