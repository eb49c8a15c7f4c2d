//! Tokens of an expression. The content of element constructors is read by `constructor.rs`, not here.

use super::{Error, xml};

/// What stands at a place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name, perhaps with a prefix. Keywords are names too; the place decides.
    Name(&'a str),
    /// `$name`.
    Variable(&'a str),
    /// A string literal, its escapes resolved.
    Text(String),
    /// Digits, perhaps with a point.
    Exact(&'a str),
    /// Digits with an exponent.
    Double(&'a str),
    /// An operator or delimiter.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// Longer symbols first.
const SYMBOLS: &[&str] = &[
    "//", "..", "!=", "<=", ">=", ":=", "::", "(", ")", "{", "}", "[", "]", ",", "/", "*", "+", "-", "=",
    "<", ">", ".", "@", "|", ";", "?", ":",
];

/// Reads tokens from a text.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    pub(super) text: &'a str,
    /// Byte offset of what is read next.
    pub(super) at: usize,
}

/// Returns the error for a text that is not an expression.
pub(super) fn syntax(offset: usize, message: impl Into<String>, hint: &'static str) -> Error {
    Error::Syntax { offset: place(offset), message: message.into(), hint }
}

/// Returns a byte offset as it is kept; the length of an expression is limited to far less.
pub(super) fn place(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns what is left to read.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips a string if it is next.
    pub(super) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Skips XML whitespace.
    pub(super) fn skip_spaces(&mut self) {
        self.take_while(xml::is_space);
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Reads a name without prefix, if one starts here.
    pub(super) fn name(&mut self) -> Option<&'a str> {
        self.rest().starts_with(xml::is_name_start).then(|| self.take_while(xml::is_name_char))
    }

    /// Skips whitespace and comments, which nest.
    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            self.skip_spaces();
            let start = self.at;
            if !self.eat("(:") {
                return Ok(());
            }
            let mut depth = 1_u32;
            while depth > 0 {
                if self.eat("(:") {
                    depth += 1;
                } else if self.eat(":)") {
                    depth -= 1;
                } else if let Some(c) = self.rest().chars().next() {
                    self.at += c.len_utf8();
                } else {
                    return Err(syntax(start, "comment does not end", "close it with :)"));
                }
            }
        }
    }

    /// Reads the next token and the offset where it starts.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), Error> {
        self.skip_blank()?;
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start)) };
        let second = rest[first.len_utf8()..].chars().next();
        let token = match first {
            '"' | '\'' => Token::Text(self.string(first)?),
            '$' => {
                self.at += 1;
                self.skip_spaces();
                let Some(name) = self.name() else {
                    return Err(syntax(start, "expected a name after $", "write $name"));
                };
                Token::Variable(name)
            }
            c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                self.number(start)?
            }
            c if xml::is_name_start(c) => Token::Name(self.qualified_name(start)),
            _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Token::Symbol(symbol)
                }
                None => return Err(syntax(start, format!("{first:?} has no meaning here"), "remove it")),
            },
        };
        Ok((token, start))
    }

    fn qualified_name(&mut self, start: usize) -> &'a str {
        self.name();
        let local = self.rest().strip_prefix(':').is_some_and(|rest| rest.starts_with(xml::is_name_start));
        if local {
            self.at += 1;
            self.name();
        }
        &self.text[start..self.at]
    }

    fn number(&mut self, start: usize) -> Result<Token<'a>, Error> {
        self.take_while(|c| c.is_ascii_digit());
        // `1..` is no number, and no expression either; a point belongs to the number when only one follows.
        if !self.rest().starts_with("..") && self.eat(".") {
            self.take_while(|c| c.is_ascii_digit());
        }
        let mut exponent = self.clone();
        let double = (exponent.eat("e") || exponent.eat("E")) && {
            let _ = exponent.eat("+") || exponent.eat("-");
            !exponent.take_while(|c| c.is_ascii_digit()).is_empty()
        };
        if double {
            self.at = exponent.at;
        }
        if self.rest().starts_with(xml::is_name_start) {
            return Err(syntax(
                self.at,
                "a name follows a number directly",
                "put a space or an operator between them",
            ));
        }
        let text = &self.text[start..self.at];
        Ok(if double { Token::Double(text) } else { Token::Exact(text) })
    }

    fn string(&mut self, quote: char) -> Result<String, Error> {
        let start = self.at;
        let mut out = String::new();
        self.at += 1;
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(syntax(start, "string does not end", "close it with the quote it starts with"));
            };
            if c == '&' {
                out.push(self.entity()?);
                continue;
            }
            self.at += c.len_utf8();
            if c == quote && !self.eat(quote.encode_utf8(&mut [0; 4])) {
                return Ok(out);
            }
            self.checked(c, self.at - c.len_utf8())?;
            out.push(c);
        }
    }

    /// Refuses a character that data could not hold.
    pub(super) fn checked(&self, c: char, at: usize) -> Result<(), Error> {
        let _ = self;
        if xml::is_xml_char(c) {
            return Ok(());
        }
        Err(syntax(at, format!("{c:?} is a character that XML cannot hold"), "remove it"))
    }

    /// Reads `&lt;`, `&#10;` and the like.
    pub(super) fn entity(&mut self) -> Result<char, Error> {
        let start = self.at;
        let hint = "write &amp; for an ampersand";
        let wrong = || syntax(start, "unknown entity", hint);
        let rest = &self.rest()[1..];
        let name = &rest[..rest.find(';').ok_or_else(wrong)?];
        self.at += name.len() + 2;
        let c = match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#').ok_or_else(wrong)?;
                let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
                let plain = digits.chars().all(|c| c.is_digit(radix));
                let value = u32::from_str_radix(digits, radix).ok().filter(|_| plain);
                value.and_then(char::from_u32).filter(|&c| xml::is_xml_char(c)).ok_or_else(wrong)?
            }
        };
        Ok(c)
    }
}
