//! What an expression gives over a data document. Start at [`Evaluation::eval`].
//!
//! The recursion follows the nesting of the expression, which is limited; lists, trees and texts are walked in
//! loops, and each item looked at is a step against [`STEPS_MAX`].

use std::borrow::Cow;

use super::ast::{Ast, Expr, Id, Piece, Start, Step, StepTo};
use super::reach;
use super::tree::{Bounds, Content, NodeIndex, Tree};
use super::value::Atomic;
use super::{Cost, Document, Error, Fragment, RESULT_BYTES_MAX, STEPS_MAX};

/// Bytes of text that count as one step when they are copied or compared.
pub(super) const BYTES_PER_STEP: usize = 64;
/// Bytes of a result that count as one step: each is written, and looked at once more.
const WRITTEN_BYTES_PER_STEP: usize = 16;
/// Steps between two pauses of an evaluation that makes some.
const PAUSE_STEPS: u64 = 10_000;
/// Nodes that count as one step when they are only passed, on the way to the texts among them.
const PASSED_NODES_PER_STEP: usize = 8;

/// An item of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Node(NodeIndex),
    Value(Atomic),
}

/// What every expression gives: no item, one, or several.
pub(super) type Sequence = Vec<Item>;

/// One evaluation: the trees it reads and makes, the variables bound so far, the steps taken.
pub(super) struct Evaluation<'a> {
    ast: &'a Ast,
    pub(super) tree: Tree<'a>,
    bound: Vec<Sequence>,
    steps: u64,
    /// Steps' worth of making the document and writing the result.
    data: u64,
    /// What both may come to before it is given up.
    all_max: u64,
    /// What the steps may come to: all that the language allows, or what the document leaves of `all_max`.
    steps_max: u64,
    is_given_up: bool,
    /// When there is the next pause, in steps; what is done then.
    next_pause: u64,
    pause: Option<&'a dyn Fn()>,
}

impl<'a> Evaluation<'a> {
    /// Evaluates the whole expression with the data document as context; of the variables only those it can see are
    /// put there. What it took is in the evaluation, also when it fails. It is given up once it has taken more than
    /// `all_max` steps, the document included: what it returns then says nothing.
    pub(super) fn run(
        ast: &'a Ast,
        sees: Option<&[Box<str>]>,
        document: &Document<'a>,
        (all_max, pause): (u64, Option<&'a dyn Fn()>),
    ) -> (Self, Result<Sequence, Error>) {
        let (tree, bound) = (Tree::default(), Vec::new());
        let mut evaluation = Self {
            ast,
            tree,
            bound,
            steps: 0,
            data: 0,
            all_max,
            steps_max: STEPS_MAX,
            is_given_up: false,
            next_pause: 0,
            pause,
        };
        let Some(top) = evaluation.document(sees, document) else {
            evaluation.is_given_up = true;
            return (evaluation, Ok(Vec::new()));
        };
        evaluation.steps_max = STEPS_MAX.min(all_max.saturating_sub(evaluation.data));
        evaluation.next_pause = evaluation.pause_after(0);
        let result = evaluation.eval(ast.root, &Item::Node(top));
        (evaluation, result)
    }

    /// Makes the data document; `None` when that alone takes more than everything may.
    fn document(&mut self, sees: Option<&[Box<str>]>, document: &Document<'a>) -> Option<NodeIndex> {
        let seen = document.variables.iter().filter(|(name, _)| reach::includes(sees, name));
        let bytes: usize = seen.clone().map(|(_, value)| value.len_bytes()).sum();
        self.data = (bytes / BYTES_PER_STEP) as u64;
        let nodes_max = usize::try_from(self.all_max.checked_sub(self.data)?).unwrap_or(usize::MAX);
        let top = self.tree.root(Content::Document);
        let root = self.tree.element(top, document.root);
        for (name, value) in seen {
            let variable = self.tree.element(root, *name);
            if !self.tree.fragment(variable, value.as_xml(), nodes_max) {
                return None;
            }
        }
        self.data += self.tree.len() as u64;
        Some(top)
    }

    /// Returns what it has taken so far.
    pub(super) fn cost(&self) -> Cost {
        Cost { steps: self.steps.min(self.steps_max), data: self.data }
    }

    /// Returns whether it was given up before its end.
    pub(super) const fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Counts steps.
    pub(super) fn charge(&mut self, steps: usize, at: u32) -> Result<(), Error> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > self.next_pause { self.pause(at) } else { Ok(()) }
    }

    /// Pauses, or ends the evaluation when it has taken too much.
    #[cold]
    fn pause(&mut self, at: u32) -> Result<(), Error> {
        if self.steps > self.steps_max {
            // Where the language itself would stop it, it has failed.
            self.is_given_up |= self.steps_max < STEPS_MAX;
            return Err(Error::TooManySteps { offset: at, limit: STEPS_MAX });
        }
        if let Some(pause) = self.pause {
            pause();
        }
        self.next_pause = self.pause_after(self.steps);
        Ok(())
    }

