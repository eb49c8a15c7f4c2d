//! Predicates and mappings: the XQuery subset over case data, and that data itself. Pure.
//!
//! [`compile`] turns the text of a predicate or mapping into an [`Expression`], once, when a specification is
//! registered; [`Expression::evaluate`] and [`Expression::holds`] run it over the variables of a case, which are
//! [`Fragment`]s. Nothing here reads a clock, a file or a random number: the same text over the same data gives
//! the same answer, and every loop is bounded by a limit below. docs/reference/expressions.md says what the
//! language is; start reading at `parser.rs` for its shape and at `eval.rs` for its meaning.

mod ast;
mod constructor;
mod decimal;
mod error;
mod eval;
mod fragment;
mod functions;
pub mod json;
mod lexer;
mod operate;
mod parser;
mod print;
mod reach;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod xml;

use std::fmt;
use std::sync::Arc;

pub use error::Error;
use eval::{Evaluation, Sequence};
pub use fragment::Fragment;

/// Longest text of an expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of an expression: parentheses, constructors, branches; a clause of `for` or `let` is two levels.
/// Parser and evaluator recurse this deep: a thread that calls them has 2 MiB of stack, of which builds without
/// optimisation use up to half.
pub const DEPTH_MAX: u32 = 64;
/// Most steps of one evaluation: an item looked at, made, compared or copied is one step.
pub const STEPS_MAX: u64 = 250_000;
/// Largest fragment that is read or that an evaluation may give, in bytes of its text.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of elements in a fragment. In JSON a level may take an object and an array; JSON readers,
/// `serde_json` among them, stop at 128.
pub const ELEMENT_DEPTH_MAX: u32 = 48;
const _: () = assert!(ELEMENT_DEPTH_MAX * 2 + 16 < 128);

/// The data of a net as an expression sees it: the document `/root/variable`.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// Name of the root element: the id of the net, or `data`. Any string; one that is no XML name cannot be
    /// written in a path.
    pub root: &'a str,
    /// Name and content of each variable, in order; an unset one is given as the empty fragment.
    pub variables: &'a [(&'a str, &'a Fragment)],
}

/// What one evaluation took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Evaluation steps, [`STEPS_MAX`] at most.
    pub steps: u64,
    /// What making the document and writing the result took, in steps as well. No limit of the language counts it:
    /// the sizes of data are limited themselves.
    pub data: u64,
}

impl Cost {
    /// Returns both together.
    pub fn all(self) -> u64 {
        self.steps + self.data
    }
}

/// A compiled predicate or mapping: immutable, evaluated as often as one likes. Cloning shares it.
///
/// Displayed, it is the canonical text, which compiles to an equal expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

#[derive(Debug, PartialEq)]
struct Compiled {
    ast: ast::Ast,
    /// Names of the variables it can see, sorted; `None` for all.
    variables: Option<Vec<Box<str>>>,
}

/// Compiles the text of a predicate or mapping; unknown names and everything outside the language are found here.
pub fn compile(text: &str) -> Result<Expression, Error> {
    let ast = parser::parse(text)?;
    let variables = reach::variables(&ast);
    Ok(Expression { compiled: Arc::new(Compiled { ast, variables }) })
}

impl Expression {
    /// Returns the names of the variables that this expression reads, sorted, each once; `None` if it may read any,
    /// as `//a`, `/*` and `..` do. A document need not hold the others.
    pub fn variables(&self) -> Option<&[Box<str>]> {
        self.compiled.variables.as_deref()
    }

    /// Returns whether this expression may read the variable of this name.
    pub fn reads(&self, name: &str) -> bool {
        reach::includes(self.variables(), name)
    }

    /// Returns the verdict of a predicate that is the same whatever the data are: `true()` or `false()`.
    pub fn verdict(&self) -> Option<bool> {
        match self.ast().node(self.ast().root).expr {
            ast::Expr::Call { function: functions::Function::True, .. } => Some(true),
            ast::Expr::Call { function: functions::Function::False, .. } => Some(false),
            _ => None,
        }
    }

