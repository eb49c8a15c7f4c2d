//! Case data as JSON: the documented form, read and written.

use knhk::expr::json::{Kind, read, write, written_bytes_max};
use knhk::expr::{ELEMENT_DEPTH_MAX, Error, Fragment, RESULT_BYTES_MAX};
use roxmltree::Node;
use serde_json::{Map, Value, json};

use super::ORDER;

#[test]
fn json_is_read_in_its_documented_form() {
    let read = |value: Value| match from_json(&value) {
        Ok(fragment) => fragment.as_xml().to_owned(),
        Err(error) => format!("{}: {error}", error.code()),
    };
    assert_eq!(read(json!(null)), "");
    assert_eq!(read(json!(true)), "true");
    assert_eq!(read(json!("a < b")), "a &lt; b");
    assert_eq!(read(serde_json::from_str("1.50").unwrap()), "1.50");
    assert_eq!(
        read(serde_json::from_str("123456789012345678901234567890").unwrap()),
        "123456789012345678901234567890"
    );
    assert_eq!(read(json!({"b": 1, "a": {"c": null}})), "<b>1</b><a><c/></a>");
    assert_eq!(
        read(json!({"a": [1, {"b": 2}, []]})),
        "KN0231: array at \"/a/2\" has no element name to repeat"
    );
    assert_eq!(read(json!({"a": [1, {"b": 2}], "e": []})), "<a>1</a><a><b>2</b></a>");
    assert_eq!(read(json!([1])), "KN0231: array at \"\" has no element name to repeat");
    assert_eq!(read(json!({"a/b": {}})), "KN0230: \"a/b\" at \"\" is not an XML name");
    assert_eq!(read(json!({"a": {"1": 1}})), "KN0230: \"1\" at \"/a\" is not an XML name");
    assert_eq!(
        read(json!({"a": "\u{1}"})),
        "KN0232: string at \"/a\" has the character '\\u{1}', which XML cannot hold"
    );
    assert_eq!(read(json!({"#content": ["Mind ", {"b": "the"}, " gap"]})), "Mind <b>the</b> gap");
    assert_eq!(read(json!({"#content": [" ", {"b": 1}]})), "<b>1</b>");
    assert_eq!(
        read(json!({"#content": 1})),
        "KN0233: member #content at \"\" is not an array of strings and objects"
    );
    assert_eq!(
        read(json!({"#content": [1]})),
        "KN0233: member #content at \"/#content/0\" is not an array of strings and objects"
    );
    assert_eq!(read(json!({"#content": [], "a": 1})), "KN0230: \"#content\" at \"\" is not an XML name");
    assert_eq!(read(json!({"a": {"#xml": "x<b/>"}})), "<a>x<b/></a>");
    assert_eq!(read(json!({"#xml": 1})), "KN0233: member #xml at \"\" is not a string of well-formed XML");
    let nest = |levels: u32| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    assert!(from_json(&nest(ELEMENT_DEPTH_MAX)).is_ok());
    assert_eq!(from_json(&nest(ELEMENT_DEPTH_MAX + 1)), Err(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX }));
    assert_eq!(read(json!("x".repeat(RESULT_BYTES_MAX))).len(), RESULT_BYTES_MAX);
    assert!(read(json!("x".repeat(RESULT_BYTES_MAX + 1))).starts_with("KN0223"));
}

#[test]
fn json_is_written_by_declared_type() {
    let write = |content: &str, kind| written(&Fragment::parse(content).unwrap(), kind);
    assert_eq!(write("", Kind::Number), "null");
    assert_eq!(write("1.50", Kind::Number), "1.50");
    assert_eq!(write("1.50", Kind::Text), "\"1.50\"");
    assert_eq!(write("007", Kind::Number), "\"007\"");
    assert_eq!(write("true", Kind::Boolean), "true");
    assert_eq!(write("1", Kind::Boolean), "\"1\"");
    assert_eq!(
        write(ORDER, Kind::Text),
        "{\"Line\":[{\"Item\":\"bolt\",\"Price\":\"1.50\",\"Count\":\"4\"},{\"Item\":\"nut & washer\",\"Price\":\"0.25\",\"Count\":\"10\"}]}"
    );
    assert_eq!(
        write("<a/><b/><a>1</a>", Kind::Text),
        "{\"#content\":[{\"a\":null},{\"b\":null},{\"a\":\"1\"}]}"
    );
    assert_eq!(write("x<a/>", Kind::Text), "{\"#content\":[\"x\",{\"a\":null}]}");
    let deep =
        (0..100).fold(Fragment::empty(), |inner, _| Fragment::from_children(&[("a".to_owned(), inner)]));
    assert!(written(&deep, Kind::Text).contains("#xml"));
    assert_eq!(written(&deep, Kind::Text), by_definition(&deep, Kind::Text).to_string());
}