    /// Returns when there is the first pause after so many steps, or the evaluation ends.
    fn pause_after(&self, steps: u64) -> u64 {
        let next = if self.pause.is_some() { steps.saturating_add(PAUSE_STEPS) } else { u64::MAX };
        next.min(self.steps_max)
    }

    /// Counts the making of a text, which has a limit of its own.
    pub(super) fn charge_text(&mut self, bytes: usize, at: u32) -> Result<(), Error> {
        if bytes > RESULT_BYTES_MAX {
            return Err(Error::ResultTooLarge { limit: RESULT_BYTES_MAX });
        }
        self.charge(1 + bytes / BYTES_PER_STEP, at)
    }

    /// Evaluates one node of the expression.
    pub(super) fn eval(&mut self, id: Id, context: &Item) -> Result<Sequence, Error> {
        let mut out = Vec::new();
        self.eval_into(id, context, &mut out)?;
        Ok(out)
    }

    /// Evaluates one node of the expression and adds what it gives to `out`, so that a loop of many rounds makes one list.
    fn eval_into(&mut self, id: Id, context: &Item, out: &mut Sequence) -> Result<(), Error> {
        let ast = self.ast;
        let node = ast.node(id);
        let at = node.at;
        self.charge(1, at)?;
        let mut given = match &node.expr {
            Expr::Literal(value) => {
                if let Atomic::String(text) = value {
                    self.charge_text(text.len(), at)?;
                }
                out.push(Item::Value(value.clone()));
                return Ok(());
            }
            Expr::Sequence(items) => {
                return items.iter().try_for_each(|item| self.eval_into(*item, context, out));
            }
            Expr::If { test, yes, no } => {
                let branch = if self.truth(*test, context)? { yes } else { no };
                return self.eval_into(*branch, context, out);
            }
            Expr::For { input, body, .. } => return self.each(*input, *body, context, out),
            Expr::Let { input, body, .. } => {
                let value = self.eval(*input, context)?;
                self.bound.push(value);
                self.eval_into(*body, context, out)?;
                self.bound.pop();
                return Ok(());
            }
            Expr::Variable { slot, .. } => return self.variable(*slot, at, out),
            Expr::Or(operands) => self.any(operands, true, context)?,
            Expr::And(operands) => self.any(operands, false, context)?,
            Expr::Compare { operator, style, left, right } => {
                let (left, right) = (self.eval(*left, context)?, self.eval(*right, context)?);
                self.compare(*operator, *style, left, right, at)?
            }
            Expr::Chain { first, rest } => {
                let mut left = self.eval(*first, context)?;
                for link in rest {
                    let right = self.eval(link.operand, context)?;
                    left = self.calculate(link.operator, left, right, link.at)?;
                }
                left
            }
            Expr::Sign { minus, operand } => {
                let operand = self.eval(*operand, context)?;
                self.sign(*minus, operand, at)?
            }
            Expr::Path { start, steps } => self.path(*start, steps, context, at)?,
            Expr::Element { name, pieces } => {
                let element = self.tree.root(Content::Element(Cow::Borrowed(name)));
                self.fill(element, pieces, context, at)?;
                out.push(Item::Node(element));
                return Ok(());
            }
            Expr::Call { function, arguments } => self.call(*function, arguments, context, at)?,
        };
        if out.is_empty() {
            *out = given;
        } else {
            out.append(&mut given);
        }
        Ok(())
    }

    fn each(&mut self, input: Id, body: Id, context: &Item, out: &mut Sequence) -> Result<(), Error> {
        let items = self.eval(input, context)?;
        let slot = self.bound.len();
        self.bound.push(Vec::new());
        for item in items {
            let bound = &mut self.bound[slot];
            bound.clear();
            bound.push(item);
            self.eval_into(body, context, out)?;
        }
        self.bound.pop();
        Ok(())
    }

    fn variable(&mut self, slot: u32, at: u32, out: &mut Sequence) -> Result<(), Error> {
        let bound = self.bound.get(slot as usize).expect("invariant: the parser numbers what is bound");
        let (items, bytes) = (bound.len(), bound.iter().map(Item::text_bytes).sum::<usize>());
        self.charge(items + bytes / BYTES_PER_STEP, at)?;
        out.extend_from_slice(&self.bound[slot as usize]);
        Ok(())
    }

    /// Evaluates operands until one has the verdict that decides.
    fn any(&mut self, operands: &[Id], decides: bool, context: &Item) -> Result<Sequence, Error> {
        for &operand in operands {
            if self.truth(operand, context)? == decides {
                return Ok(truth_item(decides));
            }
        }
        Ok(truth_item(!decides))
    }

