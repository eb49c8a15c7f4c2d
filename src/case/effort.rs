//! What deciding takes, in evaluation steps, and where it breaks off until a later turn.
//!
//! A decision ([`plan`](super::plan::plan) or [`duty`](super::duty::duty)) evaluates expressions one after the other.
//! A thread that serves many cases passes an [`Effort`] to each decision: once that is used up, no further expression is
//! begun and the decision is void ([`Effort::is_broken_off`]). Nothing has changed then. The same decision is made again
//! later, and does not evaluate again what took long: [`Effort::found`] is handed in with the next
//! [`Effort::begin`].
//!
//! One expression alone may take long as well. Past [`Limits::expression_steps`] it is given up, and the decision breaks off
//! with an [`Evaluation`]: what another thread has to work out, over data of its own. [`Found::learn`] takes what came of it.

use std::cell::{Cell, RefCell};

use crate::expr::{Cost, Document, Error, Expression, Fragment};

/// From this many steps on, the values that a decision has evaluated are kept; below, evaluating again is cheaper.
pub const AGAIN_STEPS_MAX: u64 = 2_000;

/// What one thread does in one go, in evaluation steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Beyond them nothing is begun.
    pub steps: u64,
    /// An expression that takes more, those for its data included, is left to another thread.
    pub expression_steps: u64,
}

impl Limits {
    /// Everything is done at once.
    pub const NONE: Self = Self { steps: u64::MAX, expression_steps: u64::MAX };
}

/// Steps that may be used up, and those that were.
#[derive(Debug)]
pub struct Effort {
    limits: Limits,
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
    /// What it broke off for, if another thread has to work it out.
    evaluation: Option<Box<Evaluation>>,
}

/// What a decision that broke off had found out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Expressions from the first on that were evaluated and not kept.
    unkept: usize,
    /// What those behind them gave.
    kept: Vec<Given>,
    /// The next one takes long.
    is_next_long: bool,
}

/// What an expression gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// The value of a mapping.
    Value(Result<Fragment, Error>),
    /// The verdict of a predicate.
    Verdict(Result<bool, Error>),
}

/// What an expression is evaluated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Value,
    Verdict,
}

/// An expression that takes long, and its data: both are shared with the case, and neither changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    wanted: Wanted,
    expression: Expression,
    root: String,
    /// The variables that the expression reads.
    variables: Vec<(String, Fragment)>,
}

impl Evaluation {
    fn new(wanted: Wanted, expression: &Expression, document: &Document<'_>) -> Self {
        let read = document.variables.iter().filter(|(name, _)| expression.reads(name));
        let variables = read.map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect();
        Self { wanted, expression: expression.clone(), root: document.root.to_owned(), variables }
    }

    /// Evaluates the expression to its end, and returns what it took. Calls `pause` every so often.
    pub fn work_out(&self, pause: &dyn Fn()) -> (Given, Cost) {
        let variables: Vec<(&str, &Fragment)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let document = Document { root: &self.root, variables: &variables };
        match self.wanted {
            Wanted::Value => {
                let (value, cost) = self.expression.evaluate_with_pauses(&document, pause);
                (Given::Value(value), cost)
            }
            Wanted::Verdict => {
                let (verdict, cost) = self.expression.holds_with_pauses(&document, pause);
                (Given::Verdict(verdict), cost)
            }
        }
    }
}

impl Wanted {
    fn evaluate(
        self,
        expression: &Expression,
        document: &Document<'_>,
        steps_max: u64,
    ) -> (Option<Given>, Cost) {
        match self {
            Self::Value => {
                let (value, cost) = expression.evaluate_within(document, steps_max);
                (value.map(Given::Value), cost)
            }
            Self::Verdict => {
                let (verdict, cost) = expression.holds_within(document, steps_max);
                (verdict.map(Given::Verdict), cost)
            }
        }
    }
}

impl Given {
    const fn wanted(&self) -> Wanted {
        match self {
            Self::Value(_) => Wanted::Value,
            Self::Verdict(_) => Wanted::Verdict,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Value(Ok(value)) => value.len_bytes(),
            Self::Value(Err(_)) | Self::Verdict(_) => 0,
        }
    }
}

impl Found {
    /// Returns whether what the expression of this number gave was kept.
    fn is_known(&self, at: usize) -> bool {
        at >= self.unkept && at - self.unkept < self.kept.len()
    }

