//! The canonical text of an expression: one space around operators, parentheses only where they are needed.
//! Reading it again gives the same tree.

use std::fmt::{self, Write as _};

use super::ast::{Arithmetic, Ast, Comparison, Expr, Id, Piece, Start, Step, StepTo, Style};
use super::value::Atomic;
use super::xml;

/// How tightly a form binds; an operand that binds less tightly than its place needs gets parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Single,
    Or,
    And,
    Compare,
    Sum,
    Product,
    Sign,
    Path,
    Primary,
}

fn binding(expr: &Expr) -> Binding {
    match expr {
        Expr::If { .. } | Expr::For { .. } | Expr::Let { .. } => Binding::Single,
        Expr::Or(_) => Binding::Or,
        Expr::And(_) => Binding::And,
        Expr::Compare { .. } => Binding::Compare,
        Expr::Chain { rest, .. } => match rest.first().map(|link| link.operator) {
            Some(Arithmetic::Add | Arithmetic::Subtract) => Binding::Sum,
            _ => Binding::Product,
        },
        Expr::Sign { .. } => Binding::Sign,
        Expr::Path { steps, .. } if !steps.is_empty() => Binding::Path,
        // A lone / is always written (/), because / and a name would make a path.
        _ => Binding::Primary,
    }
}

impl fmt::Display for Ast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operand(f, self.root, Binding::Single)
    }
}

impl Ast {
    fn operand(&self, f: &mut fmt::Formatter<'_>, id: Id, needs: Binding) -> fmt::Result {
        let expr = &self.node(id).expr;
        if binding(expr) >= needs {
            return self.expr(f, expr);
        }
        f.write_char('(')?;
        self.expr(f, expr)?;
        f.write_char(')')
    }

    fn expr(&self, f: &mut fmt::Formatter<'_>, expr: &Expr) -> fmt::Result {
        match expr {
            Expr::Literal(value) => literal(f, value),
            Expr::Sequence(items) => self.list(f, items),
            Expr::If { test, yes, no } => {
                f.write_str("if (")?;
                self.operand(f, *test, Binding::Single)?;
                f.write_str(") then ")?;
                self.operand(f, *yes, Binding::Single)?;
                f.write_str(" else ")?;
                self.operand(f, *no, Binding::Single)
            }
            Expr::For { name, input, body } => self.clause(f, &format!("for ${name} in "), *input, *body),
            Expr::Let { name, input, body } => self.clause(f, &format!("let ${name} := "), *input, *body),
            Expr::Variable { name, .. } => write!(f, "${name}"),
            Expr::Or(operands) => self.joined(f, operands, " or ", Binding::And),
            Expr::And(operands) => self.joined(f, operands, " and ", Binding::Compare),
            Expr::Compare { operator, style, left, right } => {
                self.operand(f, *left, Binding::Sum)?;
                write!(f, " {} ", comparison(*operator, *style))?;
                self.operand(f, *right, Binding::Sum)
            }
            Expr::Chain { first, rest } => {
                let needs = if binding(expr) == Binding::Sum { Binding::Product } else { Binding::Sign };
                self.operand(f, *first, needs)?;
                for link in rest {
                    write!(f, " {} ", arithmetic(link.operator))?;
                    self.operand(f, link.operand, needs)?;
                }
                Ok(())
            }
            Expr::Sign { minus, operand } => {
                f.write_char(if *minus { '-' } else { '+' })?;
                self.operand(f, *operand, Binding::Path)
            }
            Expr::Path { start, steps } => self.path(f, *start, steps),
            Expr::Element { name, pieces } => self.element(f, name, pieces),
            Expr::Call { function, arguments } => {
                f.write_str(function.name())?;
                self.list(f, arguments)
            }
        }
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, items: &[Id]) -> fmt::Result {
        f.write_char('(')?;
        self.joined(f, items, ", ", Binding::Single)?;
        f.write_char(')')
    }

