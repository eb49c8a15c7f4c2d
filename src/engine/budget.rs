//! A bounded number of bytes that many share: who needs some takes them before, and gives them back when they are no
//! longer needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bytes that many share, up to a limit.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: AtomicUsize,
    taken_bytes: AtomicUsize,
    refused_count: AtomicU64,
}

impl Budget {
    /// Returns an empty budget.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes: AtomicUsize::new(limit_bytes),
            taken_bytes: AtomicUsize::new(0),
            refused_count: AtomicU64::new(0),
        })
    }

    /// Takes bytes until the returned value is dropped; `None` when fewer are left.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Taken> {
        let mut taken = Taken::none(self);
        taken.grow_to(bytes).then_some(taken)
    }

    /// Changes the limit. What is taken beyond a lower one stays taken.
    pub fn set_limit(&self, limit_bytes: usize) {
        self.limit_bytes.store(limit_bytes, Ordering::Release);
    }

    /// Returns the limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Ordering::Acquire)
    }

    /// Returns how many bytes are taken.
    pub fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Ordering::Acquire)
    }

    /// Returns how often bytes were refused.
    pub fn refused_count(&self) -> u64 {
        self.refused_count.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a [`Budget`]; given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Taken {
    /// Returns no bytes of a budget, to grow from.
    pub fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Returns how many bytes these are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more until these are `bytes`; returns false, and takes nothing, when fewer are left.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        self.grow_leaving(bytes, 0)
    }

    /// Takes more until these are `bytes`; returns false, and takes nothing, when fewer than `left_bytes` would be left
    /// for others.
    pub fn grow_leaving(&mut self, bytes: usize, left_bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let limit = self.budget.limit_bytes().saturating_sub(left_bytes);
        let grown = self.budget.taken_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            taken.checked_add(more).filter(|sum| *sum <= limit || more == 0)
        });
        if grown.is_err() {
            self.budget.refused_count.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        let before = self.budget.taken_bytes.fetch_sub(less, Ordering::AcqRel);
        assert!(before >= less, "invariant: nothing is given back that was not taken");
        self.bytes -= less;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_stays_within_the_limit_and_comes_back() {
        let budget = Budget::new(10);
        let mut first = budget.take(6).expect("there is room");
        assert!(budget.take(5).is_none());
        let second = budget.take(4).expect("exactly the rest");
        assert!(!first.grow_to(7));
        drop(second);
        assert!(!first.grow_leaving(9, 2) && first.grow_leaving(8, 2));
        assert!(first.grow_to(10) && first.bytes() == 10);
        first.shrink_to(3);
        assert_eq!((budget.taken_bytes(), budget.refused_count()), (3, 3));
        drop(first);
        assert_eq!(budget.taken_bytes(), 0);
    }

    #[test]
    fn a_lower_limit_takes_nothing_away() {
        let budget = Budget::new(10);
        let mut held = budget.take(8).expect("there is room");
        budget.set_limit(4);
        assert!(budget.take(1).is_none() && held.grow_to(8) && !held.grow_to(9));
        drop(held);
        assert!(budget.take(4).is_some());
    }

    #[test]
    fn an_absurd_size_is_refused_and_does_not_overflow() {
        let budget = Budget::new(usize::MAX);
        let _held = budget.take(usize::MAX).expect("there is room");
        assert!(budget.take(usize::MAX).is_none());
    }
}
