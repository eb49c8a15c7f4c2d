//! What deciding takes, in evaluation steps, and where it breaks off until a later turn.
//!
//! A decision ([`plan`](super::plan::plan) or [`duty`](super::duty::duty)) evaluates expressions one after the other.
//! A thread that serves many cases passes an [`Effort`] to each decision: once that is used up, no further expression is
//! begun and the decision is void ([`Effort::is_broken_off`]). Nothing has changed then. The same decision is made again
//! later, and does not evaluate again what took long: [`Effort::found`] is handed in with the next
//! [`Effort::begin`].

use std::cell::{Cell, RefCell};

use crate::expr::{Cost, Document, Error, Expression, Fragment};

/// From this many steps on, the values that a decision has evaluated are kept; below, evaluating again is cheaper.
pub const AGAIN_STEPS_MAX: u64 = 10_000;

/// Steps that may be used up, and those that were.
#[derive(Debug, Default)]
pub struct Effort {
    limit: u64,
    used: Cell<u64>,
    evaluated: Cell<u64>,
    decision: RefCell<Decision>,
}

/// One decision in the making.
#[derive(Debug, Default)]
struct Decision {
    found: Found,
    /// The number of the next expression.
    next: usize,
    /// Steps of the expressions so far.
    used: u64,
    has_evaluated: bool,
    is_closed: bool,
    is_broken_off: bool,
}

/// What a decision that broke off had found out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Expressions from the first on that were evaluated and not kept.
    unkept: usize,
    /// What those behind them gave.
    kept: Vec<Given>,
}

/// What an expression gave.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Value(Result<Fragment, Error>),
    Verdict(Result<bool, Error>),
}

impl Found {
    /// Returns whether what the expression of this number gave was kept.
    fn is_known(&self, at: usize) -> bool {
        at >= self.unkept && at - self.unkept < self.kept.len()
    }

    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.unkept == 0 && self.kept.is_empty()
    }

    /// Returns how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let text = |given: &Given| match given {
            Given::Value(Ok(value)) => value.len_bytes(),
            Given::Value(Err(_)) | Given::Verdict(_) => 0,
        };
        self.kept.capacity() * size_of::<Given>() + self.kept.iter().map(text).sum::<usize>()
    }
}

impl Effort {
    /// Returns an effort of at most `limit` steps: beyond them nothing is begun.
    pub fn new(limit: u64) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Returns one that is never used up: for a decision by itself, which nobody waits behind.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Counts what was done besides evaluating.
    pub fn add(&self, steps: u64) {
        self.used.set(self.used.get().saturating_add(steps));
    }

    /// Returns whether nothing more is to be begun.
    pub fn is_used_up(&self) -> bool {
        self.used.get() >= self.limit
    }

    /// Returns all steps that were used up.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Returns the evaluation steps among them.
    pub fn evaluated(&self) -> u64 {
        self.evaluated.get()
    }

    /// Begins a decision, with what was found when it broke off before. If the effort is not used up by then, the
    /// decision comes at least one expression further; otherwise none is evaluated.
    pub fn begin(&self, found: Found) {
        let is_closed = self.is_used_up();
        *self.decision.borrow_mut() = Decision { found, is_closed, ..Decision::default() };
    }

    /// Returns whether the decision broke off, so that what came of it says nothing.
    pub fn is_broken_off(&self) -> bool {
        self.decision.borrow().is_broken_off
    }

    /// Returns what the decision that broke off had found out.
    pub fn found(&self) -> Found {
        std::mem::take(&mut self.decision.borrow_mut().found)
    }

    /// Returns the value of a mapping; `None` when the decision breaks off.
    pub(super) fn value(
        &self,
        expression: &Expression,
        document: &Document<'_>,
    ) -> Option<Result<Fragment, Error>> {
        match self.next() {
            Next::Known(Given::Value(value)) => Some(value),
            Next::Unknown => {
                let (value, cost) = expression.evaluate_counted(document);
                self.count(cost, || Given::Value(value.clone()));
                Some(value)
            }
            Next::None | Next::Known(Given::Verdict(_)) => self.break_off(),
        }
    }

    /// Returns the verdict of a predicate; `None` when the decision breaks off.
    pub(super) fn holds(
        &self,
        expression: &Expression,
        document: &Document<'_>,
    ) -> Option<Result<bool, Error>> {
        match self.next() {
            Next::Known(Given::Verdict(verdict)) => Some(verdict),
            Next::Unknown => {
                let (verdict, cost) = expression.holds_counted(document);
                self.count(cost, || Given::Verdict(verdict.clone()));
                Some(verdict)
            }
            Next::None | Next::Known(Given::Value(_)) => self.break_off(),
        }
    }

    fn next(&self) -> Next {
        let mut decision = self.decision.borrow_mut();
        let at = decision.next;
        decision.next += 1;
        let Decision { found, has_evaluated, is_closed, is_broken_off, .. } = &*decision;
        if *is_broken_off {
            return Next::None;
        }
        if *is_closed && !found.is_known(at) {
            return Next::None;
        }
        if at < found.unkept {
            return Next::Unknown;
        }
        if let Some(given) = found.kept.get(at - found.unkept) {
            return Next::Known(given.clone());
        }
        if *has_evaluated && self.is_used_up() {
            return Next::None;
        }
        decision.has_evaluated = true;
        Next::Unknown
    }

    fn count(&self, cost: Cost, given: impl FnOnce() -> Given) {
        self.add(cost.all());
        self.evaluated.set(self.evaluated.get().saturating_add(cost.steps));
        let mut decision = self.decision.borrow_mut();
        decision.used = decision.used.saturating_add(cost.all());
        let is_new = decision.next > decision.found.unkept + decision.found.kept.len();
        if !is_new {
            return;
        }
        if decision.found.kept.is_empty() && decision.used < AGAIN_STEPS_MAX {
            decision.found.unkept += 1;
        } else {
            decision.found.kept.push(given());
        }
    }

    fn break_off<T>(&self) -> Option<T> {
        self.decision.borrow_mut().is_broken_off = true;
        None
    }
}

/// What there is of the next expression.
enum Next {
    Known(Given),
    /// It is to be evaluated.
    Unknown,
    /// It is not evaluated now.
    None,
}
