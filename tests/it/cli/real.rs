//! The binary against the real HTTP interface on its socket, behind which a service gives canned answers: what
//! commands send is what the interface takes, and what it answers is what they show.

#![expect(clippy::too_many_lines, reason = "snapshots are long")]

use std::fs;
use std::sync::Arc;

use expect_test::expect;
use knhk::api::Limits;
use knhk::api::listen::Listener;
use knhk::api::server::{CONNECTIONS_MAX, Options, Server, TIMES};

use super::Home;
use crate::api::fake::{Fake, case_id};

#[test]
fn every_request_of_a_command_is_one_that_the_interface_takes() {
    let home = Home::new("");
    fs::write(home.path("order.yawl"), "<specificationSet/>").unwrap();
    let fake = Arc::new(Fake::new());
    let limits = Limits { body_bytes_max: 1 << 20, batch_lines_max: 10, ..crate::api::LIMITS };
    let options = Options { http_workers: 2, connections_max: CONNECTIONS_MAX, times: TIMES, limits };
    let listener = Listener::unix(&home.path("knhk.sock")).unwrap();
    let server = Server::start(vec![listener], crate::api::gate(), &options, Arc::clone(&fake) as _).unwrap();

    let (case, item) = (case_id().to_string(), format!("{}-2", case_id()));
    let mut text = String::new();
    // Ages depend on the day, so lists are asked for without them.
    for arguments in [
        &["workflow", "register", "order.yawl", "--accept-unsound", "--idempotency-key", "r1"][..],
        &["workflow", "create", "w@2", "--data", r#"{"a":1}"#, "--key", "k-1", "-q"],
        &[
            "workflow",
            "list",
            "--state",
            "running",
            "--workflow",
            "urn:x:order",
            "--older-than",
            "90d",
            "--limit",
            "1",
            "--json",
        ],
        &["workflow", "list", "--limit", "1", "-q"],
        &["workflow", "get", "CASE"],
        &["workflow", "history", "CASE"],
        &["workflow", "show", "urn:x:order"],
        &["workflow", "cancel", "CASE", "--reason", "no longer wanted"],
        &["workflow", "suspend", "CASE"],
        &["workflow", "resume", "CASE"],
        &["workflow", "retry", "CASE"],
        &["workitem", "list", "--case", "CASE", "--workflow", "w", "--task", "t", "--state", "enabled", "-q"],
        &["workitem", "start", "ITEM"],
        &["workitem", "complete", "ITEM", "--data", r#"{"ok":true}"#],
        &["workitem", "fail", "ITEM", "--reason", "broken"],
        &["workitem", "skip", "ITEM", "--reason", "not needed"],
        &["workflow", "get", "nonsense"],
        &["workflow", "list", "--state", "runing"],
    ] {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|word| match *word {
                "CASE" => case.as_str(),
                "ITEM" => item.as_str(),
                other => other,
            })
            .collect();
        text = text + "$ knhk " + &arguments.join(" ") + "\n" + &home.run(&arguments);
    }
    server.stop();
    expect![[r#"
        $ knhk workflow register order.yawl --accept-unsound --idempotency-key r1
        id       urn:x:order
        version  3
        warning  layout is kept without effect
        warning  soundness not checked
        = 0
        $ knhk workflow create w@2 --data {"a":1} --key k-1 -q
        CASE
        = 0
        $ knhk workflow list --state running --workflow urn:x:order --older-than 90d --limit 1 --json
        {"items":[{"id":"CASE","workflow":"urn:x:order","version":3,"state":"incident","enabled_count":1,"created":"2026-03-01T12:00:00.000000Z","changed":"2026-03-01T12:00:00.000001Z","key":"k-1"}],"next":"token"}
        = 0
        $ knhk workflow list --limit 1 -q
        CASE
        ! there is more: --after token
        = 0
        $ knhk workflow get CASE
        id        CASE
        workflow  urn:x:order@3
        state     incident
        created   2026-03-01T12:00:00.000000Z
        changed   2026-03-01T12:00:00.000001Z
        key       k-1
        enabled   B
        busy      c
        marking   c{a_b}=2
        incident  kind=failed instance=1 task=B item=CASE-2 detail=no stock since=2026-03-01T12:00:00.000000Z
        below     C: -; enabled -; busy Inner
        data
        {
          "note": "a < b",
          "count": 12,
          "ok": true
        }
        = 0
        $ knhk workflow history CASE
        SEQ  TIME                         EVENT    DETAILS
          1  2026-03-01T12:00:00.000000Z  created  task=A instance=1 put=["c{A_B}"] data={"note":"a < b","count":12,"ok":true}
        = 0
        $ knhk workflow show urn:x:order
        id       urn:x:order
        version  3
        warning  layout is kept without effect
        warning  soundness not checked

        net Main
        TASK  KIND    JOIN  SPLIT  FROM    TO      REMOVES
        a     manual  xor   and    start   c{a_b}
        b     manual  xor   and    c{a_b}  c{b_c}
        c     manual  xor   and    c{b_c}  end
        = 0
        $ knhk workflow cancel CASE --reason no longer wanted
        CASE  incident
        = 0
        $ knhk workflow suspend CASE
        CASE  incident
        = 0
        $ knhk workflow resume CASE
        CASE  incident
        = 0
        $ knhk workflow retry CASE
        CASE  incident
        = 0
        $ knhk workitem list --case CASE --workflow w --task t --state enabled -q
        CASE-2
        = 0
        $ knhk workitem start CASE-2
        id          CASE-2
        task        B
        state       executing
        case        CASE
        case_state  running
        = 0
        $ knhk workitem complete CASE-2 --data {"ok":true}
        id          CASE-2
        task        B
        state       executing
        case        CASE
        case_state  running
        = 0
        $ knhk workitem fail CASE-2 --reason broken
        id          CASE-2
        task        B
        state       executing
        case        CASE
        case_state  running
        = 0
        $ knhk workitem skip CASE-2 --reason not needed
        id          CASE-2
        task        B
        state       executing
        case        CASE
        case_state  running
        = 0
        $ knhk workflow get nonsense
        ! error[KN0517]: "nonsense" is not the id of a case
        ! hint: a case id has 12 characters; a work item id is CASE-NUMBER
        = 1
        $ knhk workflow list --state runing
        ! error[KN0510]: query parameter state must be one of running, suspended, incident, completed, cancelled, not "runing"
        ! hint: GET /openapi.json says what each route takes
        = 1
    "#]].assert_eq(&text.replace(&case, "CASE"));
    expect![[r#"
        register 19 bytes, key Some("r1")
        specification urn:x:order
        Create { workflow: "w@2", data: [("a", Fragment("1"))], business_key: Some("k-1") } key None
        CaseFilter { state: Some(Running), workflow: Some("urn:x:order"), older_than_us: Some(7776000000000), is_archived: false } PageOf { after: None, limit: 1 }
        CaseFilter { state: None, workflow: None, older_than_us: None, is_archived: false } PageOf { after: None, limit: 1 }
        history PageOf { after: None, limit: 1000 }
        specification urn:x:order
        Case(CaseId(CASE), Cancel { reason: "no longer wanted" }) key None
        Case(CaseId(CASE), Suspend) key None
        Case(CaseId(CASE), Resume) key None
        Case(CaseId(CASE), Retry) key None
        ItemFilter { case: Some(CaseId(CASE)), workflow: Some("w"), task: Some("t"), state: Some("enabled") } PageOf { after: None, limit: 1000 }
        Item(ItemId { case: CaseId(CASE), number: 2 }, Start) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Complete([("ok", Fragment("true"))])) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Fail { reason: "broken" }) key None
        Item(ItemId { case: CaseId(CASE), number: 2 }, Skip { reason: "not needed" }) key None"#]].assert_eq(&fake.calls().join("\n").replace(&case_id().0.to_string(), "CASE"));
}
