//! A ticket: where one asker waits for one answer, with a deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::clock::until;

#[derive(Debug)]
enum State<T> {
    Waiting,
    Answered(T),
    /// The answer was taken, or will never come.
    Gone,
}

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The asker's half.
#[derive(Debug)]
pub struct Ticket<T>(Arc<Slot<T>>);

/// The answerer's half; dropping it unanswered tells the asker that no answer will come.
#[derive(Debug)]
pub struct Answerer<T> {
    slot: Arc<Slot<T>>,
    place: Option<Place>,
}

/// One of a bounded number of places; free again when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place: one more in `count`.
    pub fn take(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns both halves of a new ticket.
pub fn ticket<T>() -> (Ticket<T>, Answerer<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Waiting), arrived: Condvar::new() });
    (Ticket(Arc::clone(&slot)), Answerer { slot, place: None })
}

impl<T> Ticket<T> {
    /// Waits for the answer until `deadline`; `None` when it did not come, or will not.
    pub fn wait(self, deadline: Instant) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            match std::mem::replace(&mut *state, State::Waiting) {
                State::Answered(answer) => return Some(answer),
                State::Gone => return None,
                State::Waiting => {}
            }
            let left = until(deadline);
            if left.is_zero() {
                return None;
            }
            (state, _) = self.0.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the answer if it is there; for those who drive everything in one thread.
    pub fn poll(&self) -> Option<T> {
        let mut state = self.0.lock();
        if !matches!(*state, State::Answered(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Gone) {
            State::Answered(answer) => Some(answer),
            State::Waiting | State::Gone => None,
        }
    }
}

impl<T> Answerer<T> {
    /// Keeps a place taken until the answer is given.
    pub fn keep(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Gives the answer. Never blocks for longer than the asker takes to pick it up.
    pub fn answer(mut self, answer: T) {
        drop(self.place.take());
        *self.slot.lock() = State::Answered(answer);
        self.slot.arrived.notify_one();
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        if matches!(*state, State::Waiting) {
            *state = State::Gone;
            self.slot.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::deadline_in_us;

    #[test]
    fn an_answerer_that_is_dropped_leaves_nobody_waiting_and_frees_its_place() {
        let count = Arc::new(AtomicUsize::new(0));
        let (waits, mut answerer) = ticket::<u8>();
        answerer.keep(Place::take(&count));
        assert_eq!(count.load(Ordering::Acquire), 1);
        drop(answerer);
        assert_eq!(count.load(Ordering::Acquire), 0);
        // An hour's wait that ends at once.
        assert_eq!(waits.wait(deadline_in_us(3_600_000_000)), None);
    }

    #[test]
    fn an_answer_is_taken_once() {
        let (waits, answerer) = ticket();
        assert_eq!(waits.poll(), None);
        answerer.answer(7);
        assert_eq!((waits.poll(), waits.poll()), (Some(7), None));
    }
}
