//! Jobs that wait in a shard: a line for each case, so that no job overtakes another on its case, and a queue of cases
//! for each class, so that what one client waits for does not wait for a batch.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use super::work::Work;
use crate::engine::record::Hash16;
use crate::engine::request::Class;
use crate::id::CaseId;

/// All jobs that wait.
#[derive(Default)]
pub(super) struct Jobs {
    lines: HashMap<CaseId, Line>,
    single: VecDeque<CaseId>,
    bulk: VecDeque<CaseId>,
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
    /// The queue that the case is in; a place in the other one is out of date.
    queued: Option<Class>,
    /// Its first job was taken, and is not done.
    is_taken: bool,
}

impl Jobs {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Work> {
        self.lines.values().flat_map(Line::iter)
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
        let queue = if class == Class::Single { &self.single } else { &self.bulk };
        let of_class = |line: &Line| line.queued == Some(class);
        queue.iter().any(|case| self.lines.get(case).is_some_and(of_class))
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
        self.count += 1;
        self.business.extend(work.client.as_ref().and_then(|client| client.business));
        let line = self.lines.entry(case).or_default();
        match place {
            Place::Before => line.push_front(work),
            Place::Behind if line.first.is_some() || line.is_taken => line.push_back(work.waits()),
            Place::Behind => line.push_back(work),
        }
        self.queue(case, Place::Behind);
    }

    /// Puts a case into the queue of its first job, unless it is there already or its first job is not done.
    fn queue(&mut self, case: CaseId, place: Place) {
        let Some(line) = self.lines.get_mut(&case) else { return };
        let Some(first) = &line.first else { return };
        if line.is_taken || line.queued == Some(first.class()) {
            return;
        }
        let class = first.class();
        line.queued = Some(class);
        let queue = if class == Class::Single { &mut self.single } else { &mut self.bulk };
        match place {
            Place::Before => queue.push_front(case),
            Place::Behind => queue.push_back(case),
        }
    }

    /// Takes the first jobs of up to `count` cases whose first jobs are of this class. [`Jobs::done`] is to be told of
    /// each case.
    pub(super) fn take(&mut self, class: Class, count: usize) -> Vec<Work> {
        let queue = if class == Class::Single { &mut self.single } else { &mut self.bulk };
        let mut taken = Vec::with_capacity(count.min(queue.len()));
        while taken.len() < count
            && let Some(case) = queue.pop_front()
        {
            let Some(line) = self.lines.get_mut(&case).filter(|line| line.queued == Some(class)) else {
                continue;
            };
            line.queued = None;
            line.is_taken = true;
            let Some(work) = line.pop_front() else { continue };
            self.count -= 1;
            if let Some(business) = work.client.as_ref().and_then(|client| client.business) {
                self.business.remove(&business);
            }
            taken.push(work);
        }
        taken
    }

    /// Hears that the job that was taken of a case is done: its next one may follow. One whose decision broke off goes
    /// before those of other cases, so that few keep what they had found out.
    pub(super) fn done(&mut self, case: CaseId) {
        let first = self.lines.get(&case).and_then(|line| line.first.as_ref());
        let is_broken_off = first.is_some_and(|work| work.job.broken_off.is_some());
        self.next(case, if is_broken_off { Place::Before } else { Place::Behind });
    }

    /// Puts a job back that was taken and not begun, before all others.
    pub(super) fn put_back(&mut self, work: Work) {
        let case = work.job.case;
        self.push_front(work);
        self.next(case, Place::Before);
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
        for work in self.lines.values_mut().flat_map(|line| line.first.iter_mut().chain(&mut line.more)) {
            work.job.broken_off = None;
        }
    }

    /// Drops the jobs that nobody asked for.
    pub(super) fn keep_asked(&mut self) {
        let cases: Vec<CaseId> = self.lines.keys().copied().collect();
        for case in cases {
            let Some(line) = self.lines.get_mut(&case) else { continue };
            for _ in 0..line.iter().count() {
                let Some(work) = line.pop_front() else { break };
                if work.client.is_some() {
                    line.push_back(work);
                } else {
                    self.count -= 1;
                }
            }
            if line.first.is_none() {
                self.lines.remove(&case);
            } else {
                self.queue(case, Place::Behind);
            }
        }
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
