//! Elements and texts while they are worked on: a flat table of nodes, in document order within each tree.
//!
//! Nodes are added in preorder only, so a smaller number comes first in its tree and a walk needs no recursion.

use std::borrow::Cow;

use super::xml::{self, Event, Scanner};
use super::{ELEMENT_DEPTH_MAX, Error, RESULT_BYTES_MAX};

/// Number of a node in its [`Tree`].
pub(super) type NodeIndex = u32;

const NONE: NodeIndex = NodeIndex::MAX;

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content<'a> {
    /// The top of a data document, or a loose collection of content.
    Document,
    /// An element with this name.
    Element(Cow<'a, str>),
    /// Text, never empty.
    Text(Cow<'a, str>),
}

#[derive(Debug, Clone)]
struct Node<'a> {
    content: Content<'a>,
    parent: NodeIndex,
    first_child: NodeIndex,
    last_child: NodeIndex,
    next: NodeIndex,
}

/// How much may be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    bytes: usize,
    depth: u32,
}

impl Bounds {
    /// What new data must keep to.
    pub(super) const DATA: Self = Self { bytes: RESULT_BYTES_MAX, depth: ELEMENT_DEPTH_MAX };

    /// Returns these, but for no more than so many bytes.
    pub(super) fn within(self, bytes: usize) -> Self {
        Self { bytes: self.bytes.min(bytes), ..self }
    }
}

/// Several trees in one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Tree<'a> {
    /// Returns how many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Starts a tree of its own: a document, or an element without parent.
    pub(super) fn root(&mut self, content: Content<'a>) -> NodeIndex {
        self.push(content, NONE)
    }

    /// Adds an element as the last child.
    pub(super) fn element(&mut self, parent: NodeIndex, name: impl Into<Cow<'a, str>>) -> NodeIndex {
        self.push(Content::Element(name.into()), parent)
    }

    /// Adds text at the end; it joins text that is already last, and empty text adds nothing.
    pub(super) fn text(&mut self, parent: NodeIndex, text: Cow<'a, str>) {
        if text.is_empty() {
            return;
        }
        let last = self.at(parent).last_child;
        if last != NONE
            && let Content::Text(before) = &mut self.nodes[last as usize].content
        {
            before.to_mut().push_str(&text);
            return;
        }
        self.push(Content::Text(text), parent);
    }

    /// Adds canonical content below a node. Returns whether that was done: it is left once the table has more than
    /// `nodes_max` nodes.
    pub(super) fn fragment(&mut self, parent: NodeIndex, canonical: &'a str, nodes_max: usize) -> bool {
        let mut here = parent;
        for event in Scanner::new(canonical) {
            if self.nodes.len() > nodes_max {
                return false;
            }
            match event {
                Event::Open(name) => here = self.element(here, name),
                Event::Empty(name) => {
                    self.element(here, name);
                }
                Event::Close(_) if here != parent => here = self.at(here).parent,
                Event::Close(_) => break,
                Event::Text(escaped) if escaped.contains('&') => {
                    let mut text = String::with_capacity(escaped.len());
                    xml::unescape_into(&mut text, escaped);
                    self.text(here, text.into());
                }
                Event::Text(plain) => self.text(here, plain.into()),
            }
        }
        self.nodes.len() <= nodes_max
    }

    fn push(&mut self, content: Content<'a>, parent: NodeIndex) -> NodeIndex {
        let index =
            NodeIndex::try_from(self.nodes.len()).expect("invariant: sizes and steps bound the table");
        let node = Node { content, parent, first_child: NONE, last_child: NONE, next: NONE };
        self.nodes.push(node);
        if parent != NONE {
            let last = std::mem::replace(&mut self.nodes[parent as usize].last_child, index);
            if last == NONE {
                self.nodes[parent as usize].first_child = index;
            } else {
                self.nodes[last as usize].next = index;
            }
        }
        index
    }

    fn at(&self, index: NodeIndex) -> &Node<'a> {
        &self.nodes[index as usize]
    }

    /// Returns what a node is.
    pub(super) fn content(&self, index: NodeIndex) -> &Content<'a> {
        &self.at(index).content
    }

    /// Returns the node above.
    pub(super) fn parent(&self, index: NodeIndex) -> Option<NodeIndex> {
        some(self.at(index).parent)
    }

    /// Returns the first child.
    pub(super) fn first_child(&self, index: NodeIndex) -> Option<NodeIndex> {
        some(self.at(index).first_child)
    }

    /// Returns the children in order.
    pub(super) fn children(&self, index: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        std::iter::successors(self.first_child(index), |&child| some(self.at(child).next))
    }

    /// Returns the node that follows in preorder within the tree below `top`.
    pub(super) fn following(&self, index: NodeIndex, top: NodeIndex) -> Option<NodeIndex> {
        self.first_child(index).or_else(|| self.after(index, top))
    }

    /// Returns the node that follows the whole tree below `index`, within the tree below `top`.
    fn after(&self, mut index: NodeIndex, top: NodeIndex) -> Option<NodeIndex> {
        while index != top {
            if let Some(next) = some(self.at(index).next) {
                return Some(next);
            }
            index = self.parent(index)?;
        }
        None
    }

    /// Returns the string value: all text at and below a node. And how many nodes were looked at for it.
    pub(super) fn string(&self, index: NodeIndex) -> (String, usize) {
        let mut out = String::new();
        let mut passed = 0;
        let mut here = Some(index);
        while let Some(node) = here {
            passed += 1;
            if let Content::Text(text) = self.content(node) {
                out.push_str(text);
            }
            here = self.following(node, index);
        }
        (out, passed)
    }

    /// Says whether the text children are whitespace that only separates elements.
    pub(super) fn has_separators(&self, index: NodeIndex) -> bool {
        let (mut elements, mut words) = (false, false);
        for child in self.children(index) {
            match self.content(child) {
                Content::Text(text) => words |= !text.chars().all(xml::is_space),
                Content::Element(_) | Content::Document => elements = true,
            }
        }
        elements && !words
    }

    /// Appends the canonical text of everything below a node, as far as the bounds allow.
    pub(super) fn write(&self, out: &mut String, top: NodeIndex, bounds: Bounds) -> Result<(), Error> {
        let mut open: Vec<(NodeIndex, Option<NodeIndex>, bool)> =
            vec![(top, self.first_child(top), self.has_separators(top))];
        while let Some((node, next, separators)) = open.last_mut() {
            if out.len() > bounds.bytes {
                return Err(Error::ResultTooLarge { limit: bounds.bytes });
            }
            let Some(child) = *next else {
                if let Content::Element(name) = self.content(*node)
                    && *node != top
                {
                    out.push_str("</");
                    out.push_str(name);
                    out.push('>');
                }
                open.pop();
                continue;
            };
            *next = some(self.at(child).next);
            match self.content(child) {
                Content::Text(text) if !*separators => xml::escape_into(out, text),
                Content::Text(_) | Content::Document => {}
                Content::Element(name) => {
                    if !xml::is_name(name) {
                        return Err(Error::ResultName { name: name.clone().into_owned() });
                    }
                    if open.len() > bounds.depth as usize {
                        return Err(Error::ResultTooDeep { limit: bounds.depth });
                    }
                    out.push('<');
                    out.push_str(name);
                    if self.first_child(child).is_none() {
                        out.push_str("/>");
                    } else {
                        out.push('>');
                        open.push((child, self.first_child(child), self.has_separators(child)));
                    }
                }
            }
        }
        Ok(())
    }
}

const fn some(index: NodeIndex) -> Option<NodeIndex> {
    if index == NONE { None } else { Some(index) }
}
