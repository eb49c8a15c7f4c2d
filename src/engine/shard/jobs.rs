//! Jobs that wait in a shard: a line for each case, so that no job overtakes another on its case, and a queue of cases
//! for each class, so that what one client waits for does not wait for a batch.
//!
//! Some jobs break off because an expression takes long, which another thread then works out: one of a shard at a time, so
//! that nothing else grows with their number. The others of these wait in their order, each without what it was about.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use super::work::Work;
use crate::case::effort::{Evaluation, Given};
use crate::engine::record::Hash16;
use crate::engine::request::Class;
use crate::id::CaseId;

/// Bytes of what decisions that broke off had found out, in one shard. Beyond that no more is kept: such a decision is
/// made from its beginning again. What one decision found out alone is always kept, or it would never end.
pub const FOUND_BYTES_MAX: usize = 1024 * 1024;

/// All jobs that wait.
#[derive(Default)]
pub(super) struct Jobs {
    /// In boxes, because there may be many, and the table moves what it holds when it grows.
    lines: HashMap<CaseId, Box<Line>>,
    single: VecDeque<CaseId>,
    bulk: VecDeque<CaseId>,
    /// Cases whose first job broke off, in the order in which they did: the oldest goes on, so that each comes to its end
    /// however many follow. They are of [`Class::Bulk`].
    broken_off: VecDeque<CaseId>,
    /// Whether these had their turn last, so that the others of their class have the next.
    is_bulk_next: bool,
    /// Cases whose first job waits until another thread has time for its expression.
    long: VecDeque<CaseId>,
    /// The case that may hand on an expression next: one of these, or a command that has just got the value of another.
    next_long: Option<CaseId>,
    /// The case whose first job another thread works for, and the number of that.
    under_way: Option<(CaseId, u64)>,
    /// How many expressions were handed on.
    handed_on: u64,
    found_bytes: usize,
    count: usize,
    /// Business keys under which these begin cases.
    business: HashSet<Hash16>,
}

/// The jobs of one case, in order.
#[derive(Default)]
struct Line {
    first: Option<Work>,
    /// Those behind it; mostly there is none.
    more: VecDeque<Work>,
    /// The queue that the case is in; a place in another one is out of date.
    queued: Option<Queue>,
    /// Its first job was taken, and is not done.
    is_taken: bool,
}

/// Where a case waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Of(Class),
    Long,
}

