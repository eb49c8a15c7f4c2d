//! A job on its way through a shard, and who waits for it.

use crate::case::Command;
use crate::engine::places::Place;
use crate::engine::record::{Act, Hash16};
use crate::engine::request::{Asked, Class, Key, Move, Reply, Request};
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
    pub(super) class: Class,
    /// As [`Request::asked_at`].
    pub(super) asked_at: Option<u64>,
    pub(super) answerer: Answerer<Reply>,
    pub(super) traced: Option<Box<Traced>>,
}

impl Work {
    /// Returns the work of a request that names a case.
    pub(super) fn of(request: Request) -> Self {
        let Request { act, key, place, class, asked_at, answerer, traced, room } = request;
        let (case, command, act) = match act {
            Asked::Move(case, moves) => {
                let client =
                    Client { key, place, act: Act::Case, business: None, class, asked_at, answerer, traced };
                return Self { client: Some(client), moves: Some(moves), ..Self::go_on(case) };
            }
            Asked::Case(case, command) => (case, command, Act::Case),
            Asked::Item(case, item, command) => (case, command, Act::Item(item)),
            Asked::Create { .. } | Asked::Register(_) => {
                unreachable!("invariant: only what names a case comes here")
            }
        };
        let client = Some(Client { key, place, act, business: None, class, asked_at, answerer, traced });
        Self { job: Job { room, ..Job::new(case, What::Command(command)) }, client, moves: None }
    }

    /// Returns what lets a case go on by itself.
    pub(super) fn go_on(case: CaseId) -> Self {
        Self::going_on(case, 0)
    }

    /// Returns the same for a case that has taken so many steps by itself.
    pub(super) fn going_on(case: CaseId, chain: u32) -> Self {
        Self::of_nobody(Job { chain, ..Job::new(case, What::Continue) })
    }

    /// Returns the work of a job that no client asked for: clients go before it.
    pub(super) fn of_nobody(job: Job) -> Self {
        Self { job, client: None, moves: None }
    }

    /// Returns whether it only lets a case go on by itself.
    pub(super) fn is_by_itself(&self) -> bool {
        matches!(self.job.what, What::Continue) && self.moves.is_none()
    }

    pub(super) fn is_cancel(&self) -> bool {
        matches!(self.job.what, What::Command(Command::Cancel(_)))
    }

    pub(super) fn class(&self) -> Class {
        self.client.as_ref().map_or(Class::Bulk, |client| client.class)
    }

    /// Returns the work as one that gives way to single commands.
    pub(super) fn into_bulk(mut self) -> Self {
        if let Some(client) = &mut self.client {
            client.class = Class::Bulk;
        }
        self
    }

    /// Returns how many bytes a decision that broke off had found out.
    pub(super) fn found_bytes(&self) -> usize {
        self.job.broken_off.as_ref().map_or(0, |broken_off| broken_off.bytes())
    }

    /// Returns whether it goes on once another thread has worked something out.
    pub(super) fn is_long(&self) -> bool {
        self.job.broken_off.as_ref().is_some_and(|broken_off| broken_off.is_long())
    }

    /// Returns the number under which another thread works for it.
    pub(super) fn number(&self) -> Option<u64> {
        self.job.broken_off.as_ref().and_then(|broken_off| broken_off.number())
    }

    /// Forgets what a decision that broke off had found out.
    pub(super) fn without_found(mut self) -> Self {
        if let Some(broken_off) = &mut self.job.broken_off {
            broken_off.forget();
        }
        self
    }

    /// Marks the work as waiting for something other than the shard; the case may change meanwhile.
    pub(super) fn waits(mut self) -> Self {
        self.job.broken_off = None;
        if let Some(client) = &mut self.client {
            client.asked_at = None;
        }
        self
    }

    /// Returns whether the client still waits; work without a client is always done.
    pub(super) fn is_awaited(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.answerer.is_awaited())
    }
}
