//! Commands on work items and specifications, against canned answers.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

use std::fs;

use expect_test::expect;

use super::{CASE, Fake, Home, JSON, problem};

#[test]
fn work_items_are_listed_and_done() {
    let home = Home::new("");
    let item = r#"{"id":"00000000002d-3","case":"00000000002d","workflow":"order","task":"Pay","name":"Pay","instance":0,
        "state":"executing","since":"2999-01-31T09:30:00.000000Z","data":{},"outputs":[],"reason":null,"case_state":"running"}"#;
    let fake = Fake::start(&home, 7, move |request| match request {
        _ if request.starts_with("GET") => (200, JSON, format!(r#"{{"items":[{item}],"next":null}}"#)),
        _ if request.contains("busy") => {
            problem(503, r#"{"code":"KN0302","detail":"too many commands wait","title":"busy","key":"s-1"}"#)
        }
        _ if request.contains("stopping") => problem(
            503,
            r#"{"code":"KN0303","detail":"the service is stopping","title":"service not available"}"#,
        ),
        _ => (200, JSON, item.to_owned()),
    });
    home.check(
        &["workitem", "list", "--case", "00000000002d", "--task", "Pay", "--state", "enabled"],
        &expect![[r#"
            ID              WORKFLOW  TASK  STATE      AGE
            00000000002d-3  order     Pay   executing   0s
            = 0
        "#]],
    );
    home.check(
        &["workitem", "start", "00000000002d-3"],
        &expect![[r#"
        id          00000000002d-3
        task        Pay
        state       executing
        case        00000000002d
        case_state  running
        = 0
    "#]],
    );
    home.check(
        &["workitem", "complete", "00000000002d-3", "--data", r#"{"paid":true}"#, "-q"],
        &expect![[r#"
            = 0
        "#]],
    );
    home.check(&["workitem", "fail", "00000000002d-3", "--reason", "card refused", "--json"], &expect![[r#"
        {"id":"00000000002d-3","case":"00000000002d","workflow":"order","task":"Pay","name":"Pay","instance":0,"state":"executing","since":"2999-01-31T09:30:00.000000Z","data":{},"outputs":[],"reason":null,"case_state":"running"}
        = 0
    "#]]);
    home.check(
        &["workitem", "skip", "00000000002d-3", "--reason", "ä\n"],
        &expect![[r#"
        id          00000000002d-3
        task        Pay
        state       executing
        case        00000000002d
        case_state  running
        = 0
    "#]],
    );
    home.check(
        &["workitem", "start", "busy"],
        &expect![[r#"
        ! error[KN0302]: too many commands wait
        ! hint: ask again with --idempotency-key s-1
        = 75
    "#]],
    );
    home.check(
        &["workitem", "start", "stopping"],
        &expect![[r#"
        ! error[KN0303]: the service is stopping
        = 69
    "#]],
    );
    expect![[r#"
        GET /workitems?case=00000000002d&task=Pay&state=enabled&limit=1000
        POST /workitems/00000000002d-3/start application/json {}
        POST /workitems/00000000002d-3/complete application/json {"data":{"paid":true}}
        POST /workitems/00000000002d-3/fail application/json {"reason":"card refused"}
        POST /workitems/00000000002d-3/skip application/json {"reason":"ä\n"}
        POST /workitems/busy/start application/json {}
        POST /workitems/stopping/start application/json {}
    "#]]
    .assert_eq(&fake.asked());
}

#[test]
fn specifications_are_registered_and_shown() {
    let home = Home::new("body_bytes_max = 4096");
    fs::write(home.path("order.yawl"), "<specificationSet/>").unwrap();
    fs::write(home.path("large.yawl"), "x".repeat(4_097)).unwrap();
    let workflow = r#"{"id":"http://x.org/order","version":3,"name":null,"registered":"2026-01-31T09:00:00.000000Z",
        "warnings":["soundness not checked"],"nets":[{"id":"Net","name":null,"conditions":["i","o"],"input":"i","output":"o","tasks":[
        {"id":"Pay","name":"Pay","kind":"manual","net":null,"join":"xor","split":"and","from":["i"],"to":["o","c1"],"removes":[]},
        {"id":"Check","name":null,"kind":"composite","net":"Sub","join":"or","split":"or","from":["c1"],"to":["o"],"removes":["i"]}],
        "variables":[],"at_most_one_token":true}]}"#;
    let fake = Fake::start(&home, 10, move |request| match request {
        _ if request.contains("accept_unsound") => problem(
            422,
            r#"{"code":"KN0210","detail":"the specification is refused","title":"x","mistakes":[
              {"code":"KN0211","severity":"error","line":12,"column":5,"message":"task Pay has no flow","hint":"add one"},
              {"code":"KN0212","severity":"warning","line":0,"column":0,"message":"unused decomposition","hint":""}]}"#,
        ),
        _ if request.starts_with("POST") => (
            201,
            JSON,
            r#"{"id":"http://x.org/order","version":3,"warnings":["soundness not checked"]}"#.to_owned(),
        ),
        _ if request.contains("/cases/0000000000zz") => {
            problem(404, r#"{"code":"KN0350","detail":"no such case"}"#)
        }
        _ if request.contains(".svg") => (200, "image/svg+xml", "<svg/>\n".to_owned()),
        _ if request.contains("/cases/") => (200, JSON, CASE.to_owned()),
        _ => (200, JSON, workflow.to_owned()),
    });
    home.check(
        &["workflow", "register", "order.yawl"],
        &expect![[r#"
        id       http://x.org/order
        version  3
        warning  soundness not checked
        = 0
    "#]],
    );
    home.check(
        &["workflow", "register", "order.yawl", "-q"],
        &expect![[r#"
        http://x.org/order@3
        = 0
    "#]],
    );
    home.check(
        &["workflow", "register", "order.yawl", "--accept-unsound"],
        &expect![[r#"
        ! error[KN0211]: order.yawl:12:5: task Pay has no flow
        ! hint: add one
        ! warning[KN0212]: order.yawl: unused decomposition
        ! error[KN0210]: the specification is refused
        = 1
    "#]],
    );
    home.check(
        &["workflow", "show", "http://x.org/order"],
        &expect![[r#"
        id       http://x.org/order
        version  3
        warning  soundness not checked

        net Net
        TASK   KIND           JOIN  SPLIT  FROM  TO     REMOVES
        Pay    manual         xor   and    i     o, c1
        Check  composite Sub  or    or     c1    o      i
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "http://x.org/order@3", "--svg"],
        &expect![[r#"
        <svg/>
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "0000000000zz", "--svg"],
        &expect![[r#"
        <svg/>
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "00000000002d"],
        &expect![[r#"
        id        00000000002d
        workflow  order@3
        state     running
        created   2026-01-31T09:00:00.000000Z
        changed   2026-01-31T09:30:00.000000Z
        key       K-7
        enabled   Ship, Pay
        busy      -
        marking   c1=2, c{A_B}
        incident  kind=deadlock instance=0 detail=nothing can go on since=2026-01-31T09:30:00.000000Z
        below     Check: x; enabled -; busy Look
        data
        {
          "amount": 5
        }

        net Net
        TASK   KIND           JOIN  SPLIT  FROM  TO     REMOVES
        Pay    manual         xor   and    i     o, c1
        Check  composite Sub  or    or     c1    o      i
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "00000000002d", "--svg"],
        &expect![[r#"
        <svg/>
        = 0
    "#]],
    );
    expect![[r#"
        POST /workflows application/xml <specificationSet/>
        POST /workflows application/xml <specificationSet/>
        POST /workflows?accept_unsound=true application/xml <specificationSet/>
        GET /workflows/http%3A%2F%2Fx%2Eorg%2Forder
        GET /workflows/http%3A%2F%2Fx%2Eorg%2Forder%403.svg
        GET /cases/0000000000zz.svg
        GET /workflows/0000000000zz.svg
        GET /cases/00000000002d
        GET /workflows/order%403
        GET /cases/00000000002d.svg
    "#]]
    .assert_eq(&fake.asked());
    home.check(
        &["workflow", "register", "large.yawl"],
        &expect![[r#"
        ! error[KN0664]: large.yawl is larger than 4096 bytes
        ! hint: body_bytes_max sets the limit
        = 1
    "#]],
    );
    home.check(
        &["workflow", "register", "."],
        &expect![[r#"
        ! error[KN0652]: could not read .
        ! caused by: Is a directory (os error 21)
        = 74
    "#]],
    );
}
