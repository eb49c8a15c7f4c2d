//! Element constructors, `<a>text{expression}</a>`: the part of the grammar where spaces and braces are content.

use super::Error;
use super::ast::{Expr, Id, Piece};
use super::lexer::{place, syntax};
use super::parser::Parser;
use super::xml;

/// Text of a constructor that is being read.
#[derive(Default)]
struct Text {
    text: String,
    /// Written as an entity or CDATA: kept even when it is only whitespace.
    explicit: bool,
}

impl Text {
    /// Ends the text: whitespace that only separates tags and braces is layout, not content.
    fn flush(&mut self, pieces: &mut Vec<Piece>) {
        let Self { text, explicit } = std::mem::take(self);
        if !text.is_empty() && (explicit || !text.chars().all(xml::is_space)) {
            pieces.push(Piece::Text(text.into()));
        }
    }
}

impl Parser<'_> {
    /// Reads a constructor; the token that is looked at is its `<`.
    pub(super) fn constructor(&mut self) -> Result<Id, Error> {
        self.lexer.at = self.start;
        let id = self.element()?;
        self.advance()?;
        Ok(id)
    }

    /// Reads one element; the lexer stands at its `<` and ends behind its last `>`.
    fn element(&mut self) -> Result<Id, Error> {
        let start = self.lexer.at;
        self.start = start;
        self.lexer.at += 1;
        let hint = "an element starts as <name>; for a comparison put a value before <";
        let Some(name) = self.lexer.name() else {
            return Err(syntax(start, "expected an expression, found <", hint));
        };
        self.lexer.skip_spaces();
        let mut pieces = Vec::new();
        if !self.lexer.eat("/>") {
            if !self.lexer.eat(">") {
                return Err(self.in_tag(name));
            }
            pieces = self.deeper(|parser| parser.pieces(name, start))?;
        }
        Ok(self.add(start, Expr::Element { name: name.into(), pieces }))
    }

    /// Returns the error for what stands in a start tag behind the name.
    fn in_tag(&self, name: &str) -> Error {
        let offset = place(self.lexer.at);
        let rest = self.lexer.rest();
        if rest.starts_with(':') {
            let hint = "case data has no namespaces";
            return Error::NotSupported { offset, what: "a name with a prefix", hint };
        }
        if rest.starts_with(xml::is_name_start) {
            let hint = "turn the attribute into a child element";
            return Error::NotSupported { offset, what: "an attribute", hint };
        }
        syntax(self.lexer.at, format!("tag <{name} does not end"), "close it with >")
    }

    /// Reads content up to and including the end tag.
    fn pieces(&mut self, name: &str, start: usize) -> Result<Vec<Piece>, Error> {
        let mut pieces = Vec::new();
        let mut text = Text::default();
        loop {
            let at = self.lexer.at;
            let Some(c) = self.lexer.rest().chars().next() else {
                return Err(syntax(
                    start,
                    format!("element {name} does not end"),
                    "close it with an end tag",
                ));
            };
            if self.lexer.eat("</") {
                text.flush(&mut pieces);
                self.end_tag(name, at)?;
                return Ok(pieces);
            }
            if self.lexer.eat("{{") || self.lexer.eat("}}") {
                text.text.push(c);
            } else if self.lexer.eat("<!--") {
                self.until("-->", at)?;
            } else if self.lexer.eat("<?") {
                self.until("?>", at)?;
            } else if self.lexer.eat("<![CDATA[") {
                text.text.push_str(self.until("]]>", at)?);
                text.explicit = true;
            } else if c == '<' {
                text.flush(&mut pieces);
                pieces.push(Piece::Element(self.element()?));
            } else if c == '{' {
                text.flush(&mut pieces);
                pieces.push(Piece::Enclosed(self.enclosed()?));
            } else if c == '}' {
                return Err(syntax(at, "} closes nothing", "write }} for a brace in text"));
            } else if c == '&' {
                text.text.push(self.lexer.entity()?);
                text.explicit = true;
            } else {
                self.lexer.checked(c, at)?;
                self.lexer.at += c.len_utf8();
                text.text.push(c);
            }
        }
    }

    /// Reads `{ expression }`; `{}` is nothing.
    fn enclosed(&mut self) -> Result<Id, Error> {
        self.lexer.at += 1;
        self.advance()?;
        let closes = |parser: &Self| matches!(parser.token, super::lexer::Token::Symbol("}"));
        if closes(self) {
            return Ok(self.add(self.start, Expr::Sequence(Vec::new())));
        }
        let id = self.expression()?;
        // The lexer stands behind the brace: what follows is content again, not a token.
        if closes(self) { Ok(id) } else { Err(self.unexpected("an operator or }")) }
    }

    fn end_tag(&mut self, name: &str, at: usize) -> Result<(), Error> {
        let found = self.lexer.name().unwrap_or_default();
        self.lexer.skip_spaces();
        if found != name || !self.lexer.eat(">") {
            return Err(syntax(at, format!("expected </{name}>"), "end tags close the element opened last"));
        }
        Ok(())
    }

    /// Skips to behind a delimiter and returns what stands before it.
    fn until(&mut self, end: &str, start: usize) -> Result<&str, Error> {
        let rest = self.lexer.rest();
        let Some(length) = rest.find(end) else {
            return Err(syntax(start, format!("{end} is missing"), "close what starts here"));
        };
        let skipped = &rest[..length];
        if let Some(c) = skipped.chars().find(|&c| !xml::is_xml_char(c)) {
            self.lexer.checked(c, start)?;
        }
        self.lexer.at += length + end.len();
        Ok(skipped)
    }
}
