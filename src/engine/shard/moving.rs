//! Cases that leave the live store for an archive, and that come back: an entry in the chain of the case says so, and the
//! shard looks only whether the case is still as whoever asks saw it.

use super::batches::Turn;
use super::work::Work;
use super::{EXPIRED_KEYS_MAX, Keys, QUESTIONS_MAX, Shard};
use crate::case::row::{Link, Status};
use crate::engine::answers;
use crate::engine::record::{Archived, Body, Record};
use crate::engine::request::{Coming, Move, Reply, Request};
use crate::engine::service::Refusal;
use crate::id::CaseId;
use crate::telemetry::metrics::labels::Queue;

impl Shard {
    pub(super) fn admit_move(&mut self, turn: &mut Turn, request: Request, case: CaseId) {
        let is_parked = self.parked.contains_key(&case);
        if self.moving.contains(&case) || self.parked.get(&case).is_some_and(|queue| !queue.is_empty()) {
            return turn.refuse(request, answers::busy("changes of one case"));
        }
        if !is_parked && self.parked.len() + self.asked_business.len() >= QUESTIONS_MAX {
            return turn.refuse_for(Queue::Helper, request, answers::busy("open questions"));
        }
        self.admit_case(turn, request, case);
    }

    /// Moves a case that is in memory.
    pub(super) fn move_in_memory(&mut self, turn: &mut Turn, work: Work) {
        let case = work.job.case;
        let row = self.cases.rows(case).map(|rows| rows.case);
        let is_at_work = self.cases.get(case).is_some();
        let is_durable = !is_at_work || self.cases.is_durable(case, self.durable);
        let Some(row) = row.filter(|_| is_durable) else {
            return self.refuse_move(turn, work, answers::busy("changes of one case"));
        };
        let leaves = work.moves.as_deref().is_some_and(|moves| matches!(moves, Move::Leave(..)));
        if leaves && !matches!(row.status, Status::Closed(_)) {
            return self.refuse_move(turn, work, answers::not_closed());
        }
        self.move_case(turn, work, row.last);
    }

    /// Moves a case whose newest durable entry this is; none by default.
    pub(super) fn move_case(&mut self, turn: &mut Turn, mut work: Work, last: Link) {
        let case = work.job.case;
        let staged = match work.moves.take().map(|moves| *moves) {
            Some(Move::Leave(seen, fact)) if seen == last => self.leave(turn, case, last, *fact),
            Some(Move::Come(coming)) if coming.now == last => self.come(turn, case, *coming),
            _ => Err(answers::moved_meanwhile()),
        };
        if let Err(refusal) = staged {
            return self.refuse_move(turn, work, refusal);
        }
        self.cases.forget(case);
        self.moving.insert(case);
        turn.undo.moved.push(case);
        let Some(client) = work.client else { return };
        self.waiting_keys.remove(&client.key.hash);
        turn.reply(client, Reply::Moved);
    }

    /// Refuses what is asked of a case that left or came while that is not durable: its rows are not known.
    pub(super) fn refuse_meanwhile(&mut self, turn: &mut Turn, work: Work) {
        self.refuse_move(turn, work, answers::busy("changes of a case that leaves or comes back"));
    }

    fn refuse_move(&mut self, turn: &mut Turn, work: Work, refusal: Refusal) {
        let Some(client) = work.client else { return };
        self.waiting_keys.remove(&client.key.hash);
        turn.reply(client, Reply::Refused(refusal));
    }

    fn leave(&mut self, turn: &mut Turn, case: CaseId, last: Link, fact: Archived) -> Result<(), Refusal> {
        let partition = case.partition();
        let before = turn.now.minus_us(self.options.bounds.key_us);
        let is_over = |keys: &Keys| keys.oldest_client(partition).is_some_and(|oldest| oldest < before);
        if is_over(&self.keys) {
            self.expire_partition(turn, partition, before, EXPIRED_KEYS_MAX.saturating_sub(turn.expired));
        }
        if is_over(&self.keys) {
            return Err(answers::busy("keys that expire"));
        }
        // Its keys must have come to their end in entries before this one: those that used them are about to go.
        if self.keys.oldest_client(partition).is_some_and(|oldest| oldest <= fact.changed) {
            return Err(answers::keys_still_good());
        }
        let record = Record { at: turn.now, key: None, body: Body::Archived(Box::new(fact)) };
        self.stage(turn, partition, case.0, last, record.encode());
        Ok(())
    }

    fn come(&mut self, turn: &mut Turn, case: CaseId, coming: Coming) -> Result<(), Refusal> {
        let Coming { now, fact, business } = coming;
        // Also of a case that waits to be begun.
        let is_taken = |hash| {
            self.asked_business.contains_key(hash)
                || turn.jobs.begins(hash)
                || self.business.get(hash).is_some_and(|of| *of != case)
        };
        if business.as_ref().is_some_and(is_taken) {
            return Err(answers::busy("creates under one business key"));
        }
        let partition = case.partition();
        self.last_cases[partition.index()] = self.last_cases[partition.index()].max(Some(case));
        let record = Record { at: turn.now, key: None, body: Body::Restored(Box::new(fact)) };
        self.stage(turn, partition, case.0, now, record.encode());
        // Behind it: it may have begun another batch.
        turn.undo.back.push(case);
        if let Some(hash) = business {
            self.business.insert(hash, case);
            turn.undo.business.push(hash);
        }
        Ok(())
    }
}
