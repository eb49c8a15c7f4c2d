//! What a turn stages: batches that each fit a frame, so that the journal takes a batch whole or not at all.

use std::sync::Arc;

use foldhash::HashSet;

use super::jobs::Jobs;
use super::keys::Expired;
use super::work::Client;
use crate::engine::record::Hash16;
use crate::engine::registry::Registered;
use crate::engine::request::{Computation, Question, Reply, Request, Staged, entry_bytes};
use crate::engine::service::Refusal;
use crate::engine::ticket::Answerer;
use crate::engine::traced::Traced;
use crate::engine::turn::{Tally, Used};
use crate::id::{CaseId, Partition, Time};
use crate::store::Entry;
use crate::telemetry::metrics::labels::Queue;

/// What a batch changed, to be undone when it does not become durable.
#[derive(Debug, Default)]
pub(super) struct Undo {
    pub(super) batch: u64,
    pub(super) bytes: usize,
    /// Bytes of it that the journal writes for jobs of [`Class::Bulk`](crate::engine::request::Class::Bulk).
    pub(super) bulk_bytes: usize,
    pub(super) cases: HashSet<CaseId>,
    pub(super) keys: Vec<(Partition, Hash16)>,
    pub(super) expired_keys: Vec<Expired>,
    pub(super) business: Vec<Hash16>,
    pub(super) specs: Vec<Arc<Registered>>,
    /// Cases that left or came back, and those of them that came back.
    pub(super) moved: Vec<CaseId>,
    pub(super) back: Vec<CaseId>,
}

/// Work of one turn in the making.
pub(super) struct Turn {
    pub(super) now: Time,
    /// The batch that is being filled, and how to undo it.
    pub(super) staged: Staged,
    pub(super) undo: Undo,
    /// Batches that are full.
    full: Vec<(Staged, Undo)>,
    full_bytes: usize,
    full_held_bytes: usize,
    pub(super) questions: Vec<Question>,
    pub(super) computations: Vec<Computation>,
    pub(super) jobs: Jobs,
    /// Whether jobs of batches, and of cases by themselves, have their turn, and the bytes that they have staged.
    pub(super) is_bulk: bool,
    pub(super) bulk_bytes: usize,
    /// Steps that the turn has used up.
    pub(super) used: Used,
    /// Clients' keys that expired in it.
    pub(super) expired: usize,
    /// Commands that were not begun, because nobody waited for them any more.
    pub(super) unawaited: usize,
    /// For each single command that was begun, the steps that the shard evaluated while it waited.
    pub(super) waited_steps: Vec<u64>,
    /// Closed cases that were fetched only to be asked about.
    pub(super) visited: Vec<CaseId>,
    /// Queues that had no room, one for each request that was refused because of that.
    pub(super) overfull: Vec<Queue>,
}

impl Turn {
    /// Returns a turn whose first batch has this number.
    pub(super) fn new(now: Time, shard: usize, batch: u64, generation: u64) -> Self {
        Self {
            now,
            staged: empty(now, shard, batch, generation),
            undo: Undo { batch, ..Undo::default() },
            full: Vec::new(),
            full_bytes: 0,
            full_held_bytes: 0,
            questions: Vec::new(),
            computations: Vec::new(),
            jobs: Jobs::default(),
            is_bulk: false,
            bulk_bytes: 0,
            used: Used::default(),
            expired: 0,
            unawaited: 0,
            waited_steps: Vec::new(),
            visited: Vec::new(),
            overfull: Vec::new(),
        }
    }

    /// Makes room for what so many jobs stage, at the most.
    pub(super) fn expect(&mut self, jobs: usize) {
        self.staged.entries.reserve(jobs);
        self.staged.replies.reserve(jobs);
    }

    pub(super) fn reply(&mut self, client: Client, reply: Reply) {
        self.push(client.answerer, reply, client.traced);
    }

    pub(super) fn answer(&mut self, request: Request, reply: Reply) {
        self.push(request.answerer, reply, request.traced);
    }

    fn push(&mut self, answerer: Answerer<Reply>, reply: Reply, traced: Option<Box<Traced>>) {
        if let Some(mut traced) = traced {
            traced.answered(&reply);
            self.staged.traced.push(*traced);
        }
        self.staged.replies.push((answerer, reply));
    }

    pub(super) fn refuse(&mut self, request: Request, refusal: Refusal) {
        self.answer(request, Reply::Refused(refusal));
    }

    /// Refuses because a queue has no room.
    pub(super) fn refuse_for(&mut self, queue: Queue, request: Request, refusal: Refusal) {
        self.overfull.push(queue);
        self.refuse(request, refusal);
    }

    /// Returns the bytes of all that was staged.
    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.staged.bytes
    }

    /// Returns those bytes, and the bytes of the cases that were changed.
    pub(super) fn held_bytes(&self) -> usize {
        self.full_held_bytes + self.staged.held_bytes
    }

    /// Notes that the batch in the making changes a case of so many bytes; each counts once.
    pub(super) fn changes(&mut self, case: CaseId, bytes: usize) {
        if self.undo.cases.insert(case) {
            self.staged.held_bytes += bytes;
            self.undo.bytes += bytes;
        }
    }

    /// Stages an entry, in a new batch when this one has no room for it within `bytes_max`.
    pub(super) fn stage(&mut self, entry: Entry, bytes_max: usize) {
        let bytes = entry_bytes(&entry);
        if self.staged.bytes + bytes > bytes_max && !self.staged.entries.is_empty() {
            self.begin_batch();
        }
        self.staged.bytes += bytes;
        self.staged.held_bytes += bytes;
        self.undo.bytes += bytes;
        if self.is_bulk {
            self.undo.bulk_bytes += bytes;
            self.bulk_bytes += bytes;
        }
        self.staged.entries.push(entry);
    }

    /// Counts what the batch in the making does, once it is durable.
    pub(super) fn count(&mut self, tally: &Tally) {
        self.staged.tally.add(tally);
    }

    fn begin_batch(&mut self) {
        let Staged { at, shard, batch, generation, bytes, held_bytes, .. } = self.staged;
        self.full_bytes += bytes;
        self.full_held_bytes += held_bytes;
        let staged = std::mem::replace(&mut self.staged, empty(at, shard, batch + 1, generation));
        let undo = std::mem::replace(&mut self.undo, Undo { batch: batch + 1, ..Undo::default() });
        self.full.push((staged, undo));
    }

    /// Returns all batches that have something in them, oldest first, each with how to undo it.
    pub(super) fn into_batches(self) -> Vec<(Staged, Undo)> {
        let mut batches = self.full;
        if !self.staged.is_empty() {
            batches.push((self.staged, self.undo));
        }
        batches
    }
}

fn empty(at: Time, shard: usize, batch: u64, generation: u64) -> Staged {
    Staged {
        shard,
        batch,
        generation,
        at,
        bytes: 0,
        held_bytes: 0,
        entries: Vec::new(),
        publish: Vec::new(),
        replies: Vec::new(),
        tally: Tally::default(),
        traced: Vec::new(),
    }
}
