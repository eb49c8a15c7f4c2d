//! Operations that are begun and not answered yet: whoever asked waits in a thread of its own, or is called.

use std::task::{Context, Poll};
use std::time::Instant;

use super::answers;
use super::clock::until;
use super::record::Hash16;
use super::request::{Repeat, Reply};
use super::room::Room;
use super::service::{Answer, Refusal, SpecificationView};
use super::ticket::Ticket;
use crate::error::Kind;

/// An operation that its shard has.
#[derive(Debug)]
pub struct Pending {
    ticket: Ticket<Reply>,
    request: Hash16,
    /// The key to ask again with, when the outcome is unknown.
    key: String,
    deadline: Instant,
    room: Room,
}

/// What became of it.
#[derive(Debug)]
pub enum Settled {
    /// It is done, and durable.
    Done(Answer),
    /// It was a registration, and is durable.
    Registered(SpecificationView),
    /// It is not done, or nobody knows.
    Refused(Refusal),
    /// Its key was used before: the first answer has to be made again, which takes reading.
    Again(Again),
}

/// A repeat, to be looked up.
#[derive(Debug)]
pub struct Again {
    pub(super) repeat: Repeat,
    pub(super) request: Hash16,
    pub(super) deadline: Instant,
    pub(super) room: Room,
}

impl Pending {
    /// Returns what waits for a shard's answer until `deadline`.
    pub(super) fn new(
        ticket: Ticket<Reply>,
        request: Hash16,
        key: String,
        deadline: Instant,
        room: Room,
    ) -> Self {
        Self { ticket, request, key, deadline, room }
    }

    /// Waits for the end.
    pub(super) fn wait(self) -> Settled {
        let Self { ticket, request, key, deadline, room } = self;
        settle(ticket.wait(deadline), request, key, (deadline, room))
    }

    /// Returns the end if it has come. The waker is called when it comes, but not when the time is up: whoever polls
    /// does so from time to time.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<Settled> {
        let reply = match self.ticket.poll_with(context) {
            Poll::Ready(reply) => reply,
            Poll::Pending if until(self.deadline).is_zero() => None,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(settle(
            reply,
            self.request,
            std::mem::take(&mut self.key),
            (self.deadline, self.room.clone()),
        ))
    }
}

/// Returns what a shard's reply means; `None` is that none came, or will.
fn settle(reply: Option<Reply>, request: Hash16, key: String, (deadline, room): (Instant, Room)) -> Settled {
    match reply {
        None => Settled::Refused(answers::unknown("it took longer than its limit", Some(key))),
        Some(Reply::Done(answer)) => Settled::Done(answer),
        Some(Reply::Registered(view)) => Settled::Registered(view),
        Some(Reply::Moved) => Settled::Refused(answers::unreadable("an answer to another kind of request")),
        Some(Reply::Refused(refusal)) if refusal.kind == Kind::Unknown => {
            Settled::Refused(Refusal { key: Some(key), ..refusal })
        }
        Some(Reply::Refused(refusal)) => Settled::Refused(refusal),
        Some(Reply::Repeat(repeat)) => Settled::Again(Again { repeat: *repeat, request, deadline, room }),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::engine::clock::deadline_in_us;
    use crate::engine::ticket::ticket;

    #[test]
    fn an_answer_that_does_not_come_in_time_is_an_unknown_outcome_with_its_key() {
        let context = Context::from_waker(Waker::noop());
        let (waits, answerer) = ticket();
        let mut pending =
            Pending::new(waits, [0; 16], "k".to_owned(), deadline_in_us(3_600_000_000), Room::default());
        assert!(pending.poll(&context).is_pending());
        pending.deadline = deadline_in_us(0);
        let Poll::Ready(Settled::Refused(refusal)) = pending.poll(&context) else { panic!("no refusal") };
        assert_eq!((refusal.kind, refusal.key.as_deref()), (Kind::Unknown, Some("k")));
        drop(answerer);
    }
}
