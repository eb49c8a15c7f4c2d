//! Case data as JSON: the documented form, read and written.

use knhk::expr::json::{Kind, from_json, to_json};
use knhk::expr::{ELEMENT_DEPTH_MAX, Error, Fragment, RESULT_BYTES_MAX};
use serde_json::{Value, json};

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
    let write = |content: &str, kind| to_json(&Fragment::parse(content).unwrap(), kind).to_string();
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
    assert!(to_json(&deep, Kind::Text).to_string().contains("#xml"));
}
