//! From tokens to the tree: one method a level of the grammar, loosest first. Start at [`parse`].

use super::ast::{Arithmetic, Ast, Comparison, Expr, Id, Link, Node, Start, Step, StepTo, Style};
use super::decimal::Decimal;
use super::lexer::{Lexer, Token, place, syntax};
use super::value::Atomic;
use super::{DEPTH_MAX, EXPRESSION_BYTES_MAX, Error, functions};

/// Reads one whole expression.
pub(super) fn parse(text: &str) -> Result<Ast, Error> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Error::TooLong { bytes: text.len(), limit: EXPRESSION_BYTES_MAX });
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        start: 0,
        depth: 0,
        nodes: Vec::new(),
        scope: Vec::new(),
    };
    parser.advance()?;
    let root = parser.expression()?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    Ok(Ast { nodes: parser.nodes, root })
}

/// Reads an expression with one token of lookahead.
pub(super) struct Parser<'a> {
    pub(super) lexer: Lexer<'a>,
    /// The token that is looked at.
    pub(super) token: Token<'a>,
    /// Where it starts; the lexer stands behind it.
    pub(super) start: usize,
    depth: u32,
    nodes: Vec<Node>,
    /// Names that `for` and `let` bind around the present place, outermost first.
    scope: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    /// Moves to the next token.
    pub(super) fn advance(&mut self) -> Result<(), Error> {
        (self.token, self.start) = self.lexer.next()?;
        Ok(())
    }

    /// Adds a node.
    pub(super) fn add(&mut self, at: usize, expr: Expr) -> Id {
        let id = place(self.nodes.len());
        self.nodes.push(Node { at: place(at), expr });
        id
    }

    /// Reads something one level deeper, unless that is too deep.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::TooDeep { offset: place(self.start), limit: DEPTH_MAX });
        }
        self.depth += 1;
        let done = read(self)?;
        self.depth -= 1;
        Ok(done)
    }

    fn at_symbol(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    fn at_name(&self, name: &str) -> bool {
        matches!(self.token, Token::Name(found) if found == name)
    }

    fn eat_symbol(&mut self, symbol: &str) -> Result<bool, Error> {
        let found = self.at_symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Error> {
        if self.eat_symbol(symbol)? { Ok(()) } else { Err(self.unexpected(symbol)) }
    }

    fn expect_name(&mut self, name: &'static str) -> Result<(), Error> {
        if self.at_name(name) { self.advance() } else { Err(self.unexpected(name)) }
    }

    /// Returns the token after the one that is looked at.
    fn peek(&self) -> Result<Token<'a>, Error> {
        Ok(self.lexer.clone().next()?.0)
    }

    /// Returns the error for a token that does not belong here.
    pub(super) fn unexpected(&self, expected: &str) -> Error {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Text(_) => "a string".to_owned(),
            _ => self.lexer.text[self.start..self.lexer.at].to_owned(),
        };
        syntax(
            self.start,
            format!("expected {expected}, found {found}"),
            "docs/reference/expressions.md describes the language",
        )
    }

    fn not_supported(&self, what: &'static str, hint: &'static str) -> Error {
        Error::NotSupported { offset: place(self.start), what, hint }
    }

    /// `a, b, ...`
    pub(super) fn expression(&mut self) -> Result<Id, Error> {
        let start = self.start;
        let first = self.single()?;
        if !self.at_symbol(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat_symbol(",")? {
            items.push(self.single()?);
        }
        Ok(self.add(start, Expr::Sequence(items)))
    }

    /// One item of a sequence or one argument.
    fn single(&mut self) -> Result<Id, Error> {
        self.deeper(|parser| {
            let Token::Name(word) = parser.token else { return parser.or() };
            match (word, parser.peek()?) {
                ("if", Token::Symbol("(")) => parser.condition(),
                ("for" | "let", Token::Variable(_)) => parser.clauses(),
                ("some" | "every", Token::Variable(_)) => {
                    Err(Error::NotYet { offset: place(parser.start), what: format!("`{word}`") })
                }
                _ => parser.or(),
            }
        })
    }

    /// `if (a) then b else c`
    fn condition(&mut self) -> Result<Id, Error> {
        let start = self.start;
        self.advance()?;
        self.expect("(")?;
        let test = self.expression()?;
        self.expect(")")?;
        self.expect_name("then")?;
        let yes = self.single()?;
        self.expect_name("else")?;
        let no = self.single()?;
        Ok(self.add(start, Expr::If { test, yes, no }))
    }

    /// `for $x in a, $y in b let $z := c where d return e`: each clause holds what follows it.
    fn clauses(&mut self) -> Result<Id, Error> {
        let start = self.start;
        let is_for = self.at_name("for");
        self.advance()?;
        self.clause(start, is_for)
    }

    /// One `$x in a` or `$x := a`, and what follows.
    fn clause(&mut self, start: usize, is_for: bool) -> Result<Id, Error> {
        let Token::Variable(name) = self.token else { return Err(self.unexpected("a variable such as $x")) };
        self.advance()?;
        if is_for {
            if self.at_name("at") {
                return Err(Error::NotYet { offset: place(self.start), what: "`at $position`".to_owned() });
            }
            self.expect_name("in")?;
        } else {
            self.expect(":=")?;
        }
        let input = self.single()?;
        self.scope.push(name);
        let body = self.deeper(|parser| parser.after_clause(is_for))?;
        self.scope.pop();
        let name = name.into();
        Ok(self.add(
            start,
            if is_for { Expr::For { name, input, body } } else { Expr::Let { name, input, body } },
        ))
    }

    fn after_clause(&mut self, is_for: bool) -> Result<Id, Error> {
        let start = self.start;
        if self.eat_symbol(",")? {
            return self.clause(start, is_for);
        }
        if self.at_name("for") || self.at_name("let") {
            return self.clauses();
        }
        if self.at_name("order") || self.at_name("stable") {
            return Err(Error::NotYet { offset: place(start), what: "`order by`".to_owned() });
        }
        if !self.at_name("where") {
            self.expect_name("return")?;
            return self.single();
        }
        self.advance()?;
        let test = self.single()?;
        if self.at_name("order") || self.at_name("stable") {
            return Err(Error::NotYet { offset: place(self.start), what: "`order by`".to_owned() });
        }
        self.expect_name("return")?;
        let yes = self.single()?;
        let no = self.add(start, Expr::Sequence(Vec::new()));
        Ok(self.add(start, Expr::If { test, yes, no }))
    }

    fn or(&mut self) -> Result<Id, Error> {
        let start = self.start;
        let first = self.and()?;
        if !self.at_name("or") {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.at_name("or") {
            self.advance()?;
            operands.push(self.and()?);
        }
        Ok(self.add(start, Expr::Or(operands)))
    }

    fn and(&mut self) -> Result<Id, Error> {
        let start = self.start;
        let first = self.comparison()?;
        if !self.at_name("and") {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.at_name("and") {
            self.advance()?;
            operands.push(self.comparison()?);
        }
        Ok(self.add(start, Expr::And(operands)))
    }

    fn comparison(&mut self) -> Result<Id, Error> {
        let left = self.sum()?;
        let (operator, style) = match self.token {
            Token::Symbol("=") => (Comparison::Equal, Style::General),
            Token::Symbol("!=") => (Comparison::NotEqual, Style::General),
            Token::Symbol("<") => (Comparison::Less, Style::General),
            Token::Symbol("<=") => (Comparison::LessOrEqual, Style::General),
            Token::Symbol(">") => (Comparison::Greater, Style::General),
            Token::Symbol(">=") => (Comparison::GreaterOrEqual, Style::General),
            Token::Name("eq") => (Comparison::Equal, Style::Value),
            Token::Name("ne") => (Comparison::NotEqual, Style::Value),
            Token::Name("lt") => (Comparison::Less, Style::Value),
            Token::Name("le") => (Comparison::LessOrEqual, Style::Value),
            Token::Name("gt") => (Comparison::Greater, Style::Value),
            Token::Name("ge") => (Comparison::GreaterOrEqual, Style::Value),
            Token::Name(
                word @ ("to" | "is" | "union" | "intersect" | "except" | "instance" | "cast" | "castable"
                | "treat"),
            ) => {
                return Err(Error::NotYet { offset: place(self.start), what: format!("operator `{word}`") });
            }
            Token::Symbol("|") => {
                return Err(Error::NotYet { offset: place(self.start), what: "operator `|`".to_owned() });
            }
            _ => return Ok(left),
        };
        let at = self.start;
        self.advance()?;
        let right = self.sum()?;
        Ok(self.add(at, Expr::Compare { operator, style, left, right }))
    }

    fn sum(&mut self) -> Result<Id, Error> {
        self.chain(Self::product, |token| match token {
            Token::Symbol("+") => Some(Arithmetic::Add),
            Token::Symbol("-") => Some(Arithmetic::Subtract),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Id, Error> {
        self.chain(Self::signed, |token| match token {
            Token::Symbol("*") => Some(Arithmetic::Multiply),
            Token::Name("div") => Some(Arithmetic::Divide),
            Token::Name("idiv") => Some(Arithmetic::DivideWhole),
            Token::Name("mod") => Some(Arithmetic::Remainder),
            _ => None,
        })
    }

    fn chain(
        &mut self,
        operand: fn(&mut Self) -> Result<Id, Error>,
        operator: fn(&Token<'a>) -> Option<Arithmetic>,
    ) -> Result<Id, Error> {
        let start = self.start;
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = operator(&self.token) {
            let at = place(self.start);
            self.advance()?;
            rest.push(Link { operator, at, operand: operand(self)? });
        }
        Ok(if rest.is_empty() { first } else { self.add(start, Expr::Chain { first, rest }) })
    }

    fn signed(&mut self) -> Result<Id, Error> {
        let start = self.start;
        let (mut signs, mut minus) = (0_u32, false);
        while self.at_symbol("-") || self.at_symbol("+") {
            minus ^= self.at_symbol("-");
            signs += 1;
            self.advance()?;
        }
        let operand = self.path()?;
        Ok(if signs == 0 { operand } else { self.add(start, Expr::Sign { minus, operand }) })
    }

    /// `/a/b`, `//a`, `a/b`, or one primary expression alone.
    fn path(&mut self) -> Result<Id, Error> {
        let at = self.start;
        let mut steps = Vec::new();
        let start = if self.eat_symbol("//")? {
            steps.push(self.step(true)?);
            Start::Root
        } else if self.eat_symbol("/")? {
            if self.starts_step() {
                steps.push(self.step(false)?);
            }
            Start::Root
        } else {
            steps.push(self.step(false)?);
            Start::Context
        };
        while self.at_symbol("/") || self.at_symbol("//") {
            let deep = self.at_symbol("//");
            if steps.is_empty() {
                return Err(self.unexpected("a step"));
            }
            self.advance()?;
            steps.push(self.step(deep)?);
        }
        if let (Start::Context, [Step { to: StepTo::Expr(id), .. }]) = (start, steps.as_slice()) {
            return Ok(*id);
        }
        Ok(self.add(at, Expr::Path { start, steps }))
    }

    /// Says whether the token may start a step after `/`.
    fn starts_step(&self) -> bool {
        match self.token {
            Token::Symbol(symbol) => matches!(symbol, "*" | "." | ".." | "(" | "<" | "@"),
            Token::End => false,
            _ => true,
        }
    }

    fn step(&mut self, deep: bool) -> Result<Step, Error> {
        let at = place(self.start);
        let to = match self.token {
            Token::Symbol("*") => StepTo::AnyChild,
            Token::Symbol(".") => StepTo::Itself,
            Token::Symbol("..") => StepTo::Parent,
            Token::Symbol("@") => {
                return Err(self.not_supported("an attribute", "case data has elements and text only"));
            }
            Token::Name(name) => match self.peek()? {
                Token::Symbol("(") => return self.named_step(name, deep),
                Token::Symbol("::") => {
                    return Err(self.not_supported("an axis", "write a child path, .. or //"));
                }
                _ if name.contains(':') => {
                    return Err(self.not_supported("a name with a prefix", "case data has no namespaces"));
                }
                _ => StepTo::Child(name.into()),
            },
            _ => {
                let id = self.primary()?;
                return self.stepped(Step { at, deep, to: StepTo::Expr(id) });
            }
        };
        self.advance()?;
        self.stepped(Step { at, deep, to })
    }

    /// Checks what follows a step.
    fn stepped(&self, step: Step) -> Result<Step, Error> {
        if self.at_symbol("[") {
            return Err(self.not_supported("a [ ] filter", "write for $x in ... where ... return $x"));
        }
        Ok(step)
    }

    /// A name before a parenthesis: `text()` or a function.
    fn named_step(&mut self, name: &'a str, deep: bool) -> Result<Step, Error> {
        let start = self.start;
        let step = |to| Step { at: place(start), deep, to };
        match name {
            "node"
            | "comment"
            | "processing-instruction"
            | "element"
            | "attribute"
            | "document-node"
            | "item"
            | "typeswitch" => {
                return Err(self.not_supported("a test of node kinds", "write * or text()"));
            }
            _ => {}
        }
        self.advance()?;
        self.advance()?;
        if name == "text" {
            self.expect(")")?;
            return self.stepped(step(StepTo::Text));
        }
        let mut arguments = Vec::new();
        if !self.at_symbol(")") {
            arguments.push(self.single()?);
            while self.eat_symbol(",")? {
                arguments.push(self.single()?);
            }
        }
        self.expect(")")?;
        let function = functions::find(name, arguments.len(), place(start))?;
        let id = self.add(start, Expr::Call { function, arguments });
        self.stepped(step(StepTo::Expr(id)))
    }

    /// A literal, a variable, a parenthesis or a constructor.
    fn primary(&mut self) -> Result<Id, Error> {
        let start = self.start;
        let expr = match &self.token {
            Token::Text(text) => Expr::Literal(Atomic::String(text.clone())),
            Token::Exact(digits) => {
                let number = Decimal::parse(digits).ok_or(Error::Overflow { offset: place(start) })?;
                Expr::Literal(Atomic::Exact(number))
            }
            Token::Double(digits) => {
                let number = digits.parse().ok().filter(|number: &f64| number.is_finite());
                Expr::Literal(Atomic::Double(number.ok_or(Error::Overflow { offset: place(start) })?))
            }
            Token::Variable(name) => {
                let slot = self.scope.iter().rposition(|bound| bound == name);
                let unknown = || Error::UnknownVariable { offset: place(start), name: (*name).to_owned() };
                Expr::Variable { name: (*name).into(), slot: place(slot.ok_or_else(unknown)?) }
            }
            Token::Symbol("(") => return self.parenthesis(),
            Token::Symbol("<") => return self.constructor(),
            _ => return Err(self.unexpected("an expression")),
        };
        self.advance()?;
        Ok(self.add(start, expr))
    }

    fn parenthesis(&mut self) -> Result<Id, Error> {
        let start = self.start;
        self.advance()?;
        if self.eat_symbol(")")? {
            return Ok(self.add(start, Expr::Sequence(Vec::new())));
        }
        let inside = self.expression()?;
        self.expect(")")?;
        Ok(inside)
    }
}
