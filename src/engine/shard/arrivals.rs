//! Requests that came together and are not looked at yet: a turn looks at some of them, so that none is long because one
//! client asks for much.

use std::collections::VecDeque;

use foldhash::HashMap;

use super::Shard;
use super::batches::Turn;
use crate::engine::request::{Asked, Class, Request};
use crate::id::CaseId;

/// Most requests of [`Class::Bulk`] that one turn looks at.
pub const ADMITTED_AT_ONCE_MAX: usize = 1_024;

/// Requests in the order in which they came.
#[derive(Default)]
pub(super) struct Arrivals {
    requests: VecDeque<Request>,
    /// How many of them are of each case.
    cases: HashMap<CaseId, usize>,
}

impl Arrivals {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn push(&mut self, request: Request) {
        if let Some(case) = request.act.case() {
            *self.cases.entry(case).or_default() += 1;
        }
        self.requests.push_back(request);
    }

    fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        if let Some(case) = request.act.case()
            && let Some(count) = self.cases.get_mut(&case)
        {
            *count -= 1;
            if *count == 0 {
                self.cases.remove(&case);
            }
        }
        Some(request)
    }

    fn has(&self, act: &Asked) -> bool {
        !self.cases.is_empty() && act.case().is_some_and(|case| self.cases.contains_key(&case))
    }
}

impl Shard {
    /// Takes in what was asked together. Bulk waits, and so does what is asked of a case that it names: no request
    /// overtakes another on its case.
    pub(super) fn arrive(&mut self, turn: &mut Turn, requests: Vec<Request>) {
        for request in requests {
            if request.class == Class::Bulk || self.arrivals.has(&request.act) {
                self.arrivals.push(Request { asked_at: None, ..request });
            } else {
                self.admit(turn, request);
            }
        }
    }

    /// Looks at some of what waits.
    pub(super) fn admit_some(&mut self, turn: &mut Turn) {
        for _ in 0..ADMITTED_AT_ONCE_MAX {
            let Some(request) = self.arrivals.pop() else { break };
            if request.answerer.is_awaited() {
                self.admit(turn, request);
            } else {
                turn.unawaited += 1;
            }
        }
    }
}
