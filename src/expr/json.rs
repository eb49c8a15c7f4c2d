//! Case data as JSON, both ways: what clients send and see.
//!
//! An object is elements in order, an array is its member's element repeated, `null` is no content, everything else
//! is text. Content that has no such form, text beside elements or repeats that are not adjacent, is
//! `{"#content": [...]}`: strings are text, the members of objects are elements. Reading what was written gives the
//! same fragment again; numbers keep the digits they were written with.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::tree::{Bounds, Content, NodeIndex, Tree};
use super::{ELEMENT_DEPTH_MAX, Error, Fragment, xml};

/// The member that holds content in order, where an object of elements cannot say it.
const CONTENT: &str = "#content";
/// The member that holds content as XML text: what lies deeper than [`ELEMENT_DEPTH_MAX`] is shown like this.
const XML: &str = "#xml";

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

/// Returns the JSON form of a variable's content; `kind` decides what text alone becomes.
pub fn to_json(fragment: &Fragment, kind: Kind) -> Value {
    let mut tree = Tree::default();
    let top = tree.root(Content::Document);
    tree.fragment(top, fragment.as_xml());
    value_of(&tree, top, kind, 0)
}

fn value_of(tree: &Tree<'_>, node: NodeIndex, kind: Kind, depth: u32) -> Value {
    let Some(first) = tree.first_child(node) else { return Value::Null };
    if depth > ELEMENT_DEPTH_MAX {
        let mut text = String::new();
        return match tree.write(&mut text, node, Bounds::NONE) {
            Ok(()) => Value::Object(Map::from_iter([(XML.to_owned(), text.into())])),
            Err(_) => Value::Null,
        };
    }
    match tree.content(first) {
        Content::Text(text) if tree.children(node).count() == 1 => scalar(text, kind),
        _ if is_object(tree, node) => object_of(tree, node, depth),
        _ => content_of(tree, node, depth),
    }
}

fn scalar(text: &str, kind: Kind) -> Value {
    match (kind, text) {
        (Kind::Boolean, "true") => Value::Bool(true),
        (Kind::Boolean, "false") => Value::Bool(false),
        (Kind::Number, text) => match serde_json::from_str::<Number>(text) {
            Ok(number) if number.to_string() == text => Value::Number(number),
            _ => text.into(),
        },
        (_, text) => text.into(),
    }
}

/// Says whether the children are elements only, and those of one name stand together.
fn is_object(tree: &Tree<'_>, node: NodeIndex) -> bool {
    let mut seen = HashSet::new();
    let mut last = None;
    tree.children(node).all(|child| match tree.content(child) {
        Content::Element(name) => last.replace(name) == Some(name) || seen.insert(name),
        Content::Text(_) | Content::Document => false,
    })
}

fn object_of(tree: &Tree<'_>, node: NodeIndex, depth: u32) -> Value {
    let mut members: Map<String, Value> = Map::new();
    let mut last = None;
    for child in tree.children(node) {
        let Content::Element(name) = tree.content(child) else { continue };
        let value = value_of(tree, child, Kind::Text, depth + 1);
        if last.replace(name) != Some(name) {
            members.insert(name.to_string(), value);
            continue;
        }
        match members.get_mut(name.as_ref()) {
            Some(Value::Array(values)) => values.push(value),
            Some(single) => *single = Value::Array(vec![single.take(), value]),
            None => {}
        }
    }
    Value::Object(members)
}

fn content_of(tree: &Tree<'_>, node: NodeIndex, depth: u32) -> Value {
    let pieces = tree
        .children(node)
        .map(|child| match tree.content(child) {
            Content::Element(name) => {
                let value = value_of(tree, child, Kind::Text, depth + 1);
                Value::Object(Map::from_iter([(name.to_string(), value)]))
            }
            Content::Text(text) => text.to_string().into(),
            Content::Document => Value::Null,
        })
        .collect();
    Value::Object(Map::from_iter([(CONTENT.to_owned(), Value::Array(pieces))]))
}

