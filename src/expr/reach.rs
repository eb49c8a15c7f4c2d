//! Which variables an expression can see: the others need not be put into its data document.
//!
//! An expression whose paths all start `/Net/variable` sees those variables only. Anything that may look further,
//! such as `//`, `*`, `..` or the document as a value, sees them all; when in doubt, all.

use super::ast::{Ast, Expr, Id, Piece, Start, Step, StepTo};
use super::functions::Function;

/// Returns the names of the variables that can be seen, sorted, or `None` for all.
pub(super) fn variables(ast: &Ast) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    visit(ast, ast.root, Context::Document, &mut names)?;
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// What a relative path starts at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// The top of the data document.
    Document,
    /// A value of the expression, or something at or below a variable that is named already.
    Below,
}

/// Notes the variables that a node sees; `None` for all. Recursion follows the nesting of the expression.
fn visit(ast: &Ast, id: Id, context: Context, names: &mut Vec<Box<str>>) -> Option<()> {
    let mut all = |ids: &[Id]| ids.iter().try_for_each(|&id| visit(ast, id, context, names));
    match &ast.node(id).expr {
        Expr::Literal(_) | Expr::Variable { .. } => Some(()),
        Expr::Sequence(ids) | Expr::Or(ids) | Expr::And(ids) => all(ids),
        Expr::If { test, yes, no } => all(&[*test, *yes, *no]),
        Expr::For { input, body, .. } | Expr::Let { input, body, .. } => all(&[*input, *body]),
        Expr::Compare { left, right, .. } => all(&[*left, *right]),
        Expr::Chain { first, rest } => {
            all(&[*first])?;
            rest.iter().try_for_each(|link| visit(ast, link.operand, context, names))
        }
        Expr::Sign { operand, .. } => all(&[*operand]),
        Expr::Element { pieces, .. } => pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(_) => Some(()),
            Piece::Element(id) | Piece::Enclosed(id) => visit(ast, *id, context, names),
        }),
        Expr::Call { function, arguments } => {
            let of_context = arguments.is_empty() && matches!(function, Function::String | Function::Number);
            if of_context && context == Context::Document {
                return None;
            }
            all(arguments)
        }
        Expr::Path { start, steps } => {
            let from_document = *start == Start::Root || context == Context::Document;
            match steps.as_slice() {
                // `(/Net/a, /Net/b)/c`: what comes first stands for itself.
                [Step { to: StepTo::Expr(first), deep: false, .. }, inner @ ..]
                    if *start == Start::Context =>
                {
                    visit(ast, *first, context, names)?;
                    below(ast, inner, names)
                }
                [
                    Step { to: StepTo::Child(_), deep: false, .. },
                    Step { to: StepTo::Child(variable), deep: false, .. },
                    inner @ ..,
                ] if from_document => {
                    names.push(variable.clone());
                    below(ast, inner, names)
                }
                _ if from_document => None,
                inner => below(ast, inner, names),
            }
        }
    }
}

/// Notes what steps see from at or below a variable: nothing else, unless one leads up again.
fn below(ast: &Ast, steps: &[Step], names: &mut Vec<Box<str>>) -> Option<()> {
    steps.iter().try_for_each(|step| match &step.to {
        StepTo::Parent => None,
        StepTo::Expr(id) => visit(ast, *id, Context::Below, names),
        StepTo::Child(_) | StepTo::AnyChild | StepTo::Text | StepTo::Itself => Some(()),
    })
}

/// Returns whether a variable is among those that can be read; `None` is all.
pub(super) fn includes(read: Option<&[Box<str>]>, name: &str) -> bool {
    read.is_none_or(|names| names.binary_search_by(|read| (**read).cmp(name)).is_ok())
}
