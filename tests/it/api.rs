//! The HTTP interface as a function: request in, answer out, against a service of canned answers.

pub(crate) mod fake;
mod generated;
mod openapi;
mod refusals;
mod room;
mod shown;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use expect_test::expect;
use knhk::api::audit::{AUDIT_LINES_PER_SECOND_MAX, Lane};
use knhk::api::{Gate, Limits, Request, Response, gate, respond};
use knhk::engine::clock::SystemClock;
use knhk::engine::service::Caller;
use serde_json::Value;

use fake::{Fake, case_id};

pub(crate) const LIMITS: Limits = Limits {
    body_bytes_max: 64 * 1024,
    batch_lines_max: 5,
    bodies_bytes_max: 4 << 20,
    heads_bytes_max: 4 << 20,
};

/// Returns room for as many lines of the audit trail as a service has.
pub(crate) fn lane() -> Arc<Lane> {
    Arc::new(Lane::new(AUDIT_LINES_PER_SECOND_MAX))
}

/// Returns the gate of a service that nobody has configured.
pub(crate) fn gate() -> Gate {
    let options = gate::Options {
        allow: gate::Allow::Group,
        hosts: gate::Hosts::default(),
        folder: PathBuf::new(),
        secrets_dir: None,
    };
    Gate::open(options, Arc::new(SystemClock::new()), lane()).unwrap()
}

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
        caller: Caller::Local,
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
        writeln!(shown, "{} {}{}", line["status"], body["id"], body["detail"]).unwrap();
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
