//! Threads for what waits: reads, registrations, batches, repeats. They are started as they are needed, and end when they
//! are not.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Error, Response, refuse};
use crate::engine::threads::spawn_alone;
use crate::engine::ticket::{Answerer, Ticket, ticket};

/// Jobs that may wait for a thread; beyond that they are refused.
const WAITING_MAX: usize = 1_024;

/// A thread that has had nothing to do for so long ends.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Something to be done that ends in an answer.
pub(super) type Job = Box<dyn FnOnce() -> Response + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, Answerer<Response>)>,
    thread_count: usize,
    idle_count: usize,
    is_closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads; they end when this is dropped and the jobs are done.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads_max: usize,
}

impl Workers {
    /// Returns workers without a thread.
    pub(super) fn new(threads_max: usize) -> Self {
        let shared = Shared { queue: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared), threads_max }
    }

    /// Has a job done; the ticket gets its answer.
    pub(super) fn ask(&self, job: Job) -> Ticket<Response> {
        let (waits, answerer) = ticket();
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= WAITING_MAX {
            drop(queue);
            answerer.answer(refuse(Error::TooManyAtOnce));
            return waits;
        }
        queue.jobs.push_back((job, answerer));
        if queue.idle_count < queue.jobs.len() && queue.thread_count < self.threads_max {
            let shared = Arc::clone(&self.shared);
            // Without room for another thread, those that are there do it.
            if spawn_alone("http-worker", move || work(&shared)).is_ok() {
                queue.thread_count += 1;
            }
        }
        if queue.thread_count == 0 {
            let refused = std::mem::take(&mut queue.jobs);
            drop(queue);
            for (_, answerer) in refused {
                answerer.answer(refuse(Error::TooManyAtOnce));
            }
            return waits;
        }
        drop(queue);
        self.shared.changed.notify_one();
        waits
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.lock();
    loop {
        if let Some((job, answerer)) = queue.jobs.pop_front() {
            drop(queue);
            answerer.answer(job());
            queue = shared.lock();
        } else if queue.is_closed {
            queue.thread_count -= 1;
            return;
        } else {
            queue.idle_count += 1;
            let (again, waited) =
                shared.changed.wait_timeout(queue, IDLE_TIME).unwrap_or_else(PoisonError::into_inner);
            queue = again;
            queue.idle_count -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.thread_count -= 1;
                return;
            }
        }
    }
}
