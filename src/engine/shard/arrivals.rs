//! Requests that came together and are not looked at yet: a turn looks at some of them, so that none is long because one
//! client asks for much.

use std::collections::VecDeque;
use std::vec;

use foldhash::HashMap;

use super::Shard;
use super::batches::Turn;
use crate::engine::request::{Asked, Class, Request};
use crate::id::CaseId;

/// Most requests of [`Class::Bulk`] that one turn looks at.
pub const ADMITTED_AT_ONCE_MAX: usize = 128;

/// Requests in the order in which they came.
#[derive(Default)]
pub(super) struct Arrivals {
    /// By what came together; none is empty.
    messages: VecDeque<vec::IntoIter<Request>>,
    /// How many of them are of each case.
    cases: HashMap<CaseId, usize>,
}

impl Arrivals {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(&mut self, requests: Vec<Request>) {
        for case in requests.iter().filter_map(|request| request.act.case()) {
            *self.cases.entry(case).or_default() += 1;
        }
        if !requests.is_empty() {
            self.messages.push_back(requests.into_iter());
        }
    }

    fn pop(&mut self) -> Option<Request> {
        let message = self.messages.front_mut()?;
        let request = message.next().expect("invariant: no message is empty");
        if message.len() == 0 {
            self.messages.pop_front();
        }
        if let Some(case) = request.act.case()
            && let Some(count) = self.cases.get_mut(&case)
        {
            *count -= 1;
            if *count == 0 {
                self.cases.remove(&case);
            }
        }
        // What it waited for was more than the shard's evaluations.
        Some(Request { asked_at: None, ..request })
    }

    fn has(&self, act: &Asked) -> bool {
        !self.cases.is_empty() && act.case().is_some_and(|case| self.cases.contains_key(&case))
    }
}

impl Shard {
    /// Takes in what was asked together. Bulk waits, and so does what is asked of a case that it names: no request
    /// overtakes another on its case.
    pub(super) fn arrive(&mut self, turn: &mut Turn, requests: Vec<Request>) {
        if requests.iter().all(|request| request.class == Class::Bulk) {
            return self.arrivals.push(requests);
        }
        for request in requests {
            if request.class == Class::Bulk || self.arrivals.has(&request.act) {
                self.arrivals.push(vec![request]);
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
