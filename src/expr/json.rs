//! Case data as JSON, both ways: what clients send and see.
//!
//! An object is elements in order, an array is its member's element repeated, `null` is no content, everything else
//! is text. Content that has no such form, text beside elements or repeats that are not adjacent, is
//! `{"#content": [...]}`: strings are text, the members of objects are elements. Reading what was written gives the
//! same fragment again; numbers keep the digits they were written with.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

pub use super::Error;
use super::xml::{self, Event, Scanner};
use super::{ELEMENT_DEPTH_MAX, Fragment, RESULT_BYTES_MAX};

/// The member that holds content in order, where an object of elements cannot say it.
const CONTENT: &str = "#content";
/// The member that holds content as XML text: what lies deeper than [`ELEMENT_DEPTH_MAX`] is shown like this.
const XML: &str = "#xml";

/// The member by which `serde_json` hands over a number whose digits are kept.
pub(crate) const NUMBER: &str = "$serde_json::private::Number";

/// How a variable is declared, as far as its JSON form is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text is a string.
    Text,
    /// Text that is a JSON number is a number, other text a string.
    Number,
    /// `true` and `false` are booleans, other text a string.
    Boolean,
}

/// Writes the JSON form of a variable's content; `kind` decides what text alone becomes. Takes memory for two bytes
/// an element and, for each open one, for the names of its children.
pub fn write(out: &mut Vec<u8>, fragment: &Fragment, kind: Kind) {
    let mut writer = Writer { out, xml: fragment.as_xml(), shapes: shapes(fragment.as_xml()), at: 0 };
    writer.run(kind);
}

/// Returns the most bytes that [`write`] writes for content of so many bytes of XML text: `"<a/>` repeated takes the most,
/// 16 bytes for 5.
pub const fn written_bytes_max(xml_bytes: usize) -> usize {
    const EMPTY: usize = "{\"#content\":[]}".len();
    EMPTY + xml_bytes.saturating_mul(4)
}

/// How the content of an element is written, and how the element stands among its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    form: Form,
    run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `null`.
    Empty,
    /// Text alone: a scalar.
    Text,
    /// Elements only, and those of one name stand together: an object.
    Object,
    /// Anything else: pieces in order.
    Pieces,
}

/// Siblings of one name that stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// No neighbour has its name.
    Alone,
    /// The first of several.
    First,
    /// One of the others.
    Next,
}

/// What is known of an element that is open, or of the document.
struct Open<'a> {
    shape: usize,
    texts: u32,
    has_elements: bool,
    is_mixed: bool,
    last: Option<(&'a str, usize)>,
    seen: HashSet<&'a str>,
}

impl<'a> Open<'a> {
    fn new(shape: usize) -> Self {
        Self { shape, texts: 0, has_elements: false, is_mixed: false, last: None, seen: HashSet::new() }
    }

    /// Takes note of a child of this name, whose shape has this number.
    fn child(&mut self, name: &'a str, shape: usize, shapes: &mut [Shape]) {
        self.has_elements = true;
        match self.last {
            Some((last, first)) if last == name => {
                shapes[first].run = Run::First;
                shapes[shape].run = Run::Next;
            }
            _ => {
                self.is_mixed |= !self.seen.insert(name);
                self.last = Some((name, shape));
            }
        }
    }

    fn form(&self) -> Form {
        match (self.has_elements, self.texts) {
            (false, 0) => Form::Empty,
            (false, 1) => Form::Text,
            (true, 0) if !self.is_mixed => Form::Object,
            _ => Form::Pieces,
        }
    }
}

/// Returns the shape of the document and of each element in it, in the order in which they begin.
fn shapes(xml: &str) -> Vec<Shape> {
    let mut shapes = vec![Shape { form: Form::Empty, run: Run::Alone }];
    let mut open = vec![Open::new(0)];
    for event in Scanner::new(xml) {
        let Some(here) = open.last_mut() else { break };
        match event {
            Event::Text(_) => here.texts += 1,
            Event::Open(name) | Event::Empty(name) => {
                let shape = shapes.len();
                shapes.push(Shape { form: Form::Empty, run: Run::Alone });
                here.child(name, shape, &mut shapes);
                if matches!(event, Event::Open(_)) {
                    open.push(Open::new(shape));
                }
            }
            Event::Close(_) => {
                shapes[here.shape].form = here.form();
                open.pop();
            }
        }
    }
    if let Some(document) = open.first() {
        shapes[0].form = document.form();
    }
    shapes
}

