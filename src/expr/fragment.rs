//! The value of a variable: the content of one element, as canonical XML text.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::xml::{self, Event, Scanner};
use super::{ELEMENT_DEPTH_MAX, Error, RESULT_BYTES_MAX};

/// The content of one element: text and elements, kept as canonical XML text. Cloning shares the text.
///
/// Equal data has equal text, so equality and hash are those of the bytes. No attributes, namespaces, comments or
/// processing instructions; whitespace between elements is not data and is dropped, unless the content is mixed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fragment {
    /// `None` when it is empty, as most inputs and outputs are: that needs no memory, and no count that threads share.
    text: Option<Arc<str>>,
}

impl Fragment {
    /// Returns the fragment without content: what an unset variable holds.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns the fragment that holds a text; a character that XML cannot hold becomes U+FFFD.
    pub fn from_text(text: &str) -> Self {
        let mut out = String::with_capacity(text.len());
        xml::escape_into(&mut out, text);
        Self::of(&out)
    }

    fn of(text: &str) -> Self {
        Self { text: (!text.is_empty()).then(|| text.into()) }
    }

    /// Reads any well-formed XML content, several elements and text allowed, and makes it canonical.
    ///
    /// A leading XML declaration is skipped, comments and processing instructions are dropped, CDATA becomes text.
    /// Attributes, namespaces and document types are errors.
    pub fn parse(content: &str) -> Result<Self, Error> {
        if content.len() > RESULT_BYTES_MAX {
            return Err(Error::DataTooLarge { bytes: content.len(), limit: RESULT_BYTES_MAX });
        }
        let content = without_declaration(content);
        let whole = format!("<content>{content}</content>");
        let document =
            roxmltree::Document::parse(&whole).map_err(|error| Error::NotXml { message: message(&error) })?;
        let root = document.root_element();
        if root.range() != (0..whole.len()) {
            return Err(Error::NotXml { message: "an element is closed that was never opened".to_owned() });
        }
        let mut out = String::with_capacity(content.len());
        write_children(&mut out, root)?;
        Self::from_canonical(out)
    }

    /// Wraps text that the caller made canonical.
    pub(super) fn from_canonical(text: String) -> Result<Self, Error> {
        if text.len() > RESULT_BYTES_MAX {
            return Err(Error::DataTooLarge { bytes: text.len(), limit: RESULT_BYTES_MAX });
        }
        debug_assert_eq!(xml::check(&text), Ok(()), "canonical text: {text:?}");
        Ok(Self::of(&text))
    }

    /// Returns the canonical XML text.
    pub fn as_xml(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Says whether there is no content at all.
    pub fn is_empty(&self) -> bool {
        self.text.is_none()
    }

    /// Returns the length of the canonical text, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.as_xml().len()
    }

    /// Returns the string value: all text inside, unescaped, without the tags.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for event in Scanner::new(self.as_xml()) {
            if let Event::Text(escaped) = event {
                xml::unescape_into(&mut out, escaped);
            }
        }
        out
    }

    /// Returns the name and content of each element at the top, in order; text beside them is left out.
    pub fn children(&self) -> Vec<(String, Self)> {
        let mut children = Vec::new();
        let text = self.as_xml();
        let mut scanner = Scanner::new(text);
        let (mut depth, mut start) = (0_usize, 0);
        loop {
            let before = scanner.at();
            match scanner.next() {
                None => return children,
                Some(Event::Open(_)) => {
                    depth += 1;
                    if depth == 1 {
                        start = scanner.at();
                    }
                }
                Some(Event::Empty(name)) if depth == 0 => children.push((name.to_owned(), Self::empty())),
                Some(Event::Close(name)) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        children.push((name.to_owned(), Self::of(&text[start..before])));
                    }
                }
                Some(Event::Empty(_) | Event::Text(_)) => {}
            }
        }
    }

    /// Returns the fragment that has these elements, in this order.
    ///
    /// A character that an XML name cannot hold becomes `_xHEX_` (`New Net` becomes `New_x0020_Net`).
    pub fn from_children(children: &[(String, Self)]) -> Self {
        let mut out = String::new();
        for (name, content) in children {
            if xml::is_name(name) {
                push_element(&mut out, name, content.as_xml());
            } else {
                push_element(&mut out, &xml::to_name(name), content.as_xml());
            }
        }
        Self::of(&out)
    }
}