    fn truth(&mut self, id: Id, context: &Item) -> Result<bool, Error> {
        let value = self.eval(id, context)?;
        effective(&value, self.ast.node(id).at)
    }

    fn path(&mut self, start: Start, steps: &[Step], context: &Item, at: u32) -> Result<Sequence, Error> {
        let mut current = match start {
            Start::Context => vec![context.clone()],
            Start::Root => vec![Item::Node(self.document_of(context, at)?)],
        };
        for (index, step) in steps.iter().enumerate() {
            if step.deep {
                current = self.with_descendants(&current, step.at)?;
            }
            let mut next = Vec::new();
            for item in &current {
                self.step(step, item, &mut next, index > 0 || start == Start::Root)?;
            }
            current = self.in_order(next, step.at)?;
        }
        Ok(current)
    }

    /// Returns the document above the context item.
    fn document_of(&mut self, context: &Item, at: u32) -> Result<NodeIndex, Error> {
        let mut top = node_of(context, at)?;
        while let Some(parent) = self.tree.parent(top) {
            self.charge(1, at)?;
            top = parent;
        }
        match self.tree.content(top) {
            Content::Document => Ok(top),
            _ => Err(type_error(at, "a path from / needs an item of the data document")),
        }
    }

    fn step(&mut self, step: &Step, from: &Item, out: &mut Sequence, inner: bool) -> Result<(), Error> {
        self.charge(1, step.at)?;
        if inner {
            node_of(from, step.at)?;
        }
        if let StepTo::Expr(id) = &step.to {
            let mut items = self.eval(*id, from)?;
            out.append(&mut items);
            return Ok(());
        }
        if matches!(step.to, StepTo::Itself) {
            out.push(from.clone());
            return Ok(());
        }
        let node = node_of(from, step.at)?;
        if matches!(step.to, StepTo::Parent) {
            out.extend(self.tree.parent(node).map(Item::Node));
            return Ok(());
        }
        let before = out.len();
        let mut seen = 0;
        for child in self.tree.children(node) {
            seen += 1;
            let wanted = match (&step.to, self.tree.content(child)) {
                (StepTo::Child(name), Content::Element(found)) => **name == **found,
                (StepTo::AnyChild, Content::Element(_)) | (StepTo::Text, Content::Text(_)) => true,
                _ => false,
            };
            if wanted {
                out.push(Item::Node(child));
            }
        }
        debug_assert!(out.len() >= before);
        self.charge(seen, step.at)
    }

    fn with_descendants(&mut self, items: &[Item], at: u32) -> Result<Sequence, Error> {
        let mut all = Vec::new();
        for item in items {
            let top = node_of(item, at)?;
            let mut here = Some(top);
            while let Some(node) = here {
                self.charge(1, at)?;
                all.push(Item::Node(node));
                here = self.tree.following(node, top);
            }
        }
        self.in_order(all, at)
    }

    /// Puts nodes in document order and drops duplicates; values keep their order, a mixture is an error.
    fn in_order(&mut self, items: Sequence, at: u32) -> Result<Sequence, Error> {
        let mut nodes: Vec<NodeIndex> = items.iter().filter_map(Item::node).collect();
        if nodes.is_empty() {
            return Ok(items);
        }
        if nodes.len() < items.len() {
            return Err(type_error(at, "a step gives elements or values, not both"));
        }
        self.charge(nodes.len(), at)?;
        nodes.sort_unstable();
        nodes.dedup();
        Ok(nodes.into_iter().map(Item::Node).collect())
    }