/// What is being written around the next value.
struct Level {
    form: Form,
    is_first: bool,
    /// A member's array is open.
    is_in_array: bool,
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    xml: &'a str,
    shapes: Vec<Shape>,
    /// Number of the next element's shape.
    at: usize,
}

impl Writer<'_> {
    fn run(&mut self, kind: Kind) {
        let mut scanner = Scanner::new(self.xml);
        let mut levels: Vec<Level> = Vec::new();
        let document = self.next_shape();
        match document.form {
            Form::Empty => self.out.extend_from_slice(b"null"),
            Form::Text => self.scalar(scanner.next(), kind),
            form => levels.push(self.begin(form)),
        }
        while let Some(level) = levels.last_mut() {
            match scanner.next() {
                Some(Event::Text(escaped)) => {
                    self.comma(level);
                    self.text(escaped);
                }
                Some(Event::Empty(name)) => {
                    let shape = self.next_shape();
                    self.name(level, name, shape.run);
                    self.out.extend_from_slice(b"null");
                    self.end_piece(level);
                }
                Some(Event::Open(name)) => {
                    let shape = self.next_shape();
                    self.name(level, name, shape.run);
                    if levels.len() > ELEMENT_DEPTH_MAX as usize {
                        self.as_xml(&mut scanner);
                    } else if shape.form == Form::Text {
                        self.scalar(scanner.next(), Kind::Text);
                        scanner.next();
                    } else {
                        levels.push(self.begin(shape.form));
                        continue;
                    }
                    if let Some(level) = levels.last() {
                        self.end_piece(level);
                    }
                }
                Some(Event::Close(_)) | None => {
                    if level.is_in_array {
                        self.out.push(b']');
                    }
                    let end: &[u8] = if level.form == Form::Object { b"}" } else { b"]}" };
                    self.out.extend_from_slice(end);
                    levels.pop();
                    if let Some(level) = levels.last() {
                        self.end_piece(level);
                    }
                }
            }
        }
    }

    fn next_shape(&mut self) -> Shape {
        let shape = self.shapes.get(self.at).copied();
        self.at += 1;
        shape.unwrap_or(Shape { form: Form::Pieces, run: Run::Alone })
    }

    fn begin(&mut self, form: Form) -> Level {
        if form == Form::Object {
            self.out.push(b'{');
        } else {
            self.out.extend_from_slice(b"{\"#content\":[");
        }
        Level { form, is_first: true, is_in_array: false }
    }

    fn comma(&mut self, level: &mut Level) {
        if !std::mem::take(&mut level.is_first) {
            self.out.push(b',');
        }
    }

    /// Writes what comes before the value of an element.
    fn name(&mut self, level: &mut Level, name: &str, run: Run) {
        if level.form != Form::Object {
            self.comma(level);
            self.out.push(b'{');
        } else if run == Run::Next {
            return self.out.push(b',');
        } else {
            if std::mem::take(&mut level.is_in_array) {
                self.out.push(b']');
            }
            self.comma(level);
        }
        self.text(name);
        self.out.push(b':');
        if level.form == Form::Object && run == Run::First {
            self.out.push(b'[');
            level.is_in_array = true;
        }
    }

    fn end_piece(&mut self, level: &Level) {
        if level.form != Form::Object {
            self.out.push(b'}');
        }
    }

    fn scalar(&mut self, event: Option<Event<'_>>, kind: Kind) {
        let Some(Event::Text(escaped)) = event else { return self.out.extend_from_slice(b"null") };
        let is_plain = match kind {
            Kind::Text => false,
            Kind::Boolean => matches!(escaped, "true" | "false"),
            Kind::Number => {
                serde_json::from_str::<Number>(escaped).is_ok_and(|number| number.to_string() == escaped)
            }
        };
        if is_plain {
            self.out.extend_from_slice(escaped.as_bytes());
        } else {
            self.text(escaped);
        }
    }

    fn text(&mut self, escaped: &str) {
        let text = if escaped.contains('&') {
            let mut text = String::with_capacity(escaped.len());
            xml::unescape_into(&mut text, escaped);
            Cow::Owned(text)
        } else {
            Cow::Borrowed(escaped)
        };
        serde_json::to_writer(&mut *self.out, &text).expect("invariant: a text has a JSON form");
    }

    /// Writes the content of the element that was just opened as XML text, and goes on behind it.
    fn as_xml(&mut self, scanner: &mut Scanner<'_>) {
        let from = scanner.at();
        let mut depth = 1_usize;
        let mut to = from;
        while depth > 0 {
            to = scanner.at();
            match scanner.next() {
                Some(Event::Open(_)) => {
                    depth += 1;
                    self.at += 1;
                }
                Some(Event::Empty(_)) => self.at += 1,
                Some(Event::Close(_)) => depth -= 1,
                Some(Event::Text(_)) => {}
                None => break,
            }
        }
        let content = &self.xml[from..to];
        self.out.extend_from_slice(b"{\"#xml\":");
        serde_json::to_writer(&mut *self.out, content).expect("invariant: a text has a JSON form");
        self.out.push(b'}');
    }
}

