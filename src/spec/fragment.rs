//! Pieces of XML inside of values.

use super::yawl;

/// Returns what prevents `text` from being the content of an element; several roots and bare text are allowed.
pub(super) fn fault(text: &str) -> Option<String> {
    if !text.contains(['<', '&', ']', '\0']) {
        return None;
    }
    let wrapped = format!("<value>{text}</value>");
    yawl::parse(&wrapped).err().map(|fault| fault.message)
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn fragments_are_what_an_element_may_contain() {
        for fits in ["", "text", "<a/><b/>", "a<b>c</b>d", "&amp;&#10;", "<!-- x -->"] {
            assert_eq!(fault(fits), None, "{fits}");
        }
        for wrong in [
            "<a>",
            "</a>",
            "</value><value>",
            "</value><!-- -->",
            "a & b",
            "<p:a/>",
            "<!DOCTYPE a>",
            "]]>",
            "<?xml version='1.0'?>",
        ] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
        assert!(fault(&"<a>".repeat(100_000)).is_some());
    }
}
