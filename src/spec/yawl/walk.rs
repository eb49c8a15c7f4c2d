//! What the reader of every element uses: positions, texts, names, and the lists of what is wrong or has no effect.

use std::collections::{BTreeMap, BTreeSet};

use super::super::codes;
use super::super::mistake::{Mistake, Mistakes, Position, quoted};
use super::super::source::Source;
use super::super::tree::Text;
use crate::error::Code;

/// Longest id or name, in characters.
pub const NAME_CHARS_MAX: usize = 1_024;
/// The namespace of the betas, and that of all versions since.
pub(super) const NAMESPACES: [&str; 2] =
    ["http://www.citi.qut.edu.au/yawl", "http://www.yawlfoundation.org/yawlschema"];
/// The namespace of XML Schema and that of its attributes in documents.
pub(super) const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

pub(super) type Node<'a> = roxmltree::Node<'a, 'a>;

/// Something that has no effect: where it stands first, and how often it stands.
struct Idle {
    at: Position,
    count: usize,
    code: Code,
}

/// One reading under way.
pub(super) struct Walk<'a> {
    source: &'a Source<'a>,
    mistakes: Mistakes,
    idle: BTreeMap<String, Idle>,
    /// Whether an element or flow of a net was left out, so that what is not connected may be its consequence.
    pub(super) has_gaps: bool,
    /// Names of the types that the specification's own schema declares.
    pub(super) schema_types: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self {
            source,
            mistakes: Mistakes::default(),
            idle: BTreeMap::new(),
            has_gaps: false,
            schema_types: BTreeSet::new(),
        }
    }

    /// Returns all mistakes, with one warning for each kind of thing that has no effect.
    pub(super) fn finish(mut self) -> Mistakes {
        for (what, idle) in self.idle {
            let times = if idle.count == 1 { String::new() } else { format!(" ({} times)", idle.count) };
            let hint = if idle.code == codes::WITHOUT_EFFECT {
                "nothing to do, unless the work depends on it"
            } else {
                "check the spelling; what is not known is left out"
            };
            self.mistakes.push(Mistake::warning(
                idle.code,
                idle.at,
                format!("{what}: read, and without effect here{times}"),
                hint,
            ));
        }
        self.mistakes
    }

    pub(super) fn error(
        &mut self,
        code: Code,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.mistakes.push(Mistake::error(code, at, message, hint));
    }

    pub(super) fn warning(
        &mut self,
        code: Code,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.mistakes.push(Mistake::warning(code, at, message, hint));
    }

    /// Notes a thing that is known and has no effect here.
    pub(super) fn without_effect(&mut self, what: &str, at: Position) {
        self.note(what.to_owned(), at, codes::WITHOUT_EFFECT);
    }

    /// Notes an element that is not known, where it cannot change how a net runs.
    pub(super) fn unknown(&mut self, node: Node<'a>, parent: &str) {
        let what = format!("element {} in {parent}", quoted(node.tag_name().name()));
        self.note(what, self.at(node), codes::UNKNOWN_WITHOUT_EFFECT);
    }

    /// Refuses an element that is not known, where it could change how a net runs.
    pub(super) fn unknown_refused(&mut self, node: Node<'a>, parent: &str) {
        let message = format!("element {} is not known in {parent}", quoted(node.tag_name().name()));
        self.error(codes::UNKNOWN_ELEMENT, self.at(node), message, "check the spelling, or take it out");
    }

    fn note(&mut self, what: String, at: Position, code: Code) {
        self.idle.entry(what).or_insert(Idle { at, count: 0, code }).count += 1;
    }

    /// Returns where an element begins.
    pub(super) fn at(&self, node: Node<'a>) -> Position {
        self.source.at(node.range().start)
    }

    /// Returns the children that are YAWL elements; those of other namespaces have no effect.
    pub(super) fn children(&mut self, node: Node<'a>) -> Vec<Node<'a>> {
        let mut children = Vec::new();
        for child in node.children().filter(Node::is_element) {
            if is_yawl(child) {
                children.push(child);
            } else {
                self.unknown(child, node.tag_name().name());
            }
        }
        children
    }

    /// Notes attributes without a known meaning. Those of XML itself and of schema instances are always allowed.
    pub(super) fn attributes(&mut self, node: Node<'a>, known: &[&str]) {
        for attribute in node.attributes() {
            let is_known = match attribute.namespace() {
                None => known.contains(&attribute.name()),
                Some(namespace) => namespace == SCHEMA_INSTANCE || namespace == roxmltree::NS_XML_URI,
            };
            if !is_known {
                let what = format!("attribute {} of {}", quoted(attribute.name()), node.tag_name().name());
                self.note(what, self.source.at(attribute.range().start), codes::UNKNOWN_WITHOUT_EFFECT);
            }
        }
    }

    /// Keeps the first of the elements that may stand once.
    pub(super) fn once(&mut self, slot: &mut Option<Node<'a>>, child: Node<'a>) {
        if slot.is_none() {
            *slot = Some(child);
            return;
        }
        let message = format!("{} stands here a second time", quoted(child.tag_name().name()));
        self.error(codes::REPEATED, self.at(child), message, "keep one of them");
    }

    /// Returns an attribute's value as it stands.
    pub(super) fn attribute(&self, node: Node<'a>, name: &str) -> Option<Text> {
        let attribute = node.attribute_node(name)?;
        Some(Text { text: attribute.value().to_owned(), at: self.source.at(attribute.range_value().start) })
    }

    /// Returns an attribute that must be there.
    pub(super) fn required(&mut self, node: Node<'a>, name: &str) -> Option<Text> {
        let value = self.attribute(node, name);
        if value.is_none() {
            let message = format!("{} has no attribute {name}", node.tag_name().name());
            self.error(codes::MISSING, self.at(node), message, format!("write {name}=\"...\""));
        }
        value
    }

    /// Returns an attribute that must be there and a name.
    pub(super) fn required_name(&mut self, node: Node<'a>, name: &str) -> Option<Text> {
        let value = self.required(node, name)?;
        self.name(value, node.tag_name().name())
    }

    /// Returns the text in an element, without white space around it; comments and elements in it do not count.
    pub(super) fn text(&self, node: Node<'a>) -> Text {
        let mut texts = node.children().filter(|child| child.is_text() && child.text().is_some()).peekable();
        let Some(first) = texts.peek() else {
            return Text { text: String::new(), at: self.at(node) };
        };
        let range = first.range();
        let source = &self.source.text()[range.clone()];
        let inside = source.strip_prefix("<![CDATA[").unwrap_or(source).trim_start();
        let skipped = if inside.is_empty() { 0 } else { source.len() - inside.len() };
        let at = self.source.at(range.start + skipped);
        let all: String = texts.filter_map(|text| text.text()).collect();
        Text { text: all.trim().to_owned(), at }
    }

    /// Returns the text in an element that must be a name.
    pub(super) fn text_name(&mut self, node: Node<'a>) -> Option<Text> {
        let text = self.text(node);
        self.name(text, node.tag_name().name())
    }

    /// Returns the text in an element that must not be empty.
    pub(super) fn text_filled(&mut self, node: Node<'a>) -> Option<Text> {
        let text = self.text(node);
        if text.text.is_empty() {
            let message = format!("{} is empty", node.tag_name().name());
            self.error(codes::MISSING, self.at(node), message, "write its value, or leave the element out");
            return None;
        }
        Some(text)
    }

    /// Returns the text in an element that is a name for people; `None` when it is empty.
    pub(super) fn label(&mut self, node: Option<Node<'a>>) -> Option<String> {
        let text = self.text(node?);
        if text.text.is_empty() {
            return None;
        }
        self.name(text, "name").map(|text| text.text)
    }

    /// Returns the text in an element of any length; `None` when it is empty.
    pub(super) fn prose(&self, node: Option<Node<'a>>) -> Option<String> {
        node.map(|node| self.text(node).text).filter(|text| !text.is_empty())
    }

    /// Returns whether the text in an element or attribute says yes.
    pub(super) fn truth(&mut self, text: &Text) -> bool {
        match text.text.trim() {
            "true" | "1" => true,
            "false" | "0" => false,
            other => {
                let message = format!("{} is neither true nor false", quoted(other));
                self.error(codes::VALUE, text.at, message, "write true or false");
                false
            }
        }
    }

    /// Returns the source between the tags of an element, when it contains elements.
    pub(super) fn inner(&self, node: Node<'a>) -> Option<Text> {
        node.children().find(Node::is_element)?;
        let start = node.first_child()?.range().start;
        let end = node.last_child()?.range().end;
        let text = self.source.text()[start..end].trim().to_owned();
        Some(Text { text, at: self.source.at(start) })
    }

    fn name(&mut self, text: Text, of: &str) -> Option<Text> {
        if text.text.trim().is_empty() {
            self.error(codes::MISSING, text.at, format!("the name or id of {of} is empty"), "give it one");
            return None;
        }
        if text.text.chars().nth(NAME_CHARS_MAX).is_some() {
            let message = format!("the name or id of {of} has more than {NAME_CHARS_MAX} characters");
            self.error(codes::NAME_TOO_LONG, text.at, message, "shorten it");
            return None;
        }
        if text.text.chars().any(char::is_control) {
            let message =
                format!("{}, the name or id of {of}, contains control characters", quoted(&text.text));
            self.error(codes::VALUE, text.at, message, "write letters, digits, spaces and signs only");
            return None;
        }
        Some(text)
    }
}

/// Returns whether an element is in one of YAWL's namespaces.
pub(super) fn is_yawl(node: Node<'_>) -> bool {
    node.tag_name().namespace().is_some_and(|namespace| NAMESPACES.contains(&namespace))
}

/// Returns the local name of an element's `xsi:type`.
pub(super) fn schema_type(node: Node<'_>) -> Option<&str> {
    let name = node.attribute((SCHEMA_INSTANCE, "type"))?.trim();
    Some(name.split_once(':').map_or(name, |(_, local)| local))
}
