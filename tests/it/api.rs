//! The HTTP interface as a function: request in, answer out, against a service of canned answers.

pub(crate) mod fake;
mod generated;
mod openapi;

use expect_test::{Expect, expect};
use knhk::api::{
    HEADER_BYTES_MAX, JSON_DEPTH_MAX, KEY_LEN_MAX, Limits, PATH_BYTES_MAX, REASON_BYTES_MAX, Request,
    Response, respond,
};
use serde_json::Value;

use fake::{Fake, case_id};

pub(crate) const LIMITS: Limits = Limits { body_bytes_max: 64 * 1024, batch_lines_max: 5 };

/// Returns a request; `target` is path and query, `headers` are `name: value` lines.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Request {
    let target = target.replace("CASE", &case_id().to_string());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers
            .iter()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: body.as_ref().to_vec(),
    }
}

pub(crate) fn ask(
    fake: &Fake,
    method: &str,
    target: &str,
    headers: &[&str],
    body: impl AsRef<[u8]>,
) -> Response {
    respond(fake, &request(method, target, headers, body), &LIMITS)
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// Shows status, code, detail and hint of a refusal in one line.
fn refused(response: &Response) -> String {
    assert_eq!(header(response, "content-type"), Some("application/problem+json"));
    let problem = json_of(response);
    assert_eq!(problem["status"], response.status);
    let text = |member: &str| problem[member].as_str().unwrap_or("-").to_owned();
    assert_eq!(text("type"), format!("urn:knhk:error:{}", text("code")));
    format!("{} {} {} ({})", response.status, text("code"), text("detail"), text("hint"))
}

/// Shows a whole answer.
fn check(fake: &Fake, ask_for: (&str, &str, &[&str], &str), expected: Expect) {
    let (method, target, headers, body) = ask_for;
    let response = ask(fake, method, target, headers, body);
    let mut shown = format!("{}\n", response.status);
    for (name, value) in &response.headers {
        shown += &format!("{name}: {value}\n");
    }
    let text = String::from_utf8(response.body).unwrap();
    match serde_json::from_str::<Value>(&text) {
        Ok(json) => shown += &serde_json::to_string_pretty(&json).unwrap(),
        Err(_) => shown += &text,
    }
    for call in fake.calls() {
        shown += &format!("\n> {call}");
    }
    expected.assert_eq(&shown);
}

#[test]
fn a_case_is_shown_as_json_and_its_data_as_xml() {
    let fake = Fake::new();
    check(
        &fake,
        ("GET", "/cases/CASE", &[], ""),
        expect![[r#"
            200
            content-type: application/json
            vary: accept
            {
              "id": "022pvvmar007",
              "workflow": "urn:x:order",
              "version": 3,
              "state": "incident",
              "net": "New Net #1",
              "instance": 1,
              "marking": {
                "c{a_b}": 2
              },
              "busy": [
                "c"
              ],
              "enabled": [
                "B"
              ],
              "data": {
                "note": "a < b",
                "count": 12,
                "ok": true
              },
              "children": {
                "C": [
                  {
                    "net": "Sub",
                    "instance": 2,
                    "marking": {},
                    "busy": [
                      "Inner"
                    ],
                    "enabled": [],
                    "data": {},
                    "children": {}
                  }
                ]
              },
              "incidents": [
                {
                  "kind": "failed",
                  "instance": 1,
                  "task": "B",
                  "item": "022pvvmar007-2",
                  "detail": "no stock",
                  "since": "2026-03-01T12:00:00.000000Z"
                }
              ],
              "events": 5,
              "created": "2026-03-01T12:00:00.000000Z",
              "changed": "2026-03-01T12:00:00.000001Z",
              "key": "k-1"
            }"#]],
    );
    check(
        &fake,
        ("GET", "/cases/CASE", &["accept: application/xml"], ""),
        expect![[r#"
        200
        content-type: application/xml
        vary: accept
        <?xml version="1.0" encoding="UTF-8"?>
        <data><note>a &lt; b</note><count>12</count><ok>true</ok></data>
    "#]],
    );
    check(
        &fake,
        ("GET", "/workitems/CASE-2", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        vary: accept
        {
          "id": "022pvvmar007-2",
          "case": "022pvvmar007",
          "workflow": "urn:x:order",
          "task": "B",
          "name": "Pack",
          "instance": 1,
          "state": "executing",
          "since": "2026-03-01T12:00:00.000000Z",
          "data": {
            "note": "a < b",
            "count": 12,
            "ok": true
          },
          "outputs": [
            "ok"
          ],
          "reason": null
        }"#]],
    );
    check(
        &fake,
        ("GET", "/cases/CASE/history?limit=5&after=x%20y", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "items": [
            {
              "seq": 1,
              "time": "2026-03-01T12:00:00.000000Z",
              "event": "created",
              "task": "A",
              "instance": 1,
              "put": [
                "c{A_B}"
              ],
              "data": {
                "note": "a < b",
                "count": 12,
                "ok": true
              }
            }
          ],
          "next": null
        }
        > history PageOf { after: Some("x y"), limit: 5 }"#]],
    );
}

#[test]
fn lists_pass_their_filters_on() {
    let fake = Fake::new();
    let target = "/cases?state=running&workflow=urn%3Ax%402&older_than=90d&limit=7&after=t";
    check(
        &fake,
        ("GET", target, &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "items": [
            {
              "id": "022pvvmar007",
              "workflow": "urn:x:order",
              "version": 3,
              "state": "incident",
              "enabled_count": 1,
              "created": "2026-03-01T12:00:00.000000Z",
              "changed": "2026-03-01T12:00:00.000001Z",
              "key": "k-1"
            }
          ],
          "next": "token"
        }
        > CaseFilter { state: Some(Running), workflow: Some("urn:x@2"), older_than_us: Some(7776000000000) } PageOf { after: Some("t"), limit: 7 }"#]],
    );
    let target = "/workitems?case=CASE&workflow=w&task=a+b&state=enabled";
    let response = ask(&fake, "GET", target, &[], "");
    assert_eq!(response.status, 200);
    expect![[r#"ItemFilter { case: Some(CaseId(2347315200000007)), workflow: Some("w"), task: Some("a b"), state: Some("enabled") } PageOf { after: None, limit: 100 }"#]].assert_eq(&fake.calls().join("\n"));
}

#[test]
fn specifications_are_registered_listed_and_shown() {
    let fake = Fake::new();
    check(
        &fake,
        ("POST", "/workflows?accept_unsound=true", &["idempotency-key: k"], "new"),
        expect![[r#"
        201
        content-type: application/json
        location: /workflows/urn%3Ax%3Aorder@3
        {
          "id": "urn:x:order",
          "version": 3,
          "warnings": [
            "layout is kept without effect",
            "soundness not checked"
          ]
        }
        > register 3 bytes, key Some("k")
        > specification urn:x:order"#]],
    );
    let again = ask(&fake, "POST", "/workflows", &["content-type: text/xml; charset=utf-8"], "same");
    assert_eq!(again.status, 200);
    check(
        &fake,
        ("POST", "/workflows", &[], "wrong"),
        expect![[r#"
        422
        content-type: application/problem+json
        {
          "type": "urn:knhk:error:KN0100",
          "title": "request asks for something impossible",
          "status": 422,
          "detail": "the specification has 1 mistake",
          "code": "KN0100",
          "mistakes": [
            {
              "code": "KN0123",
              "severity": "error",
              "line": 4,
              "column": 7,
              "message": "flow to nowhere",
              "hint": "name a task"
            }
          ]
        }
        > register 4 bytes, key None
        > specification urn:x:order
        > register 5 bytes, key None"#]],
    );
    check(
        &fake,
        ("POST", "/workflows", &[], "full"),
        expect![[r#"
        503
        content-type: application/problem+json
        retry-after: 1
        {
          "type": "urn:knhk:error:KN0310",
          "title": "busy",
          "status": 503,
          "detail": "the queue is full",
          "code": "KN0310",
          "hint": "ask again",
          "key": "made-1"
        }
        > register 4 bytes, key None"#]],
    );
    fake.calls();
    check(
        &fake,
        ("GET", "/workflows", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "items": [
            {
              "id": "urn:x:order",
              "version": 3,
              "name": null,
              "registered": "2026-03-01T12:00:00.000000Z",
              "warnings": [
                "layout is kept without effect",
                "soundness not checked"
              ]
            }
          ],
          "next": null
        }
        > specification urn:x:order"#]],
    );
    check(
        &fake,
        ("GET", "/workflows/urn:x:order%403", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "id": "urn:x:order@3",
          "version": 3,
          "name": null,
          "registered": "2026-03-01T12:00:00.000000Z",
          "warnings": [
            "layout is kept without effect",
            "soundness not checked"
          ],
          "nets": [
            {
              "id": "Main",
              "name": null,
              "conditions": [
                "start",
                "c{a_b}",
                "c{b_c}",
                "end"
              ],
              "input": "start",
              "output": "end",
              "tasks": [
                {
                  "id": "a",
                  "name": "First",
                  "kind": "manual",
                  "net": null,
                  "join": "xor",
                  "split": "and",
                  "from": [
                    "start"
                  ],
                  "to": [
                    "c{a_b}"
                  ],
                  "removes": [],
                  "inputs": [],
                  "outputs": []
                },
                {
                  "id": "b",
                  "name": "Second",
                  "kind": "manual",
                  "net": null,
                  "join": "xor",
                  "split": "and",
                  "from": [
                    "c{a_b}"
                  ],
                  "to": [
                    "c{b_c}"
                  ],
                  "removes": [],
                  "inputs": [],
                  "outputs": []
                },
                {
                  "id": "c",
                  "name": "Third",
                  "kind": "manual",
                  "net": null,
                  "join": "xor",
                  "split": "and",
                  "from": [
                    "c{b_c}"
                  ],
                  "to": [
                    "end"
                  ],
                  "removes": [],
                  "inputs": [],
                  "outputs": []
                }
              ],
              "variables": [],
              "at_most_one_token": true
            }
          ]
        }
        > specification urn:x:order@3"#]],
    );
}

#[test]
fn ids_may_hold_anything() {
    let fake = Fake::new();
    let asked = |target: &str| {
        let response = ask(&fake, "GET", target, &[], "");
        format!("{} {:?}", response.status, fake.calls().first().cloned().unwrap_or_default())
    };
    let shown = [
        "/workflows/http%3A%2F%2Fx.org%2Fa%20b%3F%23",
        "/workflows/http://x.org/a",
        "/workflows/picture%2Esvg",
        "/workflows/%C3%A4%E2%82%AC@2",
        "/workflows/nowhere",
        "/workflows/%zz",
        "/workflows/%ff",
        "/workflows/",
    ]
    .map(asked);
    expect![[r#"
        200 "specification http://x.org/a b?#"
        200 "specification http://x.org/a"
        200 "specification picture.svg"
        200 "specification ä€@2"
        404 "specification nowhere"
        400 ""
        400 ""
        404 """#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn a_created_case_has_a_place_and_an_old_key_gives_the_old_case() {
    let fake = Fake::new();
    let body = r#"{"workflow":"w@2","data":{"a":1.50,"b":{"c":[true,null]}},"key":"k-1"}"#;
    let response =
        ask(&fake, "POST", "/cases", &["content-type: application/json", "idempotency-key: i"], body);
    assert_eq!(response.status, 201);
    assert_eq!(header(&response, "location"), Some(format!("/cases/{}", case_id()).as_str()));
    let old = ask(&fake, "POST", "/cases", &[], r#"{"workflow":"w","business_key":"old"}"#);
    assert_eq!((old.status, header(&old, "location")), (200, None));
    let body = "<?xml version=\"1.0\"?>\n<data>\n  <a>x &amp; y</a>\n  <b><c>1</c><c>2</c></b>\n</data>";
    let xml = ask(&fake, "POST", "/cases?workflow=w&key=k-2", &["content-type: application/xml"], body);
    assert_eq!(xml.status, 201);
    expect![[r#"
        Create { workflow: "w@2", data: [("a", Fragment("1.50")), ("b", Fragment("<c>true</c><c/>"))], business_key: Some("k-1") } key Some("i")
        Create { workflow: "w", data: [], business_key: Some("old") } key None
        Create { workflow: "w", data: [("a", Fragment("x &amp; y")), ("b", Fragment("<c>1</c><c>2</c>"))], business_key: Some("k-2") } key None"#]].assert_eq(&fake.calls().join("\n"));
}

#[test]
fn everything_that_can_be_done_to_a_case_or_item_reaches_the_engine() {
    let fake = Fake::new();
    for (target, body) in [
        ("/cases/CASE/cancel", r#"{"reason":"no longer wanted"}"#),
        ("/cases/CASE/cancel", ""),
        ("/cases/CASE/suspend", "{}"),
        ("/cases/CASE/resume", ""),
        ("/cases/CASE/retry", ""),
        ("/cases/CASE/execute", " "),
        ("/workitems/CASE-2/start", ""),
        ("/workitems/CASE-2/complete", r#"{"data":{"ok":false}}"#),
        ("/workitems/CASE-2/complete", ""),
        ("/workitems/CASE-2/fail", r#"{"reason":"broken"}"#),
        ("/workitems/CASE-2/skip", r#"{"reason":null}"#),
    ] {
        assert_eq!(ask(&fake, "POST", target, &[], body).status, 200, "{target}");
    }
    let body = "<out><ok>true</ok></out>";
    let xml = ask(&fake, "POST", "/workitems/CASE-2/complete", &["content-type: application/xml"], body);
    assert_eq!(json_of(&xml)["case_state"], "running");
    expect![[r#"
        Case(CaseId(CASE), Cancel { reason: "no longer wanted" }) key None
        Case(CaseId(CASE), Cancel { reason: "" }) key None
        Case(CaseId(CASE), Suspend) key None
        Case(CaseId(CASE), Resume) key None
        Case(CaseId(CASE), Retry) key None
        Case(CaseId(CASE), Execute) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Start) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Complete([("ok", Fragment("false"))])) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Complete([])) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Fail { reason: "broken" }) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Skip { reason: "" }) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Complete([("ok", Fragment("true"))])) key None"#]]
    .assert_eq(&fake.calls().join("\n").replace(&case_id().0.to_string(), "CASE"));
}

#[test]
fn a_batch_answers_line_by_line_in_order() {
    let fake = Fake::new();
    let case = case_id();
    let body = format!(
        "{}\n\r\n{}\n{}\n{}\n{}",
        r#"{"op":"create","workflow":"w","data":{"a":1},"business_key":"b","key":"k1"}"#,
        r#"{"op":"crate"}"#,
        format_args!(r#"{{"op":"start","item":"{case}-2","key":"k2"}}"#),
        format_args!(r#"{{"op":"complete","item":"{case}-77","data":{{}}}}"#),
        r#"{"op":"cancel","case":"#,
    );
    let response = ask(&fake, "POST", "/batch", &["content-type: application/x-ndjson"], body);
    assert_eq!(response.status, 200);
    assert_eq!(header(&response, "content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(response.body).unwrap();
    let mut shown = String::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let body = &line["body"];
        shown += &format!("{} {}{}\n", line["status"], body["id"], body["detail"]);
    }
    shown += &fake.calls().join("\n");
    expect![[r#"
        201 "022pvvmar007"null
        400 null"there is no operation \"crate\""
        200 "022pvvmar007-2"null
        409 null"the work item is not enabled"
        400 null"the body is not JSON: EOF while parsing a value at line 1, column 22"
        Create { workflow: "w", data: [("a", Fragment("1"))], business_key: Some("b") } key Some("k1")
        Item(ItemId { case: CaseId(CASE), number: 2 }, Start) key Some("k2")
        Item(ItemId { case: CaseId(CASE), number: 77 }, Complete([])) key None"#]]
    .assert_eq(&shown.replace(&case.0.to_string(), "CASE"));
}

#[test]
fn wrong_batch_lines_say_what_is_wrong() {
    let fake = Fake::new();
    let mut shown = String::new();
    for line in [
        r#"{"workflow":"w"}"#,
        r#"{"op":"start"}"#,
        r#"{"op":"start","item":"x"}"#,
        r#"{"op":"start","item":7}"#,
        r#"{"op":"start","item":"CASE-1","data":{}}"#,
        r#"{"op":"suspend","case":"CASE","kex":"k"}"#,
        r#"{"op":"suspend","case":"CASE","key":"with space"}"#,
        "[]",
        "\u{0}",
    ] {
        let line = line.replace("CASE", &case_id().to_string());
        let response = ask(&fake, "POST", "/batch", &[], &line);
        let answer = json_of(&response);
        let body = &answer["body"];
        shown += &format!("{} {} {} ({})\n", answer["status"], body["code"], body["detail"], body["hint"]);
    }
    expect![[r#"
        400 "KN0507" "member \"op\" is missing" ("GET /openapi.json says what each route takes")
        400 "KN0507" "member \"item\" is missing" ("GET /openapi.json says what each route takes")
        404 "KN0517" "\"x\" is not the id of a work item" ("a case id has 12 characters; a work item id is CASE-NUMBER")
        400 "KN0508" "member \"item\" must be a string" ("GET /openapi.json says what each route takes")
        400 "KN0506" "there is no member \"data\" here" ("this operation does not take it")
        400 "KN0506" "there is no member \"kex\" here" ("did you mean \"key\"?")
        400 "KN0513" "key must be 1 to 255 visible ASCII characters" ("a UUID is a good key")
        400 "KN0503" "the body is not JSON: expected an object at line 1, column 1" ("send one JSON object")
        400 "KN0503" "the body is not JSON: expected value at line 1, column 1" ("send one JSON object")
    "#]].assert_eq(&shown);
    assert!(fake.calls().is_empty(), "nothing reached the engine");
    let with_key = ask(&fake, "POST", "/batch", &["idempotency-key: k"], "");
    expect![[r#"400 KN0520 Idempotency-Key is not possible for a batch (give each line a member "key")"#]]
        .assert_eq(&refused(&with_key));
}

#[test]
fn health_has_three_answers() {
    let mut fake = Fake::new();
    check(
        &fake,
        ("GET", "/health", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "status": "ok",
          "degraded": []
        }"#]],
    );
    fake.health.degraded.push("no recent backup".to_owned());
    check(
        &fake,
        ("GET", "/health", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "status": "degraded",
          "degraded": [
            "no recent backup"
          ]
        }"#]],
    );
    fake.health.failing.push("journal not writable".to_owned());
    check(
        &fake,
        ("GET", "/health", &[], ""),
        expect![[r#"
        503
        content-type: application/problem+json
        retry-after: 1
        {
          "type": "urn:knhk:error:KN0522",
          "title": "service not available",
          "status": 503,
          "detail": "the service cannot do its work: journal not writable",
          "code": "KN0522",
          "failing": [
            "journal not writable"
          ],
          "degraded": [
            "no recent backup"
          ]
        }"#]],
    );
    check(
        &fake,
        ("GET", "/health/live", &[], ""),
        expect![[r#"
        200
        content-type: application/json
        {
          "status": "live"
        }"#]],
    );
}

#[test]
fn figures_come_in_both_text_forms() {
    let fake = Fake::new();
    let old = ask(&fake, "GET", "/metrics", &["accept: text/plain;q=0.5, */*;q=0.1"], "");
    assert_eq!(header(&old, "content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let accept = "accept: application/openmetrics-text;version=1.0.0;q=0.8, text/plain;version=0.0.4;q=0.5";
    let new = ask(&fake, "GET", "/metrics", &[accept], "");
    assert!(header(&new, "content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(new.body.ends_with(b"# EOF\n") && !old.body.ends_with(b"# EOF\n"));
}

#[test]
fn nets_come_as_pictures_with_the_tokens_of_a_case() {
    let fake = Fake::new();
    let picture = |target: &str| {
        let response = ask(&fake, "GET", target, &["accept: image/svg+xml, */*;q=0.8"], "");
        assert_eq!((response.status, header(&response, "content-type")), (200, Some("image/svg+xml")));
        String::from_utf8(response.body).unwrap()
    };
    let empty = picture("/workflows/urn%3Ax%3Aorder.svg");
    assert!(empty.starts_with("<svg") && empty.contains("Second"), "{empty}");
    assert_ne!(picture("/cases/CASE.svg"), empty, "the case has tokens");
    assert_eq!(ask(&fake, "GET", "/workflows/nowhere.svg", &[], "").status, 404);
    assert_eq!(ask(&fake, "GET", "/cases/CASE.svg", &["accept: application/json"], "").status, 406);
}

#[test]
fn head_is_get_without_the_body() {
    let fake = Fake::new();
    let get = ask(&fake, "GET", "/cases/CASE", &[], "");
    let head = ask(&fake, "HEAD", "/cases/CASE", &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(header(&head, "content-length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(ask(&fake, "HEAD", "/nowhere", &[], "").status, 404);
}

#[test]
fn what_cannot_be_read_says_why() {
    let fake = Fake::new();
    let json = "content-type: application/json";
    let mut shown = String::new();
    for (method, target, headers, body) in [
        ("GET", "/", vec![], ""),
        ("GET", "/case", vec![], ""),
        ("GET", "/cases/CASE/history/x", vec![], ""),
        ("DELETE", "/cases/CASE", vec![], ""),
        ("GET", "/cases/CASE/cancel", vec![], ""),
        ("PUT", "/workflows", vec![], ""),
        ("get", "/health", vec![], ""),
        ("GET", "/cases/short", vec![], ""),
        ("GET", "/workitems/CASE", vec![], ""),
        ("GET", "/cases?sate=running", vec![], ""),
        ("GET", "/cases?state=walking", vec![], ""),
        ("GET", "/cases?state=running&state=running", vec![], ""),
        ("GET", "/cases?limit=0", vec![], ""),
        ("GET", "/cases?limit=1001", vec![], ""),
        ("GET", "/cases?older_than=90", vec![], ""),
        ("GET", "/cases?after=%f", vec![], ""),
        ("GET", "/workitems?state=completed", vec![], ""),
        ("GET", "/workitems?case=x", vec![], ""),
        ("GET", "/health?verbose", vec![], ""),
        ("GET", "/cases/CASE", vec!["accept: image/png"], ""),
        ("GET", "/cases", vec!["accept: application/json;q=0"], ""),
        ("POST", "/workflows?accept_unsound=yes", vec![], ""),
        ("POST", "/workflows", vec![json], "{}"),
        ("POST", "/cases", vec!["content-type: application/x-www-form-urlencoded"], "a=b"),
        ("POST", "/cases", vec![json], ""),
        ("POST", "/cases", vec![json], "{\n  \"workflow\": \"w\",\n  oops\n}"),
        ("POST", "/cases", vec![json], "{\"workflow\": \"w\"} x"),
        ("POST", "/cases", vec![json], "[1]"),
        ("POST", "/cases", vec![json], "\u{feff}{}"),
        ("POST", "/cases", vec![json], r#"{"workflw":"w"}"#),
        ("POST", "/cases", vec![json], r#"{"workflow":7}"#),
        ("POST", "/cases", vec![json], r#"{"workflow":"w","data":[]}"#),
        ("POST", "/cases", vec![json], "{\"workflow\":\"w\",\n\"data\":{\"a\":1, \"a\":2}}"),
        ("POST", "/cases", vec![json], r#"{"workflow":"w","data":{"a":{"not a name":1}}}"#),
        ("POST", "/cases", vec![json], r#"{"workflow":"w","data":{"a":[1]}}"#),
        ("POST", "/cases", vec![json], r#"{"workflow":"w","key":"a","business_key":"a"}"#),
        ("POST", "/cases", vec![json], r#"{"workflow":"w","key":"ä"}"#),
        ("POST", "/cases", vec![json, "idempotency-key: a b"], r#"{"workflow":"w"}"#),
        ("POST", "/cases", vec!["content-type: application/xml"], "<data/>"),
        ("POST", "/cases?workflow=w", vec!["content-type: application/xml"], "<data><a></data>"),
        ("POST", "/cases?workflow=w", vec!["content-type: application/xml"], "<data/><data/>"),
        ("POST", "/cases?workflow=w", vec!["content-type: application/xml"], "<data><a/><a/></data>"),
        ("POST", "/cases?workflow=w", vec!["content-type: application/xml"], "<data>text</data>"),
        ("POST", "/cases?workflow=w", vec!["content-type: application/xml"], "<data a='1'/>"),
        ("POST", "/cases/CASE/suspend", vec![json], r#"{"reason":"x"}"#),
        ("POST", "/workitems/CASE-77/start", vec![json], ""),
    ] {
        let response = ask(&fake, method, target, &headers, body);
        let allow = header(&response, "allow").map(|allow| format!(" allow {allow}")).unwrap_or_default();
        shown += &format!("{method} {target}\n    {}{allow}\n", refused(&response));
    }
    expect![[r#"
        GET /
            404 KN0500 nothing is served at / (GET /openapi.json lists the routes; an id is percent-encoded)
        GET /case
            404 KN0500 nothing is served at /case (GET /openapi.json lists the routes; an id is percent-encoded)
        GET /cases/CASE/history/x
            404 KN0500 nothing is served at /cases/CASE/history/x (GET /openapi.json lists the routes; an id is percent-encoded)
        DELETE /cases/CASE
            405 KN0501 DELETE is not possible here, only GET, HEAD (-) allow GET, HEAD
        GET /cases/CASE/cancel
            405 KN0501 GET is not possible here, only POST (-) allow POST
        PUT /workflows
            405 KN0501 PUT is not possible here, only GET, POST, HEAD (-) allow GET, POST, HEAD
        get /health
            405 KN0501 get is not possible here, only GET, HEAD (-) allow GET, HEAD
        GET /cases/short
            404 KN0517 "short" is not the id of a case (a case id has 12 characters; a work item id is CASE-NUMBER)
        GET /workitems/CASE
            404 KN0517 "CASE" is not the id of a work item (a case id has 12 characters; a work item id is CASE-NUMBER)
        GET /cases?sate=running
            400 KN0509 there is no query parameter "sate" here (did you mean "state"?)
        GET /cases?state=walking
            400 KN0510 query parameter state must be one of running, suspended, incident, completed, cancelled, not "walking" (GET /openapi.json says what each route takes)
        GET /cases?state=running&state=running
            400 KN0510 query parameter state must be given once, not "running" (GET /openapi.json says what each route takes)
        GET /cases?limit=0
            400 KN0510 query parameter limit must be a number from 1 to 1000, not "0" (GET /openapi.json says what each route takes)
        GET /cases?limit=1001
            400 KN0510 query parameter limit must be a number from 1 to 1000, not "1001" (GET /openapi.json says what each route takes)
        GET /cases?older_than=90
            400 KN0510 query parameter older_than must be a length of time such as 90d, 12h or 30m, not "90" (GET /openapi.json says what each route takes)
        GET /cases?after=%f
            400 KN0516 the query is not percent-encoded UTF-8 (write every other byte as % and two hexadecimal digits)
        GET /workitems?state=completed
            400 KN0510 query parameter state must be one of enabled, executing, failed, not "completed" (GET /openapi.json says what each route takes)
        GET /workitems?case=x
            400 KN0510 query parameter case must be the id of a case, not "x" (GET /openapi.json says what each route takes)
        GET /health?verbose
            400 KN0509 there is no query parameter "verbose" here (leave it out)
        GET /cases/CASE
            406 KN0512 none of the types in Accept can be given here (set Accept to application/json)
        GET /cases
            406 KN0512 none of the types in Accept can be given here (set Accept to application/json)
        POST /workflows?accept_unsound=yes
            400 KN0510 query parameter accept_unsound must be true or false, not "yes" (GET /openapi.json says what each route takes)
        POST /workflows
            415 KN0511 a body of type "application/json" is not read here (set Content-Type to application/xml)
        POST /cases
            415 KN0511 a body of type "application/x-www-form-urlencoded" is not read here (set Content-Type to application/json or application/xml)
        POST /cases
            400 KN0507 member "workflow" is missing (GET /openapi.json says what each route takes)
        POST /cases
            400 KN0503 the body is not JSON: key must be a string at line 3, column 3 (send one JSON object)
        POST /cases
            400 KN0503 the body is not JSON: trailing characters at line 1, column 19 (send one JSON object)
        POST /cases
            400 KN0503 the body is not JSON: expected an object at line 1, column 1 (send one JSON object)
        POST /cases
            400 KN0503 the body is not JSON: expected value at line 1, column 1 (send one JSON object)
        POST /cases
            400 KN0506 there is no member "workflw" here (did you mean "workflow"?)
        POST /cases
            400 KN0508 member "workflow" must be a string (GET /openapi.json says what each route takes)
        POST /cases
            400 KN0508 member "data" must be an object with a member a parameter (GET /openapi.json says what each route takes)
        POST /cases
            400 KN0505 member "a" stands twice in one object, the second time at line 2, column 16 (an array as the member's value repeats an element)
        POST /cases
            400 KN0230 the value of "a" cannot be case data: "not a name" at "" is not an XML name (use letters, digits, _, - and ., starting with a letter or _)
        POST /cases
            400 KN0231 the value of "a" cannot be case data: array at "" has no element name to repeat (wrap the array in an object: {"item": [...]})
        POST /cases
            400 KN0508 member "key" must be left out when business_key is given, which is the same (GET /openapi.json says what each route takes)
        POST /cases
            400 KN0513 key must be 1 to 255 visible ASCII characters (a UUID is a good key)
        POST /cases
            400 KN0513 Idempotency-Key must be 1 to 255 visible ASCII characters (a UUID is a good key)
        POST /cases
            400 KN0510 query parameter workflow must be given with an XML body, not "" (GET /openapi.json says what each route takes)
        POST /cases?workflow=w
            400 KN0220 the value of "the body" cannot be case data: not well-formed XML: expected 'a' tag, not 'data' at line 1, column 10 (check that every tag is closed and that < and & are written &lt; and &amp;)
        POST /cases?workflow=w
            400 KN0521 the XML body must be one root element (send one root element with one child element for each parameter)
        POST /cases?workflow=w
            400 KN0521 the XML body has two elements a below its root (send one root element with one child element for each parameter)
        POST /cases?workflow=w
            400 KN0521 the XML body has text beside the elements below its root (send one root element with one child element for each parameter)
        POST /cases?workflow=w
            400 KN0221 the value of "the body" cannot be case data: element data has an attribute a; case data has elements and text only (turn the attribute into a child element)
        POST /cases/CASE/suspend
            400 KN0506 there is no member "reason" here (leave it out)
        POST /workitems/CASE-77/start
            409 KN0356 the work item is not enabled (-)
    "#]].assert_eq(&shown.replace(&case_id().to_string(), "CASE"));
}

#[test]
fn every_limit_holds_at_its_edge() {
    let fake = Fake::new();
    let status = |method: &str, target: &str, headers: &[&str], body: &str| {
        ask(&fake, method, target, headers, body).status
    };
    let pad = LIMITS.body_bytes_max - r#"{"reason":""}"#.len();
    let reason = |length: usize| format!(r#"{{"reason":"{}"}}"#, "r".repeat(length));
    assert_eq!(
        status("POST", "/cases/CASE/cancel", &[], &format!("{{}}{}", " ".repeat(LIMITS.body_bytes_max - 2))),
        200
    );
    assert_eq!(status("POST", "/cases/CASE/cancel", &[], &reason(pad + 1)), 413);
    assert_eq!(status("POST", "/cases/CASE/cancel", &[], &reason(REASON_BYTES_MAX)), 200);
    assert_eq!(status("POST", "/cases/CASE/cancel", &[], &reason(REASON_BYTES_MAX + 1)), 400);

    let deep = |depth: usize| {
        let inside = depth - 2;
        format!(r#"{{"workflow":"w","data":{}1{}}}"#, r#"{"a":"#.repeat(inside + 1), "}".repeat(inside + 1))
    };
    let too_deep = refused(&ask(&fake, "POST", "/cases", &[], deep(JSON_DEPTH_MAX + 1)));
    assert!(too_deep.starts_with("400 KN0504"), "{too_deep}");
    let at_the_edge = ask(&fake, "POST", "/cases", &[], deep(JSON_DEPTH_MAX));
    assert!(!refused(&at_the_edge).contains("KN0504"), "the limit of case data is smaller and comes first");

    let key = |length: usize| format!("idempotency-key: {}", "k".repeat(length));
    assert_eq!(status("POST", "/cases/CASE/suspend", &[&key(KEY_LEN_MAX)], ""), 200);
    assert_eq!(status("POST", "/cases/CASE/suspend", &[&key(KEY_LEN_MAX + 1)], ""), 400);
    let business = |length: usize| format!(r#"{{"workflow":"w","key":"{}"}}"#, "k".repeat(length));
    assert_eq!(status("POST", "/cases", &[], &business(KEY_LEN_MAX)), 201);
    assert_eq!(status("POST", "/cases", &[], &business(KEY_LEN_MAX + 1)), 400);
    assert_eq!(status("POST", "/cases", &[], &business(0)), 400);

    let header = |length: usize| format!("x-any: {}", "v".repeat(length));
    assert_eq!(status("GET", "/health", &[&header(HEADER_BYTES_MAX)], ""), 200);
    assert_eq!(status("GET", "/health", &[&header(HEADER_BYTES_MAX + 1)], ""), 431);

    let target = |bytes: usize| format!("/cases?after={}", "a".repeat(bytes - "/casesafter=".len()));
    assert_eq!(status("GET", &target(PATH_BYTES_MAX), &[], ""), 200);
    assert_eq!(status("GET", &target(PATH_BYTES_MAX + 1), &[], ""), 414);

    let lines = |count: usize| "{}\n".repeat(count);
    assert_eq!(status("POST", "/batch", &[], &lines(LIMITS.batch_lines_max)), 200);
    assert_eq!(status("POST", "/batch", &[], &lines(LIMITS.batch_lines_max + 1)), 413);
}

#[test]
fn two_requests_share_a_fingerprint_only_when_all_of_them_is_equal() {
    let fake = Fake::new();
    let fingerprint = |target: &str, body: &str| {
        let headers: &[&str] = if target == "/batch" { &[] } else { &["idempotency-key: k"] };
        ask(&fake, "POST", target, headers, body);
        fake.requests.lock().unwrap().pop().unwrap()
    };
    let first = fingerprint("/cases/CASE/cancel", "");
    assert_eq!(fingerprint("/cases/CASE/cancel", ""), first);
    for (target, body) in
        [("/cases/CASE/cancel", " "), ("/cases/CASE/cancel", "{}"), ("/cases/CASE/retry", "")]
    {
        assert_ne!(fingerprint(target, body), first, "{target} {body:?}");
    }
    let line = |line: &str| fingerprint("/batch", line);
    let first = line(r#"{"op":"create","workflow":"w","key":"k"}"#);
    assert_eq!(line(r#" {"op":"create","workflow":"w","key":"k"} "#), first);
    assert_ne!(line(r#"{"op":"create","workflow":"v","key":"k"}"#), first);
}
