//! What operators and functions give: comparison, arithmetic, and the table of functions at work.

use std::cmp::Ordering;

use super::Error;
use super::ast::{Arithmetic, Comparison, Id, Style};
use super::decimal::Decimal;
use super::eval::{BYTES_PER_STEP, Evaluation, Item, Sequence, effective, truth_item, type_error};
use super::functions::Function;
use super::value::{Atomic, Number, compare_general, compare_value, compared_bytes};

impl Evaluation<'_> {
    pub(super) fn compare(
        &mut self,
        operator: Comparison,
        style: Style,
        left: Sequence,
        right: Sequence,
        at: u32,
    ) -> Result<Sequence, Error> {
        if style == Style::Value {
            let (Some(left), Some(right)) = (self.single(left, at)?, self.single(right, at)?) else {
                return Ok(Vec::new());
            };
            return Ok(truth_item(satisfies(operator, compare_value(&left, &right, at)?)));
        }
        let left = self.atomics(left, at)?;
        let right = self.atomics(right, at)?;
        for a in &left {
            for b in &right {
                self.charge(1 + compared_bytes(a, b) / BYTES_PER_STEP, at)?;
                if satisfies(operator, compare_general(a, b, at)?) {
                    return Ok(truth_item(true));
                }
            }
        }
        Ok(truth_item(false))
    }

    fn atomics(&mut self, items: Sequence, at: u32) -> Result<Vec<Atomic>, Error> {
        items.into_iter().map(|item| self.atomic(item, at)).collect()
    }

    /// Calculates with at most one value on each side; nothing on a side gives nothing.
    pub(super) fn calculate(
        &mut self,
        operator: Arithmetic,
        left: Sequence,
        right: Sequence,
        at: u32,
    ) -> Result<Sequence, Error> {
        let (Some(left), Some(right)) = (self.single(left, at)?, self.single(right, at)?) else {
            return Ok(Vec::new());
        };
        let number = arithmetic(operator, left.into_number(at)?, right.into_number(at)?, at)?;
        Ok(vec![Item::Value(number.into_atomic())])
    }

    pub(super) fn sign(&mut self, minus: bool, operand: Sequence, at: u32) -> Result<Sequence, Error> {
        let Some(value) = self.single(operand, at)? else { return Ok(Vec::new()) };
        let number = match (value.into_number(at)?, minus) {
            (number, false) => number,
            (Number::Exact(number), true) => {
                Number::Exact(number.negate().ok_or(Error::Overflow { offset: at })?)
            }
            (Number::Double(number), true) => Number::Double(-number),
        };
        Ok(vec![Item::Value(number.into_atomic())])
    }

    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &[Id],
        context: &Item,
        at: u32,
    ) -> Result<Sequence, Error> {
        if function == Function::Concat {
            return self.concat(arguments, context, at);
        }
        let mut values = Vec::with_capacity(arguments.len());
        for &argument in arguments {
            values.push(self.eval(argument, context)?);
        }
        let mut values = values.into_iter();
        let first = values.next().unwrap_or_else(|| vec![context.clone()]);
        let value = match function {
            Function::True => Atomic::Boolean(true),
            Function::False => Atomic::Boolean(false),
            Function::Not => Atomic::Boolean(!effective(&first, at)?),
            Function::Boolean => Atomic::Boolean(effective(&first, at)?),
            Function::Empty => Atomic::Boolean(first.is_empty()),
            Function::Exists => Atomic::Boolean(!first.is_empty()),
            Function::Count => Atomic::Exact(Decimal::integer(first.len() as i128)),
            Function::Sum => self.sum(first, at)?,
            Function::Number => {
                Atomic::Double(self.single(first, at)?.map_or(f64::NAN, |value| value.to_double()))
            }
            Function::String => {
                Atomic::String(self.single(first, at)?.map_or_else(String::new, Atomic::into_text))
            }
            Function::Contains => {
                let text = self.text_argument(first, at)?;
                let part = self.text_argument(values.next().unwrap_or_default(), at)?;
                Atomic::Boolean(text.contains(&part))
            }
            Function::Concat => return Ok(Vec::new()),
        };
        Ok(vec![Item::Value(value)])
    }

    fn sum(&mut self, items: Sequence, at: u32) -> Result<Atomic, Error> {
        let mut total = Number::Exact(Decimal::integer(0));
        for item in items {
            let value = self.atomic(item, at)?.into_number(at)?;
            total = arithmetic(Arithmetic::Add, total, value, at)?;
        }
        Ok(total.into_atomic())
    }

    fn concat(&mut self, arguments: &[Id], context: &Item, at: u32) -> Result<Sequence, Error> {
        let mut text = String::new();
        for &argument in arguments {
            let value = self.eval(argument, context)?;
            let part = self.single(value, at)?.map_or_else(String::new, Atomic::into_text);
            self.charge_text(text.len() + part.len(), at)?;
            text.push_str(&part);
        }
        Ok(vec![Item::Value(Atomic::String(text))])
    }

    /// Returns an argument that must be text; nothing is the empty text.
    fn text_argument(&mut self, items: Sequence, at: u32) -> Result<String, Error> {
        match self.single(items, at)? {
            None => Ok(String::new()),
            Some(Atomic::Untyped(text) | Atomic::String(text)) => Ok(text),
            Some(other) => Err(type_error(at, &format!("contains() needs a string, not {}", other.kind()))),
        }
    }
}

/// Says whether an order satisfies an operator; NaN has no order and satisfies only "not equal".
fn satisfies(operator: Comparison, order: Option<Ordering>) -> bool {
    let Some(order) = order else { return operator == Comparison::NotEqual };
    match operator {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// Calculates exactly when both numbers are exact, otherwise with doubles.
fn arithmetic(operator: Arithmetic, left: Number, right: Number, at: u32) -> Result<Number, Error> {
    let (Number::Exact(a), Number::Exact(b)) = (left, right) else {
        return doubles(operator, left.to_double(), right.to_double(), at);
    };
    let divides = matches!(operator, Arithmetic::Divide | Arithmetic::DivideWhole | Arithmetic::Remainder);
    if divides && b.is_zero() {
        return Err(Error::DivisionByZero { offset: at });
    }
    let result = match operator {
        Arithmetic::Add => a.add(b),
        Arithmetic::Subtract => a.subtract(b),
        Arithmetic::Multiply => a.multiply(b),
        Arithmetic::Divide => a.divide(b),
        Arithmetic::DivideWhole => a.divide_whole(b),
        Arithmetic::Remainder => a.remainder(b),
    };
    result.map(Number::Exact).ok_or(Error::Overflow { offset: at })
}

fn doubles(operator: Arithmetic, a: f64, b: f64, at: u32) -> Result<Number, Error> {
    Ok(Number::Double(match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => a % b,
        Arithmetic::DivideWhole if b == 0.0 => return Err(Error::DivisionByZero { offset: at }),
        Arithmetic::DivideWhole => {
            let whole = (a / b).trunc();
            let digits = format!("{:.0}", whole.abs());
            let exact = Decimal::parse(&digits).ok_or(Error::Overflow { offset: at })?;
            let signed = if whole < 0.0 { exact.negate() } else { Some(exact) };
            return signed.map(Number::Exact).ok_or(Error::Overflow { offset: at });
        }
    }))
}
