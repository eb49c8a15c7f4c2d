//! What is refused, and how it is said.

use std::fmt::Write;

use expect_test::expect;
use knhk::api::{HEADER_BYTES_MAX, JSON_DEPTH_MAX, KEY_LEN_MAX, PATH_BYTES_MAX, REASON_BYTES_MAX};

use super::fake::{Fake, case_id};
use super::{LIMITS, ask, header, json_of, refused};

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
        writeln!(shown, "{} {} {} ({})", answer["status"], body["code"], body["detail"], body["hint"])
            .unwrap();
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
#[expect(clippy::too_many_lines, reason = "a table")]
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
        ("POST", "/cases", vec![json], r#"{"workflow":"w","key":"a\tb"}"#),
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
        writeln!(shown, "{method} {target}\n    {}{allow}", refused(&response)).unwrap();
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
            400 KN0529 key must be 1 to 255 characters without control characters (take the number or name that people know the case by)
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
fn a_page_of_another_site_changes_nothing() {
    let fake = Fake::new();
    let status =
        |method: &str, headers: &[&str]| ask(&fake, method, "/cases/CASE/cancel", headers, "").status;
    let host = "host: 127.0.0.1:8080";
    assert_eq!(status("POST", &[host, "origin: http://127.0.0.1:8080"]), 200);
    assert_eq!(status("POST", &[host]), 200, "a program");
    fake.calls();
    for origin in
        ["origin: https://evil.example", "origin: null", "origin: http://127.0.0.1:3000", "origin: "]
    {
        assert_eq!(status("POST", &[host, origin]), 403, "{origin}");
    }
    assert_eq!(status("POST", &["origin: https://evil.example"]), 403);
    assert!(fake.calls().is_empty());
    let read = ask(&fake, "GET", "/cases/CASE", &[host, "origin: https://evil.example"], "");
    assert_eq!(read.status, 200);
}
