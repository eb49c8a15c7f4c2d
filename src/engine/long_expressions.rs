//! Expressions that take long, one at a time: each may take many times the memory of the data that it reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shard::EXPRESSION_STEPS_MAX;
use crate::case::effort::{Effort, Evaluation, Found, Limits};
use crate::expr::Cost;

/// How much a reader does by itself.
const EFFORT: Limits = Limits { steps: u64::MAX, expression_steps: EXPRESSION_STEPS_MAX };

/// Who has the turn. Readers wait for one another first, so that a shard waits for one of them at most.
#[derive(Debug, Default)]
pub struct Turns {
    readers: Mutex<()>,
    all: Mutex<()>,
}

impl Turns {
    /// Returns the turn of a shard, once nothing else is evaluated that takes long.
    pub fn of_shard(&self) -> MutexGuard<'_, ()> {
        locked(&self.all)
    }

    /// Works something out for a reader, when it has its turn.
    fn work_out(&self, evaluation: &Evaluation, found: &mut Found) -> Cost {
        let _reader = locked(&self.readers);
        let _turn = locked(&self.all);
        let (given, cost) = evaluation.work_out(&std::thread::yield_now);
        found.learn(given);
        cost
    }
}

fn locked(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a reader evaluates.
#[derive(Debug)]
pub struct Reading<'a> {
    turns: &'a Turns,
    effort: Effort,
}

impl<'a> Reading<'a> {
    /// Returns one that has evaluated nothing yet.
    pub fn new(turns: &'a Turns) -> Self {
        Self { turns, effort: Effort::new(EFFORT) }
    }

    /// Returns the steps that it has taken.
    pub fn used(&self) -> u64 {
        self.effort.used()
    }

    /// Returns what `read` returns once all that it evaluates is known.
    pub fn read<R>(&self, read: impl Fn(&Effort) -> R) -> R {
        let mut found = Found::default();
        // Each round comes one expression further.
        loop {
            self.effort.begin(found);
            let result = read(&self.effort);
            if !self.effort.is_broken_off() {
                return result;
            }
            let evaluation;
            (found, evaluation) = self.effort.found();
            let evaluation =
                evaluation.expect("invariant: it breaks off for what takes long, and for nothing else");
            self.effort.add(self.turns.work_out(&evaluation, &mut found).all());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::time::Duration;

    use super::*;
    use crate::expr::{Document, compile};

    #[test]
    fn a_reader_works_out_what_takes_long_when_nobody_else_does() {
        let numbers = vec!["1"; 150].join(",");
        let expression =
            compile(&format!("count(for $a in ({numbers}) for $b in ({numbers}) return 1)")).unwrap();
        let turns = Turns::default();
        let shard = turns.of_shard();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reading = Reading::new(&turns);
                let document = Document { root: "n", variables: &[] };
                let value = reading.read(|effort| effort.value(&expression, &document));
                sender.send((value, reading.used())).unwrap();
            });
            let early = receiver.recv_timeout(Duration::from_millis(50));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "it did not wait for the shard");
            drop(shard);
            let (value, used) = receiver.recv().unwrap();
            assert_eq!(value.unwrap().unwrap().text(), "22500");
            assert!(used > 2 * EXPRESSION_STEPS_MAX, "{used}");
        });
    }
}