    /// Adds the content of a constructor. Recursion follows the nesting of the expression.
    fn fill(
        &mut self,
        element: NodeIndex,
        pieces: &'a [Piece],
        context: &Item,
        at: u32,
    ) -> Result<(), Error> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.charge_text(text.len(), at)?;
                    self.tree.text(element, Cow::Borrowed(text));
                }
                Piece::Enclosed(id) => {
                    let items = self.eval(*id, context)?;
                    self.append(element, items, at)?;
                }
                Piece::Element(id) => {
                    let node = self.ast.node(*id);
                    let Expr::Element { name, pieces } = &node.expr else { continue };
                    self.charge(1, node.at)?;
                    let inner = self.tree.element(element, Cow::Borrowed(&**name));
                    self.fill(inner, pieces, context, node.at)?;
                }
            }
        }
        Ok(())
    }

    /// Adds items as content: nodes are copied, values become text, neighbouring values get a space between.
    fn append(&mut self, parent: NodeIndex, items: Sequence, at: u32) -> Result<(), Error> {
        let mut after_value = false;
        for item in items {
            match item {
                Item::Value(value) => {
                    let text = value.into_text();
                    self.charge_text(text.len(), at)?;
                    if after_value {
                        self.tree.text(parent, Cow::Borrowed(" "));
                    }
                    self.tree.text(parent, text.into());
                    after_value = true;
                }
                Item::Node(node) => {
                    self.copy(parent, node, at)?;
                    after_value = false;
                }
            }
        }
        Ok(())
    }

    /// Copies a node and all below it; of a document only what is below.
    fn copy(&mut self, parent: NodeIndex, top: NodeIndex, at: u32) -> Result<(), Error> {
        let mut open: Vec<(NodeIndex, NodeIndex)> = Vec::new();
        let mut here = Some(top);
        while let Some(node) = here {
            let above = self.tree.parent(node);
            while open.last().is_some_and(|(source, _)| Some(*source) != above) {
                open.pop();
            }
            let into = open.last().map_or(parent, |(_, copy)| *copy);
            let copy = match self.tree.content(node).clone() {
                Content::Document => into,
                Content::Element(name) => {
                    self.charge_text(name.len(), at)?;
                    self.tree.element(into, name)
                }
                Content::Text(text) => {
                    self.charge_text(text.len(), at)?;
                    self.tree.text(into, text);
                    into
                }
            };
            open.push((node, copy));
            here = self.tree.following(node, top);
        }
        Ok(())
    }

    /// Returns the string value of an item as a value without type.
    pub(super) fn atomic(&mut self, item: Item, at: u32) -> Result<Atomic, Error> {
        match item {
            Item::Value(value) => Ok(value),
            Item::Node(node) => {
                let (text, passed) = self.tree.string(node);
                self.charge_text(text.len(), at)?;
                self.charge(passed / PASSED_NODES_PER_STEP, at)?;
                Ok(Atomic::Untyped(text))
            }
        }
    }

    /// Returns at most one value; several are an error.
    pub(super) fn single(&mut self, items: Sequence, at: u32) -> Result<Option<Atomic>, Error> {
        if items.len() > 1 {
            return Err(type_error(at, &format!("one value is needed here, not {}", items.len())));
        }
        items.into_iter().next().map(|item| self.atomic(item, at)).transpose()
    }

    /// Turns the result into the content of the target variable.
    pub(super) fn fragment(&mut self, result: Sequence) -> Result<Fragment, Error> {
        let top = match result.as_slice() {
            &[Item::Node(node)] if matches!(self.tree.content(node), Content::Element(_)) => node,
            _ => {
                let top = self.tree.root(Content::Document);
                self.append(top, result, 0)?;
                top
            }
        };
        let left = self.all_max.saturating_sub(self.steps + self.data);
        let steps = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
        let bytes_max = steps.saturating_mul(WRITTEN_BYTES_PER_STEP) - 1;
        let bounds = Bounds::DATA.within(bytes_max);
        let mut text = String::new();
        let written = self.tree.write(&mut text, top, bounds);
        self.data += (text.len() / WRITTEN_BYTES_PER_STEP) as u64;
        self.is_given_up |= bytes_max < RESULT_BYTES_MAX && text.len() > bytes_max;
        written?;
        Fragment::from_canonical(text)
    }
}

impl Item {
    /// Returns the node, if it is one.
    const fn node(&self) -> Option<NodeIndex> {
        match self {
            Self::Node(node) => Some(*node),
            Self::Value(_) => None,
        }
    }

    /// Returns how many bytes of text it holds itself.
    const fn text_bytes(&self) -> usize {
        match self {
            Self::Node(_) => 0,
            Self::Value(value) => value.text_bytes(),
        }
    }
}

fn node_of(item: &Item, at: u32) -> Result<NodeIndex, Error> {
    item.node().ok_or_else(|| type_error(at, "a step needs an element before it, not a value"))
}

/// Returns the sequence of one truth value.
pub(super) fn truth_item(truth: bool) -> Sequence {
    vec![Item::Value(Atomic::Boolean(truth))]
}

/// Returns the error for a value of the wrong type.
pub(super) fn type_error(at: u32, message: &str) -> Error {
    Error::Type { offset: at, message: message.to_owned() }
}

/// Returns the effective boolean value as XPath defines it: a node is true, an empty text is not.
pub(super) fn effective(items: &[Item], at: u32) -> Result<bool, Error> {
    match items {
        [] => Ok(false),
        [Item::Node(_), ..] => Ok(true),
        [Item::Value(value)] => Ok(match value {
            Atomic::Boolean(truth) => *truth,
            Atomic::Untyped(text) | Atomic::String(text) => !text.is_empty(),
            Atomic::Exact(number) => !number.is_zero(),
            Atomic::Double(number) => *number != 0.0 && !number.is_nan(),
        }),
        _ => Err(type_error(at, "several values have no truth value")),
    }
}