    fn joined(&self, f: &mut fmt::Formatter<'_>, items: &[Id], between: &str, needs: Binding) -> fmt::Result {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                f.write_str(between)?;
            }
            self.operand(f, *item, needs)?;
        }
        Ok(())
    }

    fn clause(&self, f: &mut fmt::Formatter<'_>, head: &str, input: Id, body: Id) -> fmt::Result {
        f.write_str(head)?;
        self.operand(f, input, Binding::Single)?;
        f.write_str(" return ")?;
        self.operand(f, body, Binding::Single)
    }

    fn path(&self, f: &mut fmt::Formatter<'_>, start: Start, steps: &[Step]) -> fmt::Result {
        if steps.is_empty() {
            return f.write_str("(/)");
        }
        for (index, step) in steps.iter().enumerate() {
            f.write_str(match (index, start, step.deep) {
                (0, Start::Context, _) => "",
                (_, _, false) => "/",
                (_, _, true) => "//",
            })?;
            match &step.to {
                StepTo::Child(name) => f.write_str(name)?,
                StepTo::AnyChild => f.write_char('*')?,
                StepTo::Text => f.write_str("text()")?,
                StepTo::Itself => f.write_char('.')?,
                StepTo::Parent => f.write_str("..")?,
                StepTo::Expr(id) => self.operand(f, *id, Binding::Primary)?,
            }
        }
        Ok(())
    }

    fn element(&self, f: &mut fmt::Formatter<'_>, name: &str, pieces: &[Piece]) -> fmt::Result {
        if pieces.is_empty() {
            return write!(f, "<{name}/>");
        }
        write!(f, "<{name}>")?;
        for piece in pieces {
            match piece {
                Piece::Text(text) => content(f, text)?,
                Piece::Element(id) => self.operand(f, *id, Binding::Primary)?,
                Piece::Enclosed(id) => {
                    f.write_char('{')?;
                    self.operand(f, *id, Binding::Single)?;
                    f.write_char('}')?;
                }
            }
        }
        write!(f, "</{name}>")
    }
}

/// Writes text of a constructor; whitespace alone is written as entities, or it would be layout.
fn content(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let layout = text.chars().all(xml::is_space);
    for c in text.chars() {
        match c {
            '{' => f.write_str("{{")?,
            '}' => f.write_str("}}")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '&' => f.write_str("&amp;")?,
            c if layout || c == '\r' => write!(f, "&#{};", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

fn literal(f: &mut fmt::Formatter<'_>, value: &Atomic) -> fmt::Result {
    match value {
        Atomic::Untyped(text) | Atomic::String(text) => {
            let (quote, doubled) = if text.contains('\'') { ("\"", "\"\"") } else { ("'", "''") };
            let text = text.replace('&', "&amp;").replace(quote, doubled);
            write!(f, "{quote}{text}{quote}")
        }
        Atomic::Boolean(truth) => write!(f, "{truth}()"),
        Atomic::Exact(number) => write!(f, "{number}"),
        Atomic::Double(number) => write!(f, "{number:E}"),
    }
}

const fn comparison(operator: Comparison, style: Style) -> &'static str {
    match (operator, style) {
        (Comparison::Equal, Style::General) => "=",
        (Comparison::NotEqual, Style::General) => "!=",
        (Comparison::Less, Style::General) => "<",
        (Comparison::LessOrEqual, Style::General) => "<=",
        (Comparison::Greater, Style::General) => ">",
        (Comparison::GreaterOrEqual, Style::General) => ">=",
        (Comparison::Equal, Style::Value) => "eq",
        (Comparison::NotEqual, Style::Value) => "ne",
        (Comparison::Less, Style::Value) => "lt",
        (Comparison::LessOrEqual, Style::Value) => "le",
        (Comparison::Greater, Style::Value) => "gt",
        (Comparison::GreaterOrEqual, Style::Value) => "ge",
    }
}

const fn arithmetic(operator: Arithmetic) -> &'static str {
    match operator {
        Arithmetic::Add => "+",
        Arithmetic::Subtract => "-",
        Arithmetic::Multiply => "*",
        Arithmetic::Divide => "div",
        Arithmetic::DivideWhole => "idiv",
        Arithmetic::Remainder => "mod",
    }
}
