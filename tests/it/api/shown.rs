//! Answers as they are sent.

use std::fmt::Write;

use expect_test::{Expect, expect};
use serde_json::Value;

use super::fake::{Fake, case_id};
use super::{ask, json_of};

/// Shows a whole answer.
fn check(fake: &Fake, ask_for: (&str, &str, &[&str], &str), expected: Expect) {
    let (method, target, headers, body) = ask_for;
    let response = ask(fake, method, target, headers, body);
    let mut shown = format!("{}\n", response.status);
    for (name, value) in &response.headers {
        writeln!(shown, "{name}: {value}").unwrap();
    }
    let text = String::from_utf8(response.body).unwrap();
    match serde_json::from_str::<Value>(&text) {
        Ok(json) => shown += &serde_json::to_string_pretty(&json).unwrap(),
        Err(_) => shown += &text,
    }
    for call in fake.calls() {
        write!(shown, "\n> {call}").unwrap();
    }
    expected.assert_eq(&shown);
}

#[test]
fn a_list_that_is_verified_has_short_pages_and_says_what_is_wrong() {
    check(
        &Fake::new(),
        ("GET", "/cases?verify=true&limit=1000", &[], ""),
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
                  "key": "k-1",
                  "chain": "damaged",
                  "damage": "journal entry 7 is missing"
                }
              ],
              "next": "token"
            }
            > CaseFilter { state: None, workflow: None, older_than_us: None, is_archived: false } PageOf { after: None, limit: 100 }
            > check 022pvvmar007"#]],
    );
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
}

#[test]
fn items_and_histories_are_shown() {
    let fake = Fake::new();
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
            > CaseFilter { state: Some(Running), workflow: Some("urn:x@2"), older_than_us: Some(7776000000000), is_archived: false } PageOf { after: Some("t"), limit: 7 }"#]],
    );
    let target = "/workitems?case=CASE&workflow=w&task=a+b&state=enabled";
    let response = ask(&fake, "GET", target, &[], "");
    assert_eq!(response.status, 200);
    expect![[r#"ItemFilter { case: Some(CaseId(2347315200000007)), workflow: Some("w"), task: Some("a b"), state: Some("enabled") } PageOf { after: None, limit: 100 }"#]].assert_eq(&fake.calls().join("\n"));
}

#[test]
fn specifications_are_registered() {
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
}

#[test]
fn a_key_that_is_not_remembered_is_told_and_only_then() {
    let fake = Fake::new();
    let remembered = |target: &str, headers: &[&str], body: &str| {
        let document = json_of(&ask(&fake, "POST", target, headers, body));
        document.get("remembered").cloned()
    };
    let (key, not) = (&["idempotency-key: k"][..], Some(Value::Bool(false)));
    // Nothing to do, a business key that has its case, and bytes that are registered.
    for (target, body) in
        [("/cases/CASE/execute", ""), ("/cases", r#"{"workflow":"w","key":"old"}"#), ("/workflows", "same")]
    {
        assert_eq!(remembered(target, key, body), not, "{target}");
        assert_eq!(remembered(target, &[], body), None, "{target}");
    }
    for (target, body) in [
        ("/cases/CASE/suspend", ""),
        ("/cases", r#"{"workflow":"w"}"#),
        ("/workflows", "new"),
        ("/workitems/CASE-2/start", ""),
    ] {
        assert_eq!(remembered(target, key, body), None, "{target}");
    }
    let case = case_id();
    let lines = format!(
        "{{\"op\":\"execute\",\"case\":\"{case}\",\"key\":\"k\"}}\n\
         {{\"op\":\"execute\",\"case\":\"{case}\"}}\n\
         {{\"op\":\"suspend\",\"case\":\"{case}\",\"key\":\"k\"}}\n"
    );
    let answer = ask(&fake, "POST", "/batch", &[], lines);
    let told: Vec<_> = String::from_utf8(answer.body)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].get("remembered").cloned())
        .collect();
    assert_eq!(told, [not, None, None]);
}

#[test]
fn specifications_are_listed() {
    let fake = Fake::new();
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
}

#[test]
fn a_specification_is_shown_with_its_nets() {
    let fake = Fake::new();
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
fn cases_leave_and_come_back() {
    let fake = Fake::new();
    let order = r#"{"older_than":"90d","workflow":"order","state":"completed","limit":10,"after":"t","dry_run":true}"#;
    check(
        &fake,
        ("POST", "/archive", &[], order),
        expect![[r#"
        200
        content-type: application/json
        {
          "archived": 3,
          "bytes": 1000,
          "file": "2026-11/00000000000000000007.arc",
          "kept_back": 1,
          "refused": 0,
          "dry_run": true,
          "next": "20000-000000000000"
        }
        > ArchiveOrder { older_than_us: 7776000000000, workflow: Some("order"), state: Some(Completed), limit: 10, after: Some("t"), is_trial: true }"#]],
    );
    for wrong in [
        "{}",
        r#"{"older_than":"soon"}"#,
        r#"{"older_than":"1d","state":"running"}"#,
        r#"{"older_than":"1d","limit":1001}"#,
        r#"{"older_than":"1d","dry_run":1}"#,
        r#"{"older_then":"1d"}"#,
    ] {
        assert_eq!(ask(&fake, "POST", "/archive", &[], wrong).status, 400, "{wrong}");
    }
    check(
        &fake,
        ("GET", "/cases?archived=true&limit=1", &[], ""),
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
              "key": "k-1",
              "archived": true,
              "archive": "2026-11/00000000000000000007.arc"
            }
          ],
          "next": "token"
        }
        > CaseFilter { state: None, workflow: None, older_than_us: None, is_archived: true } PageOf { after: None, limit: 1 }"#]],
    );
    let fake = Fake::new();
    let bytes: &[&str] = &["content-type: application/octet-stream"];
    let response = ask(&fake, "POST", "/cases/CASE/restore?force=true&from=a%20backup", bytes, "KNHKCASE");
    assert_eq!(response.status, 200);
    assert_eq!(ask(&fake, "POST", "/cases/CASE/restore", &[], "{}").status, 200);
    assert_eq!(ask(&fake, "POST", "/cases/CASE/restore?force=perhaps", &[], "").status, 400);
    let calls = fake.calls().join("\n");
    expect![[r#"
        RestoreOrder { case: CaseId(2347315200000007), history: Some([75, 78, 72, 75, 67, 65, 83, 69]), from: "a backup", is_forced: true }
        RestoreOrder { case: CaseId(2347315200000007), history: None, from: "a history that was sent", is_forced: false }"#]].assert_eq(&calls);
}