    /// Returns whether the expression of this number is known to take long.
    fn is_long(&self, at: usize) -> bool {
        self.is_next_long && at == self.unkept + self.kept.len()
    }

    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.unkept == 0 && self.kept.is_empty() && !self.is_next_long
    }

    /// Returns whether the decision needs what another thread works out to go on.
    pub fn is_next_long(&self) -> bool {
        self.is_next_long
    }

    /// Takes what came of the [`Evaluation`] that the decision broke off for.
    pub fn learn(&mut self, given: Given) {
        debug_assert!(self.is_next_long, "invariant: what comes is what was asked for");
        self.kept.push(given);
        self.is_next_long = false;
    }

    /// Returns how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.kept.capacity() * size_of::<Given>() + self.kept.iter().map(Given::bytes).sum::<usize>()
    }
}

impl Effort {
    /// Returns an effort within limits.
    pub fn new(limits: Limits) -> Self {
        let (used, evaluated, decision) = (Cell::new(0), Cell::new(0), RefCell::default());
        Self { limits, used, evaluated, decision }
    }

    /// Returns one that is never used up: for a decision by itself, which nobody waits behind.
    pub fn unlimited() -> Self {
        Self::new(Limits::NONE)
    }

    /// Counts what was done besides evaluating.
    pub fn add(&self, steps: u64) {
        self.used.set(self.used.get().saturating_add(steps));
    }

    /// Returns whether nothing more is to be begun.
    pub fn is_used_up(&self) -> bool {
        self.used.get() >= self.limits.steps
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
    /// decision comes at least one expression further, or learns that the next takes long; otherwise none is evaluated.
    pub fn begin(&self, found: Found) {
        let is_closed = self.is_used_up();
        *self.decision.borrow_mut() = Decision { found, is_closed, ..Decision::default() };
    }

    /// Returns whether the decision broke off, so that what came of it says nothing.
    pub fn is_broken_off(&self) -> bool {
        self.decision.borrow().is_broken_off
    }

    /// Returns what the decision that broke off had found out, and what another thread has to work out before it goes on.
    pub fn found(&self) -> (Found, Option<Box<Evaluation>>) {
        let mut decision = self.decision.borrow_mut();
        (std::mem::take(&mut decision.found), decision.evaluation.take())
    }

    /// Returns the value of a mapping; `None` when the decision breaks off.
    pub(crate) fn value(
        &self,
        expression: &Expression,
        document: &Document<'_>,
    ) -> Option<Result<Fragment, Error>> {
        match self.given(Wanted::Value, expression, document) {
            Some(Given::Value(value)) => Some(value),
            Some(Given::Verdict(_)) | None => self.break_off(),
        }
    }

    /// Returns the verdict of a predicate; `None` when the decision breaks off.
    pub(crate) fn holds(
        &self,
        expression: &Expression,
        document: &Document<'_>,
    ) -> Option<Result<bool, Error>> {
        match self.given(Wanted::Verdict, expression, document) {
            Some(Given::Verdict(verdict)) => Some(verdict),
            Some(Given::Value(_)) | None => self.break_off(),
        }
    }

    fn given(&self, wanted: Wanted, expression: &Expression, document: &Document<'_>) -> Option<Given> {
        match self.next() {
            Next::Known(given) => {
                debug_assert_eq!(given.wanted(), wanted, "invariant: the same decision asks the same");
                return Some(given);
            }
            Next::None => return None,
            Next::Unknown => {
                let (given, cost) = wanted.evaluate(expression, document, self.limits.expression_steps);
                self.count(cost, given.as_ref());
                if given.is_some() {
                    return given;
                }
            }
            Next::Long => {}
        }
        let mut decision = self.decision.borrow_mut();
        decision.found.is_next_long = true;
        decision.evaluation = Some(Box::new(Evaluation::new(wanted, expression, document)));
        None
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
        if found.is_long(at) {
            return Next::Long;
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

    fn count(&self, cost: Cost, given: Option<&Given>) {
        self.add(cost.all());
        self.evaluated.set(self.evaluated.get().saturating_add(cost.steps));
        let mut decision = self.decision.borrow_mut();
        decision.used = decision.used.saturating_add(cost.all());
        let is_new = decision.next > decision.found.unkept + decision.found.kept.len();
        let Some(given) = given.filter(|_| is_new) else { return };
        if decision.found.kept.is_empty() && decision.used < AGAIN_STEPS_MAX {
            decision.found.unkept += 1;
        } else {
            decision.found.kept.push(given.clone());
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
    /// It takes long.
    Long,
    /// It is not evaluated now.
    None,
}
