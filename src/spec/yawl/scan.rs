//! A cheap look at XML before it becomes a tree: the tree's library bounds neither nesting nor attributes.
//!
//! On a well-formed text it sees exactly the tags that the library sees. On any other text the library stops
//! with an error at or before the point where the two could differ.

/// Deepest nesting of elements.
pub const NESTING_MAX: usize = 256;
/// Most elements of a source.
pub const ELEMENT_COUNT_MAX: usize = 200_000;
/// Most attributes of one element, namespace declarations among them.
pub const ATTRIBUTES_PER_ELEMENT_MAX: usize = 256;
/// Most attributes of a source.
pub const ATTRIBUTE_COUNT_MAX: usize = 400_000;
/// Most namespace declarations of a source: the library copies those in force to each element that adds one.
pub const NAMESPACE_COUNT_MAX: usize = 1_024;

/// What was met that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spec) enum Found {
    /// `<!DOCTYPE`.
    DocumentType,
    /// A named limit was passed: what there is too much of, and the limit.
    TooMuch(&'static str, usize),
}

/// Returns the first thing in `text` that is not allowed, and its byte offset. One pass, no allocation.
pub(in crate::spec) fn scan(text: &str) -> Option<(usize, Found)> {
    let mut at = 0;
    let mut depth = 0_usize;
    let mut elements = 0;
    let mut attributes = 0;
    let mut namespaces = 0;
    while let Some(found) = text[at..].find('<') {
        at += found;
        let rest = &text[at..];
        if let Some(end) = passive(rest) {
            at += end;
            continue;
        }
        if rest.starts_with("<!") {
            return rest.starts_with("<!DOCTYPE").then_some((at, Found::DocumentType));
        }
        let tag = tag(rest)?;
        if rest.starts_with("</") {
            depth = depth.saturating_sub(1);
        } else {
            elements += 1;
            attributes += tag.attributes;
            namespaces += tag.namespaces;
            if !tag.is_empty {
                depth += 1;
            }
            for (count, max, what) in [
                (depth, NESTING_MAX, "levels of nesting"),
                (elements, ELEMENT_COUNT_MAX, "elements"),
                (tag.attributes, ATTRIBUTES_PER_ELEMENT_MAX, "attributes in one element"),
                (attributes, ATTRIBUTE_COUNT_MAX, "attributes"),
                (namespaces, NAMESPACE_COUNT_MAX, "namespace declarations"),
            ] {
                if count > max {
                    return Some((at, Found::TooMuch(what, max)));
                }
            }
        }
        at += tag.length;
    }
    None
}

/// Returns the length of a comment, CDATA section or processing instruction that begins here; all that is left when
/// it has no end.
fn passive(rest: &str) -> Option<usize> {
    [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")].into_iter().find_map(|(open, close)| {
        let inside = rest.strip_prefix(open)?;
        Some(inside.find(close).map_or(rest.len(), |end| open.len() + end + close.len()))
    })
}

struct Tag {
    length: usize,
    is_empty: bool,
    attributes: usize,
    namespaces: usize,
}

/// Measures the tag that begins here; `None` when it has no end. A `>` in an attribute's value does not end it.
fn tag(rest: &str) -> Option<Tag> {
    let bytes = rest.as_bytes();
    let (mut attributes, mut namespaces) = (0, 0);
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            quote @ (b'"' | b'\'') => at += 1 + rest[at + 1..].find(char::from(quote))?,
            b'=' => attributes += 1,
            b'>' => {
                return Some(Tag { length: at + 1, is_empty: bytes[at - 1] == b'/', attributes, namespaces });
            }
            b'x' if bytes[at - 1].is_ascii_whitespace() && bytes[at..].starts_with(b"xmlns") => {
                namespaces += 1;
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ATTRIBUTES_PER_ELEMENT_MAX, ELEMENT_COUNT_MAX, Found, NAMESPACE_COUNT_MAX, NESTING_MAX, scan,
    };

    #[test]
    fn nesting_is_counted_at_the_limit_and_not_fooled() {
        let noise = "<!-- <a> --><![CDATA[<a><a>]]><?pi <a>?><b c='>' d=\"/>\"></b><e f='/'/>";
        let nested = |depth: usize| format!("{}{noise}{}", "<a x='>'>".repeat(depth), "</a >".repeat(depth));
        assert_eq!(scan(&nested(NESTING_MAX - 1)), None);
        assert_eq!(
            scan(&nested(NESTING_MAX)).map(|found| found.1),
            Some(Found::TooMuch("levels of nesting", NESTING_MAX)),
            "the element within is one level more"
        );
        assert_eq!(scan(&"<a><b/></a>".repeat(1_000)), None);
    }

    #[test]
    fn counts_are_held_at_their_limits() {
        let with = |element: &str, count| format!("<a>{}</a>", element.repeat(count));
        assert_eq!(scan(&with("<b/>", ELEMENT_COUNT_MAX - 1)), None);
        assert!(scan(&with("<b/>", ELEMENT_COUNT_MAX)).is_some());
        let attributes = |count| format!("<a {}/>", "b='='\n".repeat(count));
        assert_eq!(scan(&attributes(ATTRIBUTES_PER_ELEMENT_MAX)), None);
        assert!(scan(&attributes(ATTRIBUTES_PER_ELEMENT_MAX + 1)).is_some());
        assert_eq!(scan(&with("<b xmlns:c='d'/>", NAMESPACE_COUNT_MAX)), None);
        assert!(scan(&with("<b xmlns:c='d'/>", NAMESPACE_COUNT_MAX + 1)).is_some());
        assert!(scan(&with("<b c='1' d='2' e='3'/>", 150_000)).is_some());
    }

    #[test]
    fn a_document_type_is_seen_and_torn_text_ends_quietly() {
        assert_eq!(scan("<?xml version='1.0'?>\n<!DOCTYPE a>"), Some((22, Found::DocumentType)));
        for torn in ["<", "<a", "<a b='", "<!-- ", "<![CDATA[", "<?", "<!", "<a>é<", "</"] {
            assert_eq!(scan(torn), None, "{torn}");
        }
    }
}