impl Jobs {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns whether a job may be next; the others wait for another thread.
    pub(super) fn is_any_next(&self) -> bool {
        !self.single.is_empty() || !self.bulk.is_empty() || !self.broken_off.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Work> {
        self.lines.values().flat_map(|line| line.iter())
    }

    /// Returns whether a job waits for this case.
    pub(super) fn has(&self, case: CaseId) -> bool {
        self.lines.contains_key(&case)
    }

    /// Returns whether a case is to be begun under this business key.
    pub(super) fn begins(&self, business: &Hash16) -> bool {
        self.business.contains(business)
    }

    /// Returns whether a job of this class may be next.
    pub(super) fn has_class(&self, class: Class) -> bool {
        let queue = Some(Queue::Of(class));
        let of_class = |case: &CaseId| self.lines.get(case).is_some_and(|line| line.queued == queue);
        match class {
            Class::Single => self.single.iter().any(of_class),
            Class::Bulk => self.broken_off.iter().chain(&self.bulk).any(of_class),
        }
    }

    /// Puts a job behind the others of its case. Only a cancel does not wait for what the case does by itself.
    pub(super) fn push_back(&mut self, work: Work) {
        let line = self.lines.entry(work.job.case).or_default();
        if work.is_cancel() && line.iter().all(|work| work.client.is_none()) {
            return self.push_front(work);
        }
        self.put(work, Place::Behind);
    }

    /// Puts a job before the others of its case.
    pub(super) fn push_front(&mut self, work: Work) {
        self.put(work, Place::Before);
    }

    /// Puts what a case does by itself before all other jobs of it, and behind that the commands that were parked
    /// meanwhile. A cancel that was the first of them does not wait for it.
    pub(super) fn go_on(&mut self, by_itself: Work, mut parked: VecDeque<Work>) {
        let is_cancel = parked.front().is_some_and(Work::is_cancel);
        let cancel = if is_cancel { parked.pop_front() } else { None };
        for work in parked.into_iter().rev() {
            self.push_front(work);
        }
        self.push_front(by_itself);
        if let Some(work) = cancel {
            self.push_front(work);
        }
    }

    fn put(&mut self, work: Work, place: Place) {
        let case = work.job.case;
        let found_bytes = work.found_bytes();
        self.count += 1;
        self.found_bytes += found_bytes;
        self.business.extend(work.client.as_ref().and_then(|client| client.business));
        let line = self.lines.entry(case).or_default();
        match place {
            Place::Before => line.push_front(work),
            Place::Behind if line.first.is_some() || line.is_taken => {
                self.found_bytes -= found_bytes;
                line.push_back(work.waits());
            }
            Place::Behind => line.push_back(work),
        }
        self.queue(case, Place::Behind);
    }

    /// Returns a job without what its decision found out, if there is no room for that.
    fn within_room(&self, work: Work) -> Work {
        let has_room = self.found_bytes == 0 || self.found_bytes + work.found_bytes() <= FOUND_BYTES_MAX;
        if has_room { work } else { work.without_found() }
    }

    /// Puts a case into the queue of its first job, unless it is there already, its first job is not done or another
    /// thread works for it.
    fn queue(&mut self, case: CaseId, place: Place) {
        let may_hand_on = self.may_hand_on(case);
        let Some(line) = self.lines.get_mut(&case) else { return };
        let Some(first) = &line.first else { return };
        let is_under_way =
            first.number().is_some() && first.number() == self.under_way.map(|(_, number)| number);
        let class = first.class();
        let wanted = if first.is_long() && !may_hand_on { Queue::Long } else { Queue::Of(class) };
        if line.is_taken || is_under_way || line.queued == Some(wanted) {
            return;
        }
        line.queued = Some(wanted);
        let queue = match class {
            _ if wanted == Queue::Long => &mut self.long,
            Class::Single => &mut self.single,
            Class::Bulk if first.job.broken_off.is_some() => &mut self.broken_off,
            Class::Bulk => &mut self.bulk,
        };
        match place {
            Place::Before => queue.push_front(case),
            Place::Behind => queue.push_back(case),
        }
    }

    /// Takes the first jobs of up to `count` cases whose first jobs are of this class. Call [`Jobs::done`] for each of these
    /// cases afterwards.
    pub(super) fn take(&mut self, class: Class, count: usize) -> Vec<Work> {
        let mut taken = Vec::with_capacity(count.min(self.lines.len()));
        while taken.len() < count
            && let Some(case) = self.next_case(class)
        {
            let queue = Some(Queue::Of(class));
            let Some(line) = self.lines.get_mut(&case).filter(|line| line.queued == queue) else { continue };
            line.queued = None;
            line.is_taken = true;
            let Some(work) = line.pop_front() else { continue };
            self.count -= 1;
            self.found_bytes -= work.found_bytes();
            if let Some(business) = work.client.as_ref().and_then(|client| client.business) {
                self.business.remove(&business);
            }
            taken.push(work);
        }
        taken
    }

    /// Takes the next case of a class. In [`Class::Bulk`] those that broke off and the others take turns.
    fn next_case(&mut self, class: Class) -> Option<CaseId> {
        if class == Class::Single {
            return self.single.pop_front();
        }
        self.is_bulk_next = !self.is_bulk_next;
        if self.is_bulk_next {
            self.broken_off.pop_front().or_else(|| self.bulk.pop_front())
        } else {
            self.bulk.pop_front().or_else(|| self.broken_off.pop_front())
        }
    }

    /// Notes that the job that was taken from a case is done: its next one may follow.
    pub(super) fn done(&mut self, case: CaseId) {
        if self.next_long == Some(case) {
            self.next_long = None;
        }
        self.next(case, Place::Behind);
        self.hand_on_next();
    }

    /// Puts a job back whose decision broke off: it has used up a slice, gives way to single commands, and goes on behind
    /// those that broke off before it. Returns what another thread is to work out, and its number: call
    /// [`Jobs::evaluated`] with what comes of it.
    pub(super) fn broke_off(&mut self, work: Work) -> Option<(u64, Box<Evaluation>)> {
        let mut work = self.within_room(work);
        let handed_on = self.hand_on(&mut work);
        self.push_front(work.into_bulk());
        handed_on
    }

    fn hand_on(&mut self, work: &mut Work) -> Option<(u64, Box<Evaluation>)> {
        let case = work.job.case;
        let broken_off = work.job.broken_off.as_mut()?;
        let evaluation = broken_off.take_evaluation().filter(|_| self.may_hand_on(case))?;
        self.handed_on += 1;
        broken_off.hand_on(self.handed_on);
        self.under_way = Some((case, self.handed_on));
        Some((self.handed_on, evaluation))
    }

    /// Returns whether another thread has time for an expression of this case.
    fn may_hand_on(&self, case: CaseId) -> bool {
        let is_turn = self.next_long.map_or(self.long.is_empty(), |next| next == case);
        is_turn && self.under_way.is_none()
    }

    /// Lets the next case have its turn whose expression takes long, when another thread has time for it.
    fn hand_on_next(&mut self) {
        while self.under_way.is_none()
            && self.next_long.is_none()
            && let Some(case) = self.long.pop_front()
        {
            // It is out of date when something else came to be the first for the case, or nothing is left.
            let Some(line) = self.lines.get_mut(&case).filter(|line| line.queued == Some(Queue::Long)) else {
                continue;
            };
            line.queued = None;
            self.next_long = Some(case);
            self.queue(case, Place::Before);
        }
    }

    /// Takes what came of an expression that took long: the decision that broke off for it goes on, if it is still to be
    /// made.
    pub(super) fn evaluated(&mut self, number: u64, given: Given) {
        let Some((case, _)) = self.under_way.take_if(|under_way| under_way.1 == number) else { return };
        let line = self.lines.get_mut(&case);
        let of_number = |work: &&mut Work| work.number() == Some(number);
        let work = line.and_then(|line| line.first.iter_mut().chain(&mut line.more).find(of_number));
        if let Some(Work { job, client, .. }) = work
            && let Some(broken_off) = &mut job.broken_off
        {
            self.found_bytes -= broken_off.bytes();
            broken_off.learn(given);
            self.found_bytes += broken_off.bytes();
            // A command has all its expressions worked out before the next has its turn: they are few. What a case does
            // by itself may have no end.
            self.next_long = client.is_some().then_some(case);
        }
        self.queue(case, Place::Behind);
        self.hand_on_next();
    }

    /// Puts a job back that was taken and not begun, before all others.
    pub(super) fn put_back(&mut self, work: Work) {
        let case = work.job.case;
        self.push_front(work);
        self.next(case, Place::Before);
        self.hand_on_next();
    }

    fn next(&mut self, case: CaseId, place: Place) {
        let Some(line) = self.lines.get_mut(&case) else { return };
        line.is_taken = false;
        if line.first.is_none() {
            self.lines.remove(&case);
        } else {
            self.queue(case, place);
        }
    }

    /// Forgets what decisions that broke off had found out: the cases are not what they were.
    pub(super) fn forget_found(&mut self) {
        self.found_bytes = 0;
        for work in self.lines.values_mut().flat_map(|line| line.first.iter_mut().chain(&mut line.more)) {
            work.job.broken_off = None;
        }
        // Nothing waits for another thread any more. What is under way comes to nothing.
        self.next_long = None;
        let waiting = std::mem::take(&mut self.long);
        for case in waiting.into_iter().chain(self.under_way.map(|(case, _)| case)) {
            self.queue(case, Place::Behind);
        }
    }

    /// Drops the jobs that nobody asked for, but for those that a client's job has to wait for.
    pub(super) fn keep_asked(&mut self) {
        let cases: Vec<CaseId> = self.lines.keys().copied().collect();
        for case in cases {
            let Some(line) = self.lines.get_mut(&case) else { continue };
            while let Some(work) = line.pop_back_of_nobody() {
                self.count -= 1;
                self.found_bytes -= work.found_bytes();
            }
            if line.first.is_none() {
                self.lines.remove(&case);
            } else {
                self.queue(case, Place::Behind);
            }
        }
        // A case may have gone whose turn it was.
        self.next_long = self.next_long.filter(|case| self.lines.contains_key(case));
        self.hand_on_next();
    }
}

impl Line {
    fn iter(&self) -> impl Iterator<Item = &Work> {
        self.first.iter().chain(&self.more)
    }

