//! A ticket: where one asker waits for one answer, with a deadline.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::clock::until;

#[derive(Debug)]
struct Slot<T> {
    answer: Mutex<Option<T>>,
    arrived: Condvar,
}

/// The asker's half.
#[derive(Debug)]
pub struct Ticket<T>(Arc<Slot<T>>);

/// The answerer's half; dropping it unanswered leaves the asker to its deadline.
#[derive(Debug)]
pub struct Answerer<T>(Arc<Slot<T>>);

/// Returns both halves of a new ticket.
pub fn ticket<T>() -> (Ticket<T>, Answerer<T>) {
    let slot = Arc::new(Slot { answer: Mutex::new(None), arrived: Condvar::new() });
    (Ticket(Arc::clone(&slot)), Answerer(slot))
}

impl<T> Ticket<T> {
    /// Waits for the answer until `deadline`; `None` when it did not come.
    pub fn wait(self, deadline: Instant) -> Option<T> {
        let mut answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(answer) = answer.take() {
                return Some(answer);
            }
            let left = until(deadline);
            if left.is_zero() {
                return None;
            }
            (answer, _) = self.0.arrived.wait_timeout(answer, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the answer if it is there; for those who drive everything in one thread.
    pub fn poll(&self) -> Option<T> {
        self.0.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Answerer<T> {
    /// Gives the answer. Never blocks for longer than the asker takes to pick it up.
    pub fn answer(self, answer: T) {
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.0.arrived.notify_one();
    }
}
