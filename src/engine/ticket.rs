//! A ticket: where one asker waits for one answer, in its own thread with a deadline, or by being called when it is there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::budget::Taken;
use super::clock::until;
use super::room::Room;

#[derive(Debug)]
enum State<T> {
    Waiting(Waiter),
    Answered(T),
    /// The answer was taken, or will never come.
    Gone,
}

/// Who is to hear of the answer.
#[derive(Debug)]
enum Waiter {
    /// Nobody yet: the asker looks for itself. A batch waits for one line after the other, and a call of the system for
    /// each of the others took so long that a single command's answer came milliseconds behind them.
    Nobody,
    /// A thread that waits for [`Slot::arrived`].
    Thread,
    /// Whoever is to be called.
    Call(Waker),
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

    /// Ends the waiting, if it has not ended, and calls whoever waits.
    fn settle(&self, end: State<T>) {
        let mut state = self.lock();
        let State::Waiting(waiter) = &mut *state else { return };
        let waiter = std::mem::replace(waiter, Waiter::Nobody);
        *state = end;
        drop(state);
        match waiter {
            Waiter::Nobody => {}
            Waiter::Thread => self.arrived.notify_one(),
            Waiter::Call(waker) => waker.wake(),
        }
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

/// One of a bounded number of places, bytes of a budget, and room for the answer; free again when it is dropped. The room
/// is here too, because an answer may lie with the answerer long after the asker has given up.
#[derive(Debug)]
pub struct Place {
    count: Arc<AtomicUsize>,
    _bytes: Option<Taken>,
    _room: Room,
}

impl Place {
    /// Takes a place: one more in `count`. Bytes and room are given back with it.
    pub fn take(count: &Arc<AtomicUsize>, bytes: Option<Taken>, room: Room) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self { count: Arc::clone(count), _bytes: bytes, _room: room }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Returns both halves of a new ticket.
pub fn ticket<T>() -> (Ticket<T>, Answerer<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Waiting(Waiter::Nobody)), arrived: Condvar::new() });
    (Ticket(Arc::clone(&slot)), Answerer { slot, place: None })
}

impl<T> Ticket<T> {
    /// Waits for the answer until `deadline`; `None` when it did not come, or will not.
    pub fn wait(self, deadline: Instant) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            match std::mem::replace(&mut *state, State::Gone) {
                State::Answered(answer) => return Some(answer),
                State::Gone => return None,
                State::Waiting(_) => *state = State::Waiting(Waiter::Thread),
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
            State::Waiting(_) | State::Gone => None,
        }
    }

    /// Takes the answer if it is there, `None` when none will come; otherwise the waker is called when there is news.
    pub fn poll_with(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Answered(answer) => Poll::Ready(Some(answer)),
            State::Gone => Poll::Ready(None),
            State::Waiting(known) => {
                let waker = match known {
                    Waiter::Call(known) if known.will_wake(context.waker()) => known,
                    _ => context.waker().clone(),
                };
                *state = State::Waiting(Waiter::Call(waker));
                Poll::Pending
            }
        }
    }
}

impl<T> Answerer<T> {
    /// Keeps a place taken until the answer is given.
    pub fn keep(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Returns whether the asker still waits: it has its half of the ticket.
    pub fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.slot) > 1
    }

    /// Gives the answer. Never blocks for longer than the asker takes to pick it up.
    pub fn answer(mut self, answer: T) {
        drop(self.place.take());
        self.slot.settle(State::Answered(answer));
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        self.slot.settle(State::Gone);
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
        answerer.keep(Place::take(&count, None, Room::default()));
        assert_eq!(count.load(Ordering::Acquire), 1);
        drop(answerer);
        assert_eq!(count.load(Ordering::Acquire), 0);
        // An hour's wait that ends at once.
        assert_eq!(waits.wait(deadline_in_us(3_600_000_000)), None);
    }

    #[test]
    fn an_asker_waits_until_its_time_is_up_or_it_lets_go_of_its_ticket() {
        let (waits, answerer) = ticket::<u8>();
        assert!(answerer.is_awaited());
        assert_eq!(waits.wait(deadline_in_us(0)), None);
        assert!(!answerer.is_awaited());
        let (waits, answerer) = ticket::<u8>();
        drop(waits);
        assert!(!answerer.is_awaited());
    }

    #[test]
    fn a_thread_that_waits_is_woken_by_the_answer_and_by_its_absence() {
        for answer in [Some(7), None] {
            let (waits, answerer) = ticket::<u8>();
            let slot = Arc::clone(&waits.0);
            std::thread::scope(|scope| {
                // An hour's wait that ends at once.
                let asker = scope.spawn(|| waits.wait(deadline_in_us(3_600_000_000)));
                while !matches!(*slot.lock(), State::Waiting(Waiter::Thread)) {
                    std::thread::yield_now();
                }
                match answer {
                    Some(answer) => answerer.answer(answer),
                    None => drop(answerer),
                }
                assert_eq!(asker.join().unwrap(), answer);
            });
        }
    }

    #[test]
    fn an_answer_is_taken_once() {
        let (waits, answerer) = ticket();
        assert_eq!(waits.poll(), None);
        answerer.answer(7);
        assert_eq!((waits.poll(), waits.poll()), (Some(7), None));
    }

    /// Counts how often it is called.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl std::task::Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn whoever_does_not_wait_in_a_thread_is_called_once_there_is_news() {
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(Arc::clone(&calls));
        let context = Context::from_waker(&waker);
        let (waits, answerer) = ticket();
        assert_eq!((waits.poll_with(&context), waits.poll_with(&context)), (Poll::Pending, Poll::Pending));
        answerer.answer(7);
        assert_eq!(calls.0.load(Ordering::Acquire), 1);
        assert_eq!(waits.poll_with(&context), Poll::Ready(Some(7)));
        assert_eq!(waits.poll_with(&context), Poll::Ready(None));

        let (waits, answerer) = ticket::<u8>();
        assert_eq!(waits.poll_with(&context), Poll::Pending);
        drop(answerer);
        assert_eq!(calls.0.load(Ordering::Acquire), 2);
        assert_eq!(waits.poll_with(&context), Poll::Ready(None));
    }
}