/// Reads the JSON form of a variable's content. Errors name the place by JSON pointer.
pub fn from_json(value: &Value) -> Result<Fragment, Error> {
    let mut reader = Reader { tree: Tree::default(), pointer: String::new() };
    let top = reader.tree.root(Content::Document);
    reader.value(top, value, 0)?;
    let mut text = String::new();
    reader.tree.write(&mut text, top, Bounds::DATA).map_err(|error| match error {
        Error::ResultTooLarge { limit } => Error::DataTooLarge { bytes: text.len(), limit },
        Error::ResultTooDeep { limit } => Error::DataTooDeep { limit },
        other => other,
    })?;
    Fragment::from_canonical(text)
}

struct Reader<'a> {
    tree: Tree<'a>,
    pointer: String,
}

impl<'a> Reader<'a> {
    /// Adds the content that a value stands for. Recursion is bounded by the depth of elements.
    fn value(&mut self, parent: NodeIndex, value: &'a Value, depth: u32) -> Result<(), Error> {
        match value {
            Value::Null => Ok(()),
            Value::Bool(truth) => self.text(parent, Cow::Borrowed(if *truth { "true" } else { "false" })),
            Value::Number(number) => self.text(parent, Cow::Owned(number.to_string())),
            Value::String(text) => self.text(parent, Cow::Borrowed(text)),
            Value::Array(_) => Err(Error::JsonArray { pointer: self.pointer.clone() }),
            Value::Object(members) => match (members.len(), members.get(CONTENT), members.get(XML)) {
                (1, Some(pieces), _) => self.pieces(parent, pieces, depth),
                (1, _, Some(text)) => self.xml(parent, text),
                _ => self.members(parent, members, depth),
            },
        }
    }

    fn text(&mut self, parent: NodeIndex, text: Cow<'a, str>) -> Result<(), Error> {
        if let Some(character) = text.chars().find(|&c| !xml::is_xml_char(c)) {
            return Err(Error::JsonCharacter { pointer: self.pointer.clone(), character });
        }
        self.tree.text(parent, text);
        Ok(())
    }

    fn members(
        &mut self,
        parent: NodeIndex,
        members: &'a Map<String, Value>,
        depth: u32,
    ) -> Result<(), Error> {
        for (name, value) in members {
            if !xml::is_name(name) {
                return Err(Error::JsonName { pointer: self.pointer.clone(), name: name.clone() });
            }
            if depth >= ELEMENT_DEPTH_MAX {
                return Err(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX });
            }
            self.below(name, |reader| match value {
                Value::Array(values) => values.iter().enumerate().try_for_each(|(index, value)| {
                    reader.below(&index.to_string(), |reader| {
                        let element = reader.tree.element(parent, name);
                        reader.value(element, value, depth + 1)
                    })
                }),
                value => {
                    let element = reader.tree.element(parent, name);
                    reader.value(element, value, depth + 1)
                }
            })?;
        }
        Ok(())
    }

    fn pieces(&mut self, parent: NodeIndex, pieces: &'a Value, depth: u32) -> Result<(), Error> {
        let wanted = "an array of strings and objects";
        let form = |pointer: &str| Error::JsonForm { pointer: pointer.to_owned(), name: CONTENT, wanted };
        let Value::Array(pieces) = pieces else { return Err(form(&self.pointer)) };
        self.below(CONTENT, |reader| {
            pieces.iter().enumerate().try_for_each(|(index, piece)| {
                reader.below(&index.to_string(), |reader| match piece {
                    Value::String(text) => reader.text(parent, Cow::Borrowed(text)),
                    Value::Object(members) => reader.members(parent, members, depth),
                    _ => Err(form(&reader.pointer)),
                })
            })
        })
    }

    fn xml(&mut self, parent: NodeIndex, text: &Value) -> Result<(), Error> {
        let wanted = "a string of well-formed XML";
        let pointer = self.pointer.clone();
        let Value::String(text) = text else { return Err(Error::JsonForm { pointer, name: XML, wanted }) };
        let fragment = Fragment::parse(text)?;
        self.tree.fragment_copy(parent, fragment.as_xml());
        Ok(())
    }

    /// Does something one step further down; the pointer says where.
    fn below<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let length = self.pointer.len();
        let _ = write!(self.pointer, "/{}", step.replace('~', "~0").replace('/', "~1"));
        let done = act(self)?;
        self.pointer.truncate(length);
        Ok(done)
    }
}
