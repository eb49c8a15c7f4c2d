//! What waits in a shard, and what comes of the answer that it waits for.

use super::batches::Turn;
use super::work::Work;
use super::{PARKED_COMMANDS_MAX, PlantedBug, Shard};
use crate::case;
use crate::case::row::Link;
use crate::engine::answers;
use crate::engine::record::Hash16;
use crate::engine::request::{Found, Repeat, Reply, Request, Told};
use crate::engine::service::Refusal;
use crate::engine::turn::{Job, Rows, What};
use crate::error::Kind;
use crate::id::{CaseId, PARTITION_COUNT};
use crate::telemetry::metrics::labels::Queue;

impl Shard {
    pub(super) fn told(&mut self, turn: &mut Turn, told: Told) {
        match told {
            Told::Loaded(case, rows) => {
                self.loaded(turn, case, rows);
                self.loads.came(self.cases.bytes_of(case));
            }
            Told::Business(partition, hash, found) => {
                let queue = self.asked_business.remove(&hash).unwrap_or_default();
                // A case was begun under the key since it was asked about, and may be durable by now: the answer is of
                // the time before.
                let is_stale = self.stale_business.remove(&hash);
                for request in queue {
                    let request = Request { asked_at: None, ..request };
                    self.waiting_keys.remove(&request.key.hash);
                    match &found {
                        Err(refusal) => turn.refuse(request, refusal.clone()),
                        Ok(Some(case)) => {
                            let reply = Reply::Repeat(Box::new(Repeat::Business(*case, request.key.maker)));
                            turn.answer(request, reply);
                        }
                        Ok(None) if is_stale => self.admit(turn, request),
                        // The first begins it; the others then find it in memory, or ask again if it was refused.
                        Ok(None) if self.business_is_free(turn, hash) => self.begin(turn, request),
                        Ok(None) => self.admit_later(request),
                    }
                }
                debug_assert!(partition.index() < PARTITION_COUNT);
            }
            Told::Judged(case, question, judgement) => {
                let Some(queue) = self.parked.remove(&case) else { return };
                if self.cases.get(case).is_none() {
                    // The journal failed meanwhile and the case was forgotten: its duties are derived anew.
                    self.parked.insert(case, queue);
                    return self.loads.want(case);
                }
                let judged = Work::of_nobody(Job::new(case, What::Judged(*question, judgement)));
                turn.jobs.go_on(judged, queue);
            }
            Told::Evaluated(number, given) => {
                let is_bug = self.keys.planted() == Some(PlantedBug::KeepEvaluationOfNobody);
                if !is_bug || turn.jobs.iter().any(|work| work.number() == Some(number)) {
                    turn.jobs.evaluated(number, given);
                }
            }
        }
    }

    pub(super) fn business_is_free(&self, turn: &Turn, hash: Hash16) -> bool {
        !self.business.contains_key(&hash) && !turn.jobs.begins(&hash)
    }

    pub(super) fn admit_later(&mut self, request: Request) {
        // Bounded by the queue that it comes from.
        self.same_key.push_back(request);
    }

    pub(super) fn loaded(&mut self, turn: &mut Turn, case: CaseId, found: Result<Found, Refusal>) {
        let Some(mut queue) = self.parked.remove(&case) else { return };
        let chain = queue.iter().map(|work| work.job.chain).max().unwrap_or(0);
        if self.moving.contains(&case) {
            // What was found may be what was before.
            return queue.into_iter().for_each(|work| self.refuse_meanwhile(turn, work));
        }
        let mut absent = None;
        let found = match found {
            Ok(Found::Nothing) => {
                absent = Some(Link::default());
                Err(answers::refusal(&case::Error::NoCase))
            }
            Ok(Found::Archived(row)) => {
                absent = Some(row.last);
                Err(answers::archived(&row.fact.id().to_string()))
            }
            Ok(Found::Rows(rows)) => self.take_in(case, *rows).map_err(|reason| answers::unreadable(&reason)),
            Err(refusal) => Err(refusal),
        };
        match found {
            Ok(()) => {
                if queue.front().is_some_and(Work::is_by_itself) {
                    queue.pop_front();
                }
                turn.jobs.go_on(Work::going_on(case, chain), queue);
                turn.visited.push(case);
            }
            Err(refusal) => {
                // What comes back is not here.
                let moves = queue.iter().position(|work| work.moves.is_some());
                if let Some(last) = absent
                    && let Some(work) = moves.and_then(|at| queue.remove(at))
                {
                    self.move_case(turn, work, last);
                }
                let is_duty = queue.iter().any(|work| work.client.is_none());
                if is_duty && refusal.kind == Kind::Busy {
                    self.duties.push_back((case, chain));
                }
                for work in queue {
                    let Some(client) = work.client else { continue };
                    self.waiting_keys.remove(&client.key.hash);
                    turn.reply(client, Reply::Refused(refusal.clone()));
                }
            }
        }
    }

    pub(super) fn take_in(&mut self, id: CaseId, rows: Rows) -> Result<(), String> {
        let spec = self.registry.get(rows.case.spec).ok_or("its specification is not registered")?;
        self.cases.load(id, rows, spec.run()).map_err(|error| error.to_string())
    }

    pub(super) fn park(&mut self, turn: &mut Turn, work: Work) {
        let queue = self.parked.entry(work.job.case).or_default();
        match work.client {
            Some(client) if queue.len() >= PARKED_COMMANDS_MAX => {
                self.waiting_keys.remove(&client.key.hash);
                turn.overfull.push(Queue::Parked);
                turn.reply(client, Reply::Refused(answers::busy("commands of one parked case")));
            }
            client => queue.push_back(Work { client, ..work }.waits()),
        }
    }

    /// Gives requests another try that waited for one with their key; tells whether any was admitted.
    pub(super) fn release_same_key(&mut self, turn: &mut Turn) -> bool {
        let waiting = std::mem::take(&mut self.same_key);
        let mut is_any = false;
        for request in waiting {
            if self.waiting_keys.contains(&request.key.hash) {
                self.same_key.push_back(request);
            } else if !request.answerer.is_awaited() {
                turn.unawaited += 1;
            } else {
                is_any = true;
                self.admit(turn, request);
            }
        }
        is_any
    }
}