#[test]
fn content_that_takes_the_most_json_stays_within_its_bound() {
    for piece in ["x<a/>", "<a/><b/>", "<a/>", "\"<a/>", "\n", "<a>\\</a>", "&lt;<a/>"] {
        let fragment = Fragment::parse(&piece.repeat(1_000)).unwrap();
        let bytes = written(&fragment, Kind::Text).len();
        let limit = written_bytes_max(fragment.len_bytes());
        assert!(bytes <= limit, "{piece}: {bytes} bytes of JSON, at most {limit}");
    }
}

/// Reads a JSON document as content.
pub(super) fn from_json(value: &Value) -> Result<Fragment, Error> {
    let text = value.to_string();
    read(&mut serde_json::Deserializer::from_str(&text)).unwrap()
}

/// Returns the JSON form as text.
pub(super) fn written(fragment: &Fragment, kind: Kind) -> String {
    let mut out = Vec::new();
    write(&mut out, fragment, kind);
    String::from_utf8(out).unwrap()
}

/// Returns the JSON form as the reference page defines it, made from another parser's tree.
pub(super) fn by_definition(fragment: &Fragment, kind: Kind) -> Value {
    let whole = format!("<content>{}</content>", fragment.as_xml());
    let document = roxmltree::Document::parse(&whole).unwrap();
    define(document.root_element(), &whole, kind, 0)
}

fn define(node: Node<'_, '_>, source: &str, kind: Kind, depth: u32) -> Value {
    let children: Vec<Node<'_, '_>> = node.children().collect();
    let name = |child: &Node<'_, '_>| child.tag_name().name().to_owned();
    let below = |child: Node<'_, '_>| define(child, source, Kind::Text, depth + 1);
    let text = |child: &Node<'_, '_>| child.text().unwrap().to_owned();
    if children.is_empty() {
        return Value::Null;
    }
    if depth > ELEMENT_DEPTH_MAX {
        let inside = children[0].range().start..children[children.len() - 1].range().end;
        return json!({ "#xml": source[inside] });
    }
    if children.len() == 1 && children[0].is_text() {
        let text = text(&children[0]);
        return match (kind, text.as_str()) {
            (Kind::Boolean, "true") => Value::Bool(true),
            (Kind::Boolean, "false") => Value::Bool(false),
            (Kind::Number, number) => match serde_json::from_str::<serde_json::Number>(number) {
                Ok(number) if number.to_string() == text => Value::Number(number),
                _ => text.into(),
            },
            _ => text.into(),
        };
    }
    let mut runs: Vec<(String, Vec<Value>)> = Vec::new();
    for child in children.iter().filter(|child| child.is_element()) {
        match runs.last_mut() {
            Some((last, values)) if *last == name(child) => values.push(below(*child)),
            _ => runs.push((name(child), vec![below(*child)])),
        }
    }
    let names: std::collections::BTreeSet<&String> = runs.iter().map(|run| &run.0).collect();
    if names.len() == runs.len() && children.iter().all(Node::is_element) {
        let member = |(name, mut values): (String, Vec<Value>)| {
            let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
            (name, value)
        };
        return Value::Object(runs.into_iter().map(member).collect());
    }
    let pieces = children.iter().map(|child| {
        if child.is_text() {
            text(child).into()
        } else {
            Value::Object(Map::from_iter([(name(child), below(*child))]))
        }
    });
    json!({ "#content": pieces.collect::<Vec<Value>>() })
}
