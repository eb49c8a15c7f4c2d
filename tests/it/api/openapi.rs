//! The description of the interface holds against the interface.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fake::Fake;
use super::{ask, json_of};

fn document() -> Value {
    let response = ask(&Fake::new(), "GET", "/openapi.json", &[], "");
    assert_eq!(response.status, 200);
    json_of(&response)
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|name| *name != "parameters") {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let served: BTreeSet<String> = knhk::api::routes().map(str::to_owned).collect();
    assert_eq!(described, served);
}

#[test]
fn every_route_says_where_it_is_refused_for_who_asks_or_how() {
    let document = document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            operations.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            let responses = &operation["responses"];
            let is_open = ["/health", "/health/live", "/metrics"].contains(&path.as_str());
            assert!(responses["421"].is_object(), "{method} {path}");
            assert_eq!(responses["403"].is_object(), !is_open, "{method} {path}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                members.values().for_each(|value| walk(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(document, value)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
    assert_eq!(document["openapi"], "3.1.0");
}

/// Fails where `value` is not what `schema` says: types, required members, no members beside the known ones.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = document.pointer(target.strip_prefix('#').unwrap()).unwrap();
        return fits(document, target, value, at);
    }
    if let Some(forms) = schema["oneOf"].as_array() {
        // The whole form, and the short one.
        return fits(document, &forms[usize::from(value["short"] == true)], value, at);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, part, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().map(|one| one.as_str().unwrap()).collect(),
        _ => vec![kind],
    };
    assert!(types.contains(&kind), "{at}: {kind} is not {types:?}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value} is not one of {allowed:?}");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: {name} is missing");
    }
    if let (Some(known), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, member) in members {
            match known.get(name) {
                Some(schema) => fits(document, schema, member, &format!("{at}/{name}")),
                None => assert_ne!(schema["additionalProperties"], false, "{at}: {name} is not described"),
            }
        }
    }
    if let Some(members) = value.as_object().filter(|_| schema["additionalProperties"].is_object()) {
        for (name, member) in members {
            fits(document, &schema["additionalProperties"], member, &format!("{at}/{name}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item, &format!("{at}[]"));
    }
}

#[test]
fn answers_fit_their_schemas() {
    let document = document();
    let failing = {
        let mut fake = Fake::new();
        fake.health.failing.push("journal not writable".to_owned());
        fake
    };
    let fake = Fake::new();
    for (fake, method, target, path, body) in [
        (&fake, "GET", "/cases/CASE", "/cases/{id}", ""),
        (&fake, "GET", "/cases", "/cases", ""),
        (&fake, "POST", "/cases", "/cases", r#"{"workflow":"w"}"#),
        (&fake, "POST", "/cases", "/cases", r#"{"workflow":"w","key":"old"}"#),
        (&fake, "POST", "/cases", "/cases", r#"{"workflow":"nowhere"}"#),
        (&fake, "POST", "/cases/CASE/execute", "/cases/{id}/execute", ""),
        (&fake, "POST", "/cases/CASE/cancel", "/cases/{id}/cancel", ""),
        (&fake, "GET", "/cases/CASE/history", "/cases/{id}/history", ""),
        (&fake, "GET", "/workitems", "/workitems", ""),
        (&fake, "GET", "/workitems/CASE-2", "/workitems/{id}", ""),
        (&fake, "POST", "/workitems/CASE-2/complete", "/workitems/{id}/complete", "{}"),
        (&fake, "POST", "/workitems/CASE-77/start", "/workitems/{id}/start", ""),
        (&fake, "POST", "/workflows", "/workflows", "new"),
        (&fake, "POST", "/workflows", "/workflows", "same"),
        (&fake, "POST", "/workflows", "/workflows", "wrong"),
        (&fake, "POST", "/workflows", "/workflows", "full"),
        (&fake, "GET", "/workflows", "/workflows", ""),
        (&fake, "GET", "/workflows/w", "/workflows/{id}", ""),
        (&fake, "GET", "/health", "/health", ""),
        (&failing, "GET", "/health", "/health", ""),
        (&fake, "GET", "/health/live", "/health/live", ""),
    ] {
        // With a key, so that what says that it is not remembered is there.
        let headers: &[&str] = if method == "POST" { &["idempotency-key: k"] } else { &[] };
        let response = ask(fake, method, target, headers, body);
        let responses = &document["paths"][path][method.to_lowercase().as_str()]["responses"];
        let described = match responses.get(response.status.to_string()) {
            Some(described) => described,
            None => &responses["default"],
        };
        let described = match described["$ref"].as_str() {
            Some(target) => document.pointer(target.strip_prefix('#').unwrap()).unwrap(),
            None => described,
        };
        let content_type =
            if response.status < 400 { "application/json" } else { "application/problem+json" };
        let schema = &described["content"][content_type]["schema"];
        assert!(schema.is_object(), "{method} {path} {} is not described", response.status);
        fits(&document, schema, &json_of(&response), &format!("{method} {path}"));
    }
}

/// Fails where `now` lacks something of `before`: an interface only grows.
fn still_there(before: &Value, now: &Value, at: &str) {
    // What has got a short form beside it is still there as it was.
    let now = if now["oneOf"][0] == *before { before } else { now };
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, value) in before {
                let at = format!("{at}/{name}");
                let now = now.get(name).unwrap_or_else(|| panic!("{at} has gone"));
                // Words for people may change.
                if !matches!(name.as_str(), "description" | "summary" | "version" | "required") {
                    still_there(value, now, &at);
                }
            }
        }
        (Value::Array(before), Value::Array(now)) => {
            for value in before {
                assert!(now.contains(value), "{at}: {value} has gone or changed");
            }
        }
        _ => assert_eq!(before, now, "{at} has changed"),
    }
}

#[test]
fn nothing_that_was_promised_has_gone() {
    let promised: Value = serde_json::from_str(include_str!("../../data/openapi.json")).unwrap();
    still_there(&promised, &document(), "");
}