/// Reads the JSON form of a variable's content, piece by piece: nothing is built whole but the content. The outer error is
/// what is wrong with the JSON, the inner one with the content; that names the place by JSON pointer.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<Fragment, Error>, D::Error> {
    Content.deserialize(deserializer)
}

/// Reads a variable's content, as a part of something larger.
#[derive(Debug, Clone, Copy)]
pub struct Content;

impl<'de> DeserializeSeed<'de> for Content {
    type Value = Result<Fragment, Error>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut reading = Reading::default();
        let inside = Inside { reading: &mut reading, depth: 0, place: Place::Value };
        inside.deserialize(deserializer)?;
        Ok(match reading.error {
            Some(error) => Err(error),
            None => Fragment::from_canonical(reading.out),
        })
    }
}

/// What was read so far: canonical text, and where in the JSON the reader stands. After an error nothing more is written,
/// and the rest is only skipped.
#[derive(Default)]
struct Reading {
    out: String,
    pointer: String,
    error: Option<Error>,
    /// Bytes of white space that may turn out to be no content.
    spaces_bytes: usize,
}

impl Reading {
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn fail_form(&mut self, name: &'static str, wanted: &'static str) {
        let pointer = self.pointer.clone();
        self.fail(Error::JsonForm { pointer, name, wanted });
    }

    fn text(&mut self, text: &str) {
        if let Some(character) = text.chars().find(|&c| !xml::is_xml_char(c)) {
            let pointer = self.pointer.clone();
            return self.fail(Error::JsonCharacter { pointer, character });
        }
        if self.error.is_none() {
            xml::escape_into(&mut self.out, text);
            self.check_bytes();
        }
    }

    fn check_bytes(&mut self) {
        let bytes = self.out.len().saturating_sub(self.spaces_bytes);
        if bytes > RESULT_BYTES_MAX {
            self.fail(Error::DataTooLarge { bytes, limit: RESULT_BYTES_MAX });
        }
    }

    /// Begins an element of this name, and returns where its content begins.
    fn open(&mut self, name: &str) -> usize {
        if self.error.is_none() {
            self.out.push('<');
            self.out.push_str(name);
            self.out.push('>');
        }
        self.out.len()
    }

    fn close(&mut self, name: &str, from: usize) {
        if self.error.is_some() {
            return;
        }
        if self.out.len() == from {
            self.out.truncate(from - 1);
            self.out.push_str("/>");
        } else {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
        self.check_bytes();
    }

    /// Does something one step further down; the pointer says where.
    fn below<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape(step));
        let done = act(self);
        self.pointer.truncate(length);
        done
    }
}

/// Returns a step of a JSON pointer, escaped.
fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1").into() } else { name.into() }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the content of an element or variable.
    Value,
    /// It is a piece of content in order.
    Piece,
}

/// What a value came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Nothing,
    Spaces,
    Words,
    Elements,
}

/// Reads a value into the element that is open, which is so deep.
struct Inside<'a> {
    reading: &'a mut Reading,
    depth: u32,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = Came;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Came, D::Error> {
        deserializer.deserialize_any(self)
    }
}