    /// Returns the value of a mapping: the content that its target variable gets.
    ///
    /// One element gives its content. Otherwise elements stay elements, text stays text, adjacent other values are
    /// joined by one space, and nothing at all gives the empty fragment.
    pub fn evaluate(&self, document: &Document<'_>) -> Result<Fragment, Error> {
        self.evaluate_counted(document).0
    }

    /// Returns the value of a mapping as [`Expression::evaluate`] does, and what it took, also when it fails.
    pub fn evaluate_counted(&self, document: &Document<'_>) -> (Result<Fragment, Error>, Cost) {
        let (value, cost) = self.evaluate_within(document, u64::MAX);
        (value.expect("invariant: it may take whatever it takes"), cost)
    }

    /// Returns the value of a mapping as [`Expression::evaluate`] does, or `None` once it takes more than so many steps,
    /// those for its data included, and what it took until then.
    pub fn evaluate_within(
        &self,
        document: &Document<'_>,
        steps_max: u64,
    ) -> (Option<Result<Fragment, Error>>, Cost) {
        self.value(document, (steps_max, None))
    }

    /// Returns the value of a mapping as [`Expression::evaluate`] does, and calls `pause` every 10,000 steps.
    pub fn evaluate_with_pauses<'a>(
        &'a self,
        document: &Document<'a>,
        pause: &'a dyn Fn(),
    ) -> (Result<Fragment, Error>, Cost) {
        let (value, cost) = self.value(document, (u64::MAX, Some(pause)));
        (value.expect("invariant: it may take whatever it takes"), cost)
    }

    fn value<'a>(
        &'a self,
        document: &Document<'a>,
        limits: (u64, Option<&'a dyn Fn()>),
    ) -> (Option<Result<Fragment, Error>>, Cost) {
        let (mut evaluation, result) = self.run(document, limits);
        let value = result.and_then(|result| evaluation.fragment(result));
        ((!evaluation.is_given_up()).then_some(value), evaluation.cost())
    }

    /// Returns the verdict of a predicate: its effective boolean value as XPath defines it.
    ///
    /// An element or text node that exists is true, whatever it says: `/n/done/text()='true'` compares,
    /// `/n/done/text()` only asks whether there is text.
    pub fn holds(&self, document: &Document<'_>) -> Result<bool, Error> {
        self.holds_within(document, u64::MAX).0.expect("invariant: it may take whatever it takes")
    }

    /// Returns the verdict of a predicate as [`Expression::holds`] does, within limits as [`Expression::evaluate_within`].
    pub fn holds_within(
        &self,
        document: &Document<'_>,
        steps_max: u64,
    ) -> (Option<Result<bool, Error>>, Cost) {
        self.verdict_of(document, (steps_max, None))
    }

    /// Returns the verdict of a predicate as [`Expression::holds`] does, and calls `pause` every 10,000 steps.
    pub fn holds_with_pauses<'a>(
        &'a self,
        document: &Document<'a>,
        pause: &'a dyn Fn(),
    ) -> (Result<bool, Error>, Cost) {
        let (verdict, cost) = self.verdict_of(document, (u64::MAX, Some(pause)));
        (verdict.expect("invariant: it may take whatever it takes"), cost)
    }

    fn verdict_of<'a>(
        &'a self,
        document: &Document<'a>,
        limits: (u64, Option<&'a dyn Fn()>),
    ) -> (Option<Result<bool, Error>>, Cost) {
        let (evaluation, result) = self.run(document, limits);
        let verdict = result.and_then(|result| eval::effective(&result, self.ast().node(self.ast().root).at));
        ((!evaluation.is_given_up()).then_some(verdict), evaluation.cost())
    }

    fn run<'a>(
        &'a self,
        document: &Document<'a>,
        limits: (u64, Option<&'a dyn Fn()>),
    ) -> (Evaluation<'a>, Result<Sequence, Error>) {
        Evaluation::run(self.ast(), self.variables(), document, limits)
    }

    fn ast(&self) -> &ast::Ast {
        &self.compiled.ast
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ast().fmt(f)
    }
}