/// Appends one element with canonical content.
pub(super) fn push_element(out: &mut String, name: &str, content: &str) {
    out.push('<');
    out.push_str(name);
    if content.is_empty() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    out.push_str(content);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Cuts off a byte order mark and an XML declaration, which content may start with when it comes from a file.
fn without_declaration(content: &str) -> &str {
    let content = content.strip_prefix('\u{FEFF}').unwrap_or(content);
    match content.strip_prefix("<?xml").filter(|rest| rest.starts_with(xml::is_space)) {
        Some(rest) => rest.find("?>").map_or(content, |end| &rest[end + 2..]),
        None => content,
    }
}

/// Returns what is wrong with foreign XML, the position counted without the element put around it.
fn message(error: &roxmltree::Error) -> String {
    let (text, at) = (error.to_string(), error.pos());
    let shift = if at.row == 1 { "<content>".len() } else { 0 };
    let column = usize::try_from(at.col).unwrap_or(usize::MAX).saturating_sub(shift).max(1);
    text.replace(&format!(" at {}:{}", at.row, at.col), &format!(" at line {}, column {column}", at.row))
}

/// Says whether a text child is whitespace that only separates elements.
fn is_separator(parent: roxmltree::Node<'_, '_>) -> bool {
    parent.children().any(|child| child.is_element())
        && parent
            .children()
            .filter_map(|child| child.is_text().then(|| child.text()).flatten())
            .all(|text| text.chars().all(xml::is_space))
}

/// Writes the children of a foreign element in canonical form. Walks without recursion.
fn write_children(out: &mut String, root: roxmltree::Node<'_, '_>) -> Result<(), Error> {
    let mut open = vec![(root, root.first_child(), is_separator(root))];
    while let Some((node, next, separators)) = open.last_mut() {
        let Some(child) = *next else {
            let name = node.tag_name().name();
            open.pop();
            if !open.is_empty() {
                close(out, name);
            }
            continue;
        };
        *next = child.next_sibling();
        if child.is_element() {
            let name = plain_name(root, child)?;
            if open.len() > ELEMENT_DEPTH_MAX as usize {
                return Err(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX });
            }
            out.push('<');
            out.push_str(name);
            out.push('>');
            open.push((child, child.first_child(), is_separator(child)));
        } else if child.is_text() && !*separators {
            xml::escape_into(out, child.text().unwrap_or_default());
        }
    }
    Ok(())
}

/// Closes the element that was opened last: `<a>` directly before becomes `<a/>`.
fn close(out: &mut String, name: &str) {
    let opened = out.len().checked_sub(name.len() + 2).filter(|&at| {
        out.is_char_boundary(at)
            && out[at..].starts_with('<')
            && out[at + 1..].starts_with(name)
            && out.ends_with('>')
    });
    if opened.is_some() {
        out.pop();
        out.push_str("/>");
    } else {
        out.push_str("</");
        out.push_str(name);
        out.push('>');
    }
}

/// Returns the name of a foreign element, if it has neither attributes nor anything to do with namespaces.
fn plain_name<'a>(root: roxmltree::Node<'a, 'a>, element: roxmltree::Node<'a, 'a>) -> Result<&'a str, Error> {
    let name = element.tag_name().name();
    if let Some(attribute) = element.attributes().next() {
        return Err(Error::Attribute { element: name.to_owned(), attribute: attribute.name().to_owned() });
    }
    if element.tag_name().namespace().is_some() || element.namespaces().len() != root.namespaces().len() {
        return Err(Error::Namespace { element: name.to_owned() });
    }
    Ok(name)
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fragment({:?})", self.as_xml())
    }
}

impl Serialize for Fragment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_xml())
    }
}

impl<'de> Deserialize<'de> for Fragment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Stored)
    }
}

/// Reads a stored fragment and checks that it is canonical.
struct Stored;

impl Visitor<'_> for Stored {
    type Value = Fragment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canonical XML content")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Fragment, E> {
        if !text.is_empty() {
            xml::check(text).map_err(E::custom)?;
        }
        Ok(Fragment::of(text))
    }
}