const PIECES: &str = "an array of strings and objects";

impl Inside<'_> {
    /// Adds text; other scalars than strings are no pieces.
    fn scalar(self, text: &str) -> Came {
        if self.place == Place::Piece {
            self.reading.fail_form(CONTENT, PIECES);
        }
        self.text(text)
    }

    fn text(self, text: &str) -> Came {
        self.reading.text(text);
        match text {
            "" => Came::Nothing,
            text if text.chars().all(xml::is_space) => Came::Spaces,
            _ => Came::Words,
        }
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Came;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Came, E> {
        Ok(self.scalar(""))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Came, E> {
        Ok(self.scalar(if truth { "true" } else { "false" }))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Came, E> {
        Ok(self.scalar(&number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Came, E> {
        Ok(self.scalar(&number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Came, E> {
        let number = Number::from_f64(number).map(|number| number.to_string());
        Ok(self.scalar(&number.unwrap_or_default()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Came, E> {
        Ok(self.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Came, A::Error> {
        if self.place == Place::Piece {
            self.reading.fail_form(CONTENT, PIECES);
        } else {
            let pointer = self.reading.pointer.clone();
            self.reading.fail(Error::JsonArray { pointer });
        }
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Came::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Came, A::Error> {
        let Self { reading, depth, place } = self;
        let from = reading.out.len();
        let mut first = map.next_key::<String>()?;
        match first.as_deref() {
            // How serde_json hands over a number with its digits.
            Some(NUMBER) => {
                let text = map.next_value::<String>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Inside { reading, depth, place }.scalar(&text));
            }
            Some(CONTENT) if place == Place::Value => {
                let pieces = |reading: &mut Reading| map.next_value_seed(Pieces { reading, depth });
                let came = reading.below(CONTENT, pieces)?;
                return alone(reading, map, CONTENT).map(|()| came);
            }
            Some(XML) if place == Place::Value => {
                let came = map.next_value_seed(Xml { reading, depth })?;
                return alone(reading, map, XML).map(|()| came);
            }
            _ => {}
        }
        while let Some(name) = first.take().map_or_else(|| map.next_key(), |name| Ok(Some(name)))? {
            if !xml::is_name(&name) {
                let pointer = reading.pointer.clone();
                reading.fail(Error::JsonName { pointer, name: name.clone() });
            } else if depth >= ELEMENT_DEPTH_MAX {
                reading.fail(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX });
            }
            let member = |reading: &mut Reading| {
                map.next_value_seed(Member { reading, name: &name, depth: depth + 1 })
            };
            reading.below(&name, member)?;
        }
        Ok(if reading.out.len() > from { Came::Elements } else { Came::Nothing })
    }
}

/// Checks that a member that stands for the whole content is the only one.
fn alone<'de, A: MapAccess<'de>>(reading: &mut Reading, mut map: A, name: &str) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
        let pointer = reading.pointer.clone();
        reading.fail(Error::JsonName { pointer, name: name.to_owned() });
    }
    Ok(())
}

/// Reads the value of a member: an element, or an array of several.
struct Member<'a> {
    reading: &'a mut Reading,
    name: &'a str,
    depth: u32,
}

impl Member<'_> {
    /// Reads one element by what is given to read its content.
    fn element<E>(self, read: impl FnOnce(Inside<'_>) -> Result<Came, E>) -> Result<(), E> {
        let Self { reading, name, depth } = self;
        let from = reading.open(name);
        read(Inside { reading: &mut *reading, depth, place: Place::Value })?;
        reading.close(name, from);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.element(|inside| inside.visit_unit())
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<(), E> {
        self.element(|inside| inside.visit_bool(truth))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.element(|inside| inside.visit_u64(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.element(|inside| inside.visit_i64(number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.element(|inside| inside.visit_f64(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.element(|inside| inside.visit_str(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.element(|inside| inside.visit_map(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Self { reading, name, depth } = self;
        for at in 0_u64.. {
            let next = |reading: &mut Reading| sequence.next_element_seed(Item { reading, name, depth });
            if reading.below(&at.to_string(), next)?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads an item of an array as an element: an array in it has no name to repeat.
struct Item<'a> {
    reading: &'a mut Reading,
    name: &'a str,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { reading, name, depth } = self;
        Member { reading, name, depth }.element(|inside| deserializer.deserialize_any(inside))
    }
}

/// Reads pieces of content in order.
struct Pieces<'a> {
    reading: &'a mut Reading,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Pieces<'_> {
    type Value = Came;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Came, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pieces<'_> {
    type Value = Came;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PIECES)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Came, A::Error> {
        let Self { reading, depth } = self;
        let (mut came, mut has_elements) = (Came::Nothing, false);
        // White space so far; between elements alone it is no content.
        let mut spaces: Vec<Range<usize>> = Vec::new();
        for at in 0_u64.. {
            let from = reading.out.len();
            let place = Place::Piece;
            let next = |reading: &mut Reading| sequence.next_element_seed(Inside { reading, depth, place });
            match reading.below(&at.to_string(), next)? {
                None => break,
                Some(Came::Nothing) => {}
                Some(Came::Elements) => has_elements = true,
                Some(Came::Words) => came = Came::Words,
                Some(Came::Spaces) => {
                    reading.spaces_bytes += reading.out.len() - from;
                    spaces.push(from..reading.out.len());
                }
            }
        }
        let spaces_bytes: usize = spaces.iter().map(Range::len).sum();
        reading.spaces_bytes -= spaces_bytes;
        if has_elements && came != Came::Words && reading.error.is_none() {
            remove(&mut reading.out, &spaces);
        }
        reading.check_bytes();
        Ok(if has_elements { Came::Elements } else { came })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Came, A::Error> {
        self.wrong();
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Came::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Came, E> {
        Ok(self.wrong())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Came, E> {
        Ok(self.wrong())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Came, E> {
        Ok(self.wrong())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Came, E> {
        Ok(self.wrong())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Came, E> {
        Ok(self.wrong())
    }

    fn visit_str<E>(self, _: &str) -> Result<Came, E> {
        Ok(self.wrong())
    }
}

impl Pieces<'_> {
    fn wrong(self) -> Came {
        // The member is named by the message.
        let length = self.reading.pointer.len() - "/".len() - CONTENT.len();
        let pointer = self.reading.pointer[..length].to_owned();
        self.reading.fail(Error::JsonForm { pointer, name: CONTENT, wanted: PIECES });
        Came::Nothing
    }
}

/// Removes parts of a text; they ascend.
fn remove(text: &mut String, parts: &[Range<usize>]) {
    let Some(first) = parts.first() else { return };
    let mut kept = String::with_capacity(text.len());
    kept.push_str(&text[..first.start]);
    for (at, part) in parts.iter().enumerate() {
        let next = parts.get(at + 1).map_or(text.len(), |next| next.start);
        kept.push_str(&text[part.end..next]);
    }
    *text = kept;
}

/// Reads content that is given as XML text.
struct Xml<'a> {
    reading: &'a mut Reading,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Xml<'_> {
    type Value = Came;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Came, D::Error> {
        let Some(text) = deserializer.deserialize_any(OnlyText)? else {
            self.reading.fail_form(XML, "a string of well-formed XML");
            return Ok(Came::Nothing);
        };
        match Fragment::parse(&text) {
            Err(error) => self.reading.fail(error),
            Ok(content) if self.depth + depth_of(content.as_xml()) > ELEMENT_DEPTH_MAX => {
                self.reading.fail(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX });
            }
            Ok(content) if self.reading.error.is_none() => {
                self.reading.out.push_str(content.as_xml());
                self.reading.check_bytes();
            }
            Ok(_) => {}
        }
        Ok(Came::Elements)
    }
}

/// Reads a string; of anything else nothing is kept.
struct OnlyText;

impl<'de> Visitor<'de> for OnlyText {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Returns how deep elements nest in canonical text.
fn depth_of(xml: &str) -> u32 {
    let (mut depth, mut deepest) = (0_u32, 0);
    for event in Scanner::new(xml) {
        match event {
            Event::Open(_) => depth += 1,
            Event::Close(_) => depth = depth.saturating_sub(1),
            Event::Empty(_) => deepest = deepest.max(depth + 1),
            Event::Text(_) => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