    fn push_back(&mut self, work: Work) {
        if self.first.is_none() {
            self.first = Some(work);
        } else {
            self.more.push_back(work);
        }
    }

    fn push_front(&mut self, work: Work) {
        if let Some(second) = self.first.replace(work) {
            self.more.push_front(second);
        }
    }

    /// Takes the last job, if nobody asked for it.
    fn pop_back_of_nobody(&mut self) -> Option<Work> {
        let last = if self.more.is_empty() { self.first.as_ref() } else { self.more.back() };
        last.filter(|work| work.client.is_none())?;
        self.more.pop_back().or_else(|| self.first.take())
    }

    fn pop_front(&mut self) -> Option<Work> {
        let next = self.more.pop_front();
        std::mem::replace(&mut self.first, next)
    }
}

#[derive(Clone, Copy)]
enum Place {
    Before,
    Behind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::command::Command;
    use crate::engine::record::Maker;
    use crate::engine::request::{Asked, Key, Request};
    use crate::engine::room::Room;
    use crate::engine::service::Caller;
    use crate::engine::ticket::ticket;

    const CASE: CaseId = CaseId(64);

    /// Returns what a client asks of the case.
    fn asked() -> Work {
        let key = Key { hash: [0; 16], request: [0; 16], maker: Maker::Client, caller: Caller::Local };
        let (act, class) = (Asked::Case(CASE, Command::Suspend), Class::Single);
        let (place, asked_at, traced, room) = (None, None, None, Room::default());
        Work::of(Request { act, key, place, class, asked_at, answerer: ticket().1, traced, room })
    }

    /// Returns for each job that waits whether a client asked for it.
    fn are_asked(jobs: &Jobs) -> Vec<bool> {
        jobs.iter().map(|work| work.client.is_some()).collect()
    }

    #[test]
    fn a_job_that_nobody_asked_for_is_kept_when_a_clients_has_to_wait_for_it() {
        let mut jobs = Jobs::default();
        for work in [Work::go_on(CASE), asked(), Work::go_on(CASE)] {
            jobs.put(work, Place::Behind);
        }
        jobs.keep_asked();
        assert_eq!(are_asked(&jobs), [false, true]);
        for class in [Class::Bulk, Class::Single] {
            assert_eq!(jobs.take(class, 9).len(), 1);
            jobs.done(CASE);
        }
        assert!(jobs.is_empty());
        jobs.push_back(Work::go_on(CASE));
        jobs.keep_asked();
        assert!(jobs.is_empty() && !jobs.has(CASE));
    }
}
