//! Any bytes as an expression and as data: nothing may panic, and what is printed must be read back the same.
#![no_main]

use knhk::expr::json::{Kind, read, write, written_bytes_max};
use knhk::expr::{Document, Fragment, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, content) = input;
    let fragment = Fragment::parse(content).unwrap_or_else(|_| Fragment::from_text(content));
    assert_eq!(Fragment::parse(fragment.as_xml()).as_ref(), Ok(&fragment));
    let mut json = Vec::new();
    write(&mut json, &fragment, Kind::Number);
    assert!(json.len() <= written_bytes_max(fragment.len_bytes()));
    // What nests deeper than serde_json reads is written all the same.
    if let Ok(again) = read(&mut serde_json::Deserializer::from_slice(&json)) {
        assert_eq!(again.as_ref(), Ok(&fragment));
    }
    let _ = read(&mut serde_json::Deserializer::from_str(content));
    let Ok(expression) = compile(text) else { return };
    assert_eq!(compile(&expression.to_string()).as_ref(), Ok(&expression));
    let variables = [("a", &fragment)];
    let document = Document { root: "n", variables: &variables };
    let _ = expression.holds(&document);
    if let Ok(result) = expression.evaluate(&document) {
        assert_eq!(Fragment::parse(result.as_xml()).as_ref(), Ok(&result));
    }
});
