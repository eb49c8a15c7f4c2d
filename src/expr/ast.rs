//! The tree of an expression: nodes in one table, so that a long expression costs no recursion to drop or copy.

use super::functions::Function;
use super::value::Atomic;

/// Number of a node in its [`Ast`].
pub(super) type Id = u32;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ast {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Ast {
    /// Returns a node; ids come from the parser and always fit.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

/// One node and the byte offset where it stands; two nodes are equal when they say the same, wherever they stand.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: u32,
    pub(super) expr: Expr,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
    }
}

/// What a node says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Literal(Atomic),
    /// `(a, b)`; never of length one.
    Sequence(Vec<Id>),
    If {
        test: Id,
        yes: Id,
        no: Id,
    },
    /// `for $name in input return body`; a `where` has become an `if` in the body.
    For {
        name: Box<str>,
        input: Id,
        body: Id,
    },
    /// `let $name := input return body`.
    Let {
        name: Box<str>,
        input: Id,
        body: Id,
    },
    /// A variable, `slot` bindings from the outermost.
    Variable {
        name: Box<str>,
        slot: u32,
    },
    Or(Vec<Id>),
    And(Vec<Id>),
    Compare {
        operator: Comparison,
        style: Style,
        left: Id,
        right: Id,
    },
    /// Operators of one level, from left to right.
    Chain {
        first: Id,
        rest: Vec<Link>,
    },
    /// A sign before an operand.
    Sign {
        minus: bool,
        operand: Id,
    },
    Path {
        start: Start,
        steps: Vec<Step>,
    },
    /// A direct element constructor.
    Element {
        name: Box<str>,
        pieces: Vec<Piece>,
    },
    Call {
        function: Function,
        arguments: Vec<Id>,
    },
}

/// `=` or `eq` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Whether a comparison asks for any pair of items or compares two single ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `=`: true when any pair of items compares so.
    General,
    /// `eq`: two single items.
    Value,
}

/// An operator and its right operand.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) operator: Arithmetic,
    pub(super) at: u32,
    pub(super) operand: Id,
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.operator == other.operator && self.operand == other.operand
    }
}

/// An operator on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
    Remainder,
}

/// Where a path starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// `/a`: the document.
    Root,
    /// `a`: the context item.
    Context,
}

/// One step of a path.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) at: u32,
    /// Written after `//`: from each node below as well.
    pub(super) deep: bool,
    pub(super) to: StepTo,
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.deep == other.deep && self.to == other.to
    }
}

/// Where a step leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepTo {
    Child(Box<str>),
    AnyChild,
    Text,
    Itself,
    Parent,
    /// Any other expression, evaluated once for each item so far.
    Expr(Id),
}

/// A piece of an element constructor's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Element(Id),
    Enclosed(Id),
}
