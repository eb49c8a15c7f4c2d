//! The canonical text of case data: names, escaping, and a scanner for text that is already canonical.
//!
//! Canonical means: elements and text, nothing else; `<a/>` for an empty element; `&amp;`, `&lt;`, `&gt;` and
//! `&#xD;` escaped, nothing else; no whitespace-only text beside elements, unless other text makes the content
//! mixed. One content has one canonical text, so equal bytes mean equal data.

use super::Error;

/// Says whether a character may start an XML name (XML 1.0, fifth edition, less the colon).
pub(super) fn is_name_start(c: char) -> bool {
    matches!(c, 'A'..='Z' | 'a'..='z' | '_'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// Says whether a character may stand in an XML name after the first.
pub(super) fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Says whether a text is an XML name without a prefix.
pub(super) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(is_name_start) && characters.all(is_name_char)
}

/// Returns the nearest XML name: each character that a name cannot hold becomes `_xHEX_`, as in ISO 9075-14.
pub(super) fn to_name(text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        if is_name_start(c) || (!name.is_empty() && is_name_char(c)) {
            name.push(c);
        } else {
            let _ = write!(name, "_x{:04X}_", u32::from(c));
        }
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

/// Says whether XML 1.0 can hold a character at all.
pub(super) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Says whether a character is XML whitespace.
pub(super) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Appends text in escaped form; a character that XML cannot hold becomes U+FFFD.
pub(super) fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#xD;"),
            c if is_xml_char(c) => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// Appends the text that an escaped text stands for.
pub(super) fn unescape_into(out: &mut String, mut escaped: &str) {
    while let Some(at) = escaped.find('&') {
        out.push_str(&escaped[..at]);
        escaped = &escaped[at..];
        let known = ESCAPES.iter().find(|(entity, _)| escaped.starts_with(entity));
        let (entity, c) = known.copied().unwrap_or(("&", '&'));
        out.push(c);
        escaped = &escaped[entity.len()..];
    }
    out.push_str(escaped);
}

const ESCAPES: [(&str, char); 4] = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&#xD;", '\r')];

/// A piece of canonical text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// `<name>`
    Open(&'a str),
    /// `<name/>`
    Empty(&'a str),
    /// `</name>`
    Close(&'a str),
    /// Text, still escaped; never empty.
    Text(&'a str),
}

/// Walks canonical text. On text that is not canonical it ends early or gives odd events; it never panics.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the byte offset of the next event.
    pub(super) const fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let rest = &self.text[self.at..];
        if !rest.starts_with('<') {
            let length = rest.find('<').unwrap_or(rest.len());
            self.at += length;
            return (length > 0).then_some(Event::Text(&rest[..length]));
        }
        let tag = &rest[1..rest.find('>')?];
        self.at += tag.len() + 2;
        Some(match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
            (Some(name), _) => Event::Close(name),
            (None, Some(name)) => Event::Empty(name),
            (None, None) => Event::Open(tag),
        })
    }
}

/// What the content of one open element has so far.
#[derive(Clone, Copy, Default)]
struct Content {
    elements: bool,
    spaces: bool,
    words: bool,
}

impl Content {
    const fn canonical(self) -> bool {
        !(self.elements && self.spaces && !self.words)
    }
}

/// Checks that stored text is canonical. Linear, without recursion; any depth, because what was stored once must
/// stay readable.
pub(super) fn check(text: &str) -> Result<(), Error> {
    let mut open: Vec<(&str, Content)> = Vec::new();
    let mut here = Content::default();
    let mut scanner = Scanner::new(text);
    let mut after_text = false;
    loop {
        let at = scanner.at();
        let wrong = Err(Error::NotCanonical { at });
        let Some(event) = scanner.next() else {
            let whole = at == text.len() && open.is_empty() && here.canonical();
            return if whole { Ok(()) } else { wrong };
        };
        let fine = match event {
            Event::Open(name) => {
                here.elements = true;
                open.push((name, std::mem::take(&mut here)));
                is_name(name)
            }
            Event::Empty(name) => {
                here.elements = true;
                is_name(name)
            }
            Event::Close(name) => {
                let (inside, empty) = (here, text[..at].ends_with('>') && !here.elements && !after_text);
                let Some((opened, outside)) = open.pop() else { return wrong };
                here = outside;
                opened == name && !empty && inside.canonical()
            }
            Event::Text(escaped) => {
                if escaped.chars().all(is_space) {
                    here.spaces = true;
                } else {
                    here.words = true;
                }
                is_escaped(escaped)
            }
        };
        after_text = matches!(event, Event::Text(_));
        if !fine {
            return wrong;
        }
    }
}

/// Says whether text is escaped exactly as [`escape_into`] does it.
fn is_escaped(text: &str) -> bool {
    text.char_indices().all(|(at, c)| match c {
        '&' => ESCAPES.iter().any(|(entity, _)| text[at..].starts_with(entity)),
        '>' | '\r' => false,
        c => is_xml_char(c),
    })
}
