//! Invariants of the canonical form.

use super::xml::check;
use super::{Document, ELEMENT_DEPTH_MAX, Error, Fragment, RESULT_BYTES_MAX, compile};

fn parse(content: &str) -> String {
    Fragment::parse(content)
        .map_or_else(|error| format!("{}: {error}", error.code()), |f| f.as_xml().to_owned())
}

#[test]
fn foreign_xml_becomes_canonical() {
    for (content, canonical) in [
        ("", ""),
        ("a &amp; b", "a &amp; b"),
        ("a > b &#13;\u{e9}", "a &gt; b &#xD;\u{e9}"),
        ("<a></a>", "<a/>"),
        ("<a><a/></a>", "<a><a/></a>"),
        ("<a\n/>  <b >x</b>", "<a/><b>x</b>"),
        ("<a>  </a>", "<a>  </a>"),
        ("<a> <b/> </a>", "<a><b/></a>"),
        ("<a> x <b/> </a>", "<a> x <b/> </a>"),
        ("x<!-- c --><![CDATA[<&]]><?pi?>y", "x&lt;&amp;y"),
        ("<?xml version='1.0' encoding='UTF-8'?>\n<a/>", "<a/>"),
        ("<a>", "KN0220: not well-formed XML: expected 'a' tag, not 'content' at line 1, column 4"),
        ("<a/></content><content>", "KN0220: not well-formed XML: unknown token at line 1, column 15"),
        ("<a b='c'/>", "KN0221: element a has an attribute b; case data has elements and text only"),
        ("<a xmlns='u'/>", "KN0222: element a uses an XML namespace; case data has none"),
        ("<a xmlns:p='u'/>", "KN0222: element a uses an XML namespace; case data has none"),
        (
            "<a xml:space='preserve'/>",
            "KN0221: element a has an attribute space; case data has elements and text only",
        ),
        (
            "&undefined;",
            "KN0220: not well-formed XML: unknown entity reference 'undefined' at line 1, column 1",
        ),
    ] {
        assert_eq!(parse(content), canonical, "{content}");
        if let Ok(fragment) = Fragment::parse(content) {
            assert_eq!(Fragment::parse(fragment.as_xml()), Ok(fragment.clone()));
            assert_eq!(check(fragment.as_xml()), Ok(()));
        }
    }
}

#[test]
fn fragments_have_limits() {
    let deep = |levels: u32| "<a>".repeat(levels as usize) + &"</a>".repeat(levels as usize);
    assert!(Fragment::parse(&deep(ELEMENT_DEPTH_MAX)).is_ok());
    assert_eq!(
        Fragment::parse(&deep(ELEMENT_DEPTH_MAX + 1)),
        Err(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX })
    );
    assert_eq!(Fragment::parse(&deep(100_000)), Err(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX }));
    assert!(Fragment::parse(&"x".repeat(RESULT_BYTES_MAX)).is_ok());
    assert!(matches!(Fragment::parse(&"x".repeat(RESULT_BYTES_MAX + 1)), Err(Error::DataTooLarge { .. })));
    assert!(matches!(Fragment::parse(&">".repeat(RESULT_BYTES_MAX)), Err(Error::DataTooLarge { .. })));
}

#[test]
fn children_and_text_are_what_was_put_in() {
    let fragment = Fragment::parse("<a>1<b>2</b>3</a><c/><d><d>4</d></d>").unwrap();
    assert_eq!(fragment.text(), "1234");
    let children = fragment.children();
    let names: Vec<_> = children.iter().map(|(name, content)| (name.as_str(), content.as_xml())).collect();
    assert_eq!(names, [("a", "1<b>2</b>3"), ("c", ""), ("d", "<d>4</d>")]);
    assert_eq!(Fragment::from_children(&children), fragment);
    assert_eq!(Fragment::from_text("<&>\r\u{1}").as_xml(), "&lt;&amp;&gt;&#xD;\u{fffd}");
    assert_eq!(Fragment::from_text("<&>\r").text(), "<&>\r");
    let odd = Fragment::from_children(&[("New Net #1".to_owned(), Fragment::empty())]);
    assert_eq!(odd.as_xml(), "<New_x0020_Net_x0020__x0023_1/>");
}

#[test]
fn stored_text_must_be_canonical() {
    for wrong in [
        "<a></a>",
        "<a>",
        "</a>",
        "<a></b>",
        "a>b",
        "&quot;",
        "<a b='c'/>",
        " <a/>",
        "<a><b/> </a>",
        "<>",
        "<",
        "<a",
        "\u{1}",
        "\r",
        "<!-- -->",
        "<a:b/>",
    ] {
        assert!(matches!(check(wrong), Err(Error::NotCanonical { .. })), "{wrong}");
        assert!(serde_json::from_value::<Fragment>(wrong.into()).is_err(), "{wrong}");
    }
    let bytes = postcard::to_stdvec(&Fragment::from_text("a&b")).unwrap();
    assert_eq!(postcard::from_bytes::<Fragment>(&bytes).unwrap().as_xml(), "a&amp;b");
}

#[test]
fn only_what_says_nothing_else_has_its_verdict_at_once() {
    for (text, verdict) in [
        ("true()", Some(true)),
        ("(false())", Some(false)),
        ("not(true())", None),
        ("true() or /n/a", None),
        ("/n/a", None),
        ("\"true\"", None),
    ] {
        let expression = compile(text).unwrap();
        assert_eq!(expression.verdict(), verdict, "{text}");
        let document = Document { root: "n", variables: &[] };
        assert!(verdict.is_none_or(|verdict| expression.holds(&document) == Ok(verdict)), "{text}");
    }
}
