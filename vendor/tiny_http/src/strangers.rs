//! What strangers have together, so that they take nothing from those that are known: a part of the connections, of the
//! bytes of heads, and of the requests that are answered at a time.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

use crate::State;

/// One of so many parts is for strangers; one place is in any case.
pub const STRANGERS_PART: usize = 4;

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may only ask for what everyone may.
    Stranger,
    Known,
}

/// What strangers have at the moment.
#[derive(Default)]
pub(crate) struct Strangers {
    connections: AtomicUsize,
    requests: AtomicUsize,
    pub(crate) heads_bytes: AtomicUsize,
}

/// Returns the part of strangers.
pub(crate) fn part(all: usize) -> usize {
    (all / STRANGERS_PART).max(1)
}

/// Adds to a number, unless it would pass its bound; returns whether it did.
pub(crate) fn take(number: &AtomicUsize, more: usize, max: usize) -> bool {
    let before = number.fetch_add(more, SeqCst);
    let fits = before + more <= max;
    if !fits {
        number.fetch_sub(more, SeqCst);
    }
    fits
}

/// The place of a stranger, for as long as this lives.
pub(crate) struct Place {
    number: fn(&Strangers) -> &AtomicUsize,
    state: Arc<State>,
}

impl Place {
    /// Returns a place among connections, if there is one.
    pub(crate) fn of_connection(state: &Arc<State>) -> Option<Place> {
        Place::new(state, |strangers| &strangers.connections, state.options.connections_max)
    }

    /// Returns a place among the requests that are answered at a time, if there is one.
    pub(crate) fn of_request(state: &Arc<State>) -> Option<Place> {
        Place::new(state, |strangers| &strangers.requests, state.options.at_once_max)
    }

    fn new(state: &Arc<State>, number: fn(&Strangers) -> &AtomicUsize, all: usize) -> Option<Place> {
        take(number(&state.strangers), 1, part(all)).then(|| Place { number, state: Arc::clone(state) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.number)(&self.state.strangers).fetch_sub(1, SeqCst);
    }
}
