//! Case data on the wire: JSON by default, XML by content type.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::Error;
use crate::engine::service::{Fragment, Value, ValueKind, json};

/// Reads one value a parameter.
pub(super) fn from_json(members: Map<String, Json>) -> Result<Vec<(String, Fragment)>, Error> {
    let mut data = Vec::with_capacity(members.len());
    for (name, value) in members {
        match json::from_json(&value) {
            Ok(fragment) => data.push((name, fragment)),
            Err(error) => {
                return Err(Error::Data {
                    name: super::query::shorten(&name),
                    code: error.code(),
                    kind: error.kind(),
                    message: error.to_string(),
                    hint: error.hint(),
                });
            }
        }
    }
    Ok(data)
}

/// Reads an XML document: one root element of any name, one child element a parameter.
pub(super) fn from_xml(body: &[u8]) -> Result<Vec<(String, Fragment)>, Error> {
    let text = std::str::from_utf8(body).map_err(|error| Error::XmlShape {
        message: format!("is not UTF-8 at byte {}", error.valid_up_to()),
    })?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let whole = Fragment::parse(text).map_err(|error| Error::Data {
        name: "the body".to_owned(),
        code: error.code(),
        kind: error.kind(),
        message: error.to_string(),
        hint: error.hint(),
    })?;
    let mut roots = whole.children();
    let outside = Fragment::from_children(&roots) != whole;
    let Some((_, root)) = roots.pop().filter(|_| roots.is_empty() && !outside) else {
        return Err(Error::XmlShape { message: "must be one root element".to_owned() });
    };
    let parameters = root.children();
    let mut seen = BTreeSet::new();
    if let Some((name, _)) = parameters.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        return Err(Error::XmlShape { message: format!("has two elements {name} below its root") });
    }
    if Fragment::from_children(&parameters) != root {
        return Err(Error::XmlShape { message: "has text beside the elements below its root".to_owned() });
    }
    Ok(parameters)
}

/// Returns values as a JSON object in their order.
pub(super) fn to_json(values: &[Value]) -> Json {
    Json::Object(values.iter().map(|value| (value.name.clone(), json_of(value))).collect())
}

fn json_of(value: &Value) -> Json {
    let kind = match value.kind {
        ValueKind::Text => json::Kind::Text,
        ValueKind::Number => json::Kind::Number,
        ValueKind::Boolean => json::Kind::Boolean,
    };
    json::to_json(&value.value, kind)
}

/// Returns values as an XML document whose root is `data`.
pub(super) fn to_xml(values: &[Value]) -> String {
    let children: Vec<_> = values.iter().map(|value| (value.name.clone(), value.value.clone())).collect();
    let content = Fragment::from_children(&children);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<data>{}</data>\n", content.as_xml())
}
