//! Requests that nobody would send: whatever comes, the answer is an answer, and a refusal is a problem document.

use knhk::api::{Request, Response, respond};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use serde_json::Value;

use super::fake::{Fake, case_id};
use super::{LIMITS, request};

const BODIES: &[&str] = &[
    r#"{"workflow":"w@2","data":{"a":1.5,"b":{"c":[true,null]}},"key":"k"}"#,
    r#"{"data":{"a":{"b":["x",{"c":null}]}}}"#,
    r#"{"reason":"because"}"#,
    "{\"op\":\"create\",\"workflow\":\"w\"}\n{\"op\":\"start\",\"item\":\"x\",\"key\":\"k\"}\n",
    "<data><a>1</a><b><c/></b></data>",
];
const HEADERS: &[&str] = &[
    "content-type: application/json",
    "content-type: application/xml",
    "content-type: application/x-ndjson",
    "accept: application/xml, */*;q=0.1",
    "accept: ;;q=,,*",
    "idempotency-key: k",
    "idempotency-key: \u{e4}",
    "x: y",
];

fn methods() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(vec!["GET", "POST", "HEAD", "DELETE"]).prop_map(str::to_owned), 1 => ".{0,8}"]
}

fn targets() -> impl Strategy<Value = String> {
    let known: Vec<String> = knhk::api::routes()
        .map(|route| route.split_once(' ').unwrap().1)
        .flat_map(|path| {
            [path.replace("{id}", "CASE"), path.replace("{id}", "CASE-2"), path.replace("{id}", "%")]
        })
        .collect();
    (
        prop_oneof![4 => select(known), 1 => "/.{0,20}"],
        prop_oneof![Just(String::new()), Just("?limit=5".into()), "\\?.{0,20}"],
    )
        .prop_map(|(path, query)| path + &query)
}

/// A body that is nearly right: some of its bytes are replaced, doubled or cut.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (select(BODIES), proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3_u8), 0..4))
        .prop_map(|(body, changes)| {
            let mut body = body.as_bytes().to_vec();
            for (at, byte, change) in changes {
                let at = at % body.len().max(1);
                match change {
                    0 if at < body.len() => body[at] = byte,
                    1 => body.insert(at, byte),
                    _ => body.truncate(at),
                }
            }
            body
        });
    prop_oneof![4 => mutated, 1 => proptest::collection::vec(any::<u8>(), 0..64)]
}

pub(crate) fn requests() -> impl Strategy<Value = Request> {
    (methods(), targets(), proptest::collection::vec(select(HEADERS), 0..3), bodies())
        .prop_map(|(method, target, headers, body)| request(&method, &target, &headers, body))
}

pub(crate) fn is_answer(method: &str, response: &Response) {
    assert!((200..600).contains(&response.status));
    let content_type = &response.headers.iter().find(|(name, _)| *name == "content-type").unwrap().1;
    for (_, value) in &response.headers {
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{value:?}");
    }
    if response.status < 400 {
        return;
    }
    assert_eq!(content_type, "application/problem+json");
    if method == "HEAD" {
        assert!(response.body.is_empty());
        return;
    }
    let problem: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(problem["status"], response.status);
    for member in ["type", "title", "detail", "code"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_request_gets_an_answer(request in requests()) {
        let response = respond(&Fake::new(), &request, &LIMITS);
        is_answer(&request.method, &response);
    }

    #[test]
    fn any_value_that_is_data_comes_back(text in "\\PC{0,20}", number in any::<i64>(), flag in any::<bool>()) {
        let body = serde_json::json!({"workflow": "w", "data": {"t": text, "n": number, "f": {"g": [flag, flag]}}});
        let fake = Fake::new();
        let response = respond(&fake, &request("POST", "/cases", &[], body.to_string()), &LIMITS);
        assert_eq!(response.status, 201);
        assert_eq!(fake.calls().len(), 1);
        assert_ne!(case_id().0, 0);
    }
}
