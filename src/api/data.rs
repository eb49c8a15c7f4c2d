//! Case data on the wire: JSON by default, XML by content type.

use std::collections::BTreeSet;

use serde::de::MapAccess;

use super::Error;
use crate::engine::service::{Fragment, Value, ValueKind, json};

/// Values by parameter, or what is wrong with the first that is wrong.
pub(super) type Parameters = Result<Vec<(String, Fragment)>, Error>;

/// Reads one value a parameter.
pub(super) fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Parameters, A::Error> {
    let mut data = Ok(Vec::new());
    while let Some(name) = map.next_key::<String>()? {
        let value = map.next_value_seed(json::Content)?;
        if let Ok(read) = &mut data {
            match value {
                Ok(value) => read.push((name, value)),
                Err(error) => data = Err(wrong(&name, &error)),
            }
        }
    }
    Ok(data)
}

fn wrong(name: &str, error: &json::Error) -> Error {
    Error::Data {
        name: super::query::shorten(name),
        code: error.code(),
        kind: error.kind(),
        message: error.to_string(),
        hint: error.hint(),
    }
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
    let whole = Fragment::parse(text).map_err(|error| wrong("the body", &error))?;
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

/// Writes a value as JSON.
pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
    let kind = match value.kind {
        ValueKind::Text => json::Kind::Text,
        ValueKind::Number => json::Kind::Number,
        ValueKind::Boolean => json::Kind::Boolean,
    };
    json::write(out, &value.value, kind);
}

/// Returns values as an XML document whose root is `data`.
pub(super) fn to_xml(values: &[Value]) -> String {
    let children: Vec<_> = values.iter().map(|value| (value.name.clone(), value.value.clone())).collect();
    let content = Fragment::from_children(&children);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<data>{}</data>\n", content.as_xml())
}
