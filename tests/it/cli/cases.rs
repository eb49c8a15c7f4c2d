//! Commands on cases, against canned answers.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

use std::fs;

use expect_test::expect;

use super::{CASE, Fake, Home, JSON, problem};

#[test]
fn lists_page_through_everything_and_both_forms_say_the_same() {
    let answer = |request: &str| {
        let after = request.contains("after=T1");
        let item = |id: &str, state: &str| {
            format!(
                r#"{{"id":"{id}","workflow":"order","version":3,"state":"{state}","enabled_count":2,
                "created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null}}"#
            )
        };
        let body = if after {
            format!(r#"{{"items":[{}],"next":null}}"#, item("00000000002e", "incident"))
        } else {
            format!(
                r#"{{"items":[{},{}],"next":"T1"}}"#,
                item("00000000002c", "running"),
                item("00000000002d", r"x\u001b[2J")
            )
        };
        (200, JSON, body)
    };
    for (arguments, count, expected) in [
        (
            &["workflow", "list", "--older-than", "90d", "--state", "running", "--workflow", "a b/c@2"][..],
            2,
            expect![[r#"
                GET /cases?state=running&workflow=a%20b%2Fc%402&older_than=90d&limit=1000
                GET /cases?state=running&workflow=a%20b%2Fc%402&older_than=90d&limit=1000&after=T1
                ID            WORKFLOW  VERSION  STATE       AGE  ENABLED
                00000000002c  order           3  running      0s        2
                00000000002d  order           3  x\u{1b}[2J   0s        2
                00000000002e  order           3  incident   0s        2
                = 0
            "#]],
        ),
        (
            &["workflow", "list", "--json"][..],
            2,
            expect![[r#"
            GET /cases?limit=1000
            GET /cases?limit=1000&after=T1
            {"items":[{"id":"00000000002c","workflow":"order","version":3,"state":"running","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null},{"id":"00000000002d","workflow":"order","version":3,"state":"x\u001b[2J","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null},{"id":"00000000002e","workflow":"order","version":3,"state":"incident","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null}],"next":null}
            = 0
        "#]],
        ),
        (
            &["workflow", "list", "-q"][..],
            2,
            expect![[r#"
            GET /cases?limit=1000
            GET /cases?limit=1000&after=T1
            00000000002c
            00000000002d
            00000000002e
            = 0
        "#]],
        ),
        (
            &["workflow", "list", "--limit", "2"][..],
            1,
            expect![[r#"
            GET /cases?limit=2
            ID            WORKFLOW  VERSION  STATE       AGE  ENABLED
            00000000002c  order           3  running      0s        2
            00000000002d  order           3  x\u{1b}[2J   0s        2
            ! there is more: --after T1
            = 0
        "#]],
        ),
        (
            &["workflow", "list", "--limit", "2", "--json", "--after", "T0"][..],
            1,
            expect![[r#"
            GET /cases?limit=2&after=T0
            {"items":[{"id":"00000000002c","workflow":"order","version":3,"state":"running","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null},{"id":"00000000002d","workflow":"order","version":3,"state":"x\u001b[2J","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null}],"next":"T1"}
            = 0
        "#]],
        ),
    ] {
        let home = Home::new("");
        let fake = Fake::start(&home, count, answer);
        let printed = home.run(arguments);
        expected.assert_eq(&(fake.asked() + &printed));
    }
}

#[test]
fn cases_are_created_shown_and_steered() {
    let home = Home::new("");
    fs::write(home.path("data.json"), r#"{"amount": 5}"#).unwrap();
    let fake = Fake::start(&home, 12, |request| {
        if request.starts_with("GET /cases/00000000002d/history") {
            let items = r#"{"items":[{"seq":1,"time":"2026-01-31T09:00:00.000000Z","event":"created","workflow":"order"},
                {"seq":2,"time":"2026-01-31T09:00:01.000000Z","event":"task enabled","task":"Pay","item":null,"taken":["a","b"]}],"next":null}"#;
            return (200, JSON, items.to_owned());
        }
        if request.starts_with("GET /cases/unknown") {
            return problem(
                404,
                r#"{"code":"KN0350","detail":"there is no case unknown","title":"no such thing","hint":"knhk workflow list"}"#,
            );
        }
        (200, JSON, CASE.to_owned())
    });
    home.check(
        &["workflow", "create", "order", "--data", r#"{"amount": 5}"#, "--key", "K-7", "-q"],
        &expect![[r#"
            00000000002d
            = 0
        "#]],
    );
    home.check(
        &["workflow", "create", "order@3", "--data", "data.json", "--idempotency-key", "i1", "--json"],
        &expect![[r#"
            {"id":"00000000002d","workflow":"order","version":3,"state":"running","net":"Net","instance":0,"marking":{"c1":2,"c{A_B}":1},"busy":[],"enabled":["Ship","Pay"],"data":{"amount":5},"children":{"Check":[{"net":"Sub","instance":1,"marking":{"x":1},"busy":["Look"],"enabled":[],"data":{},"children":{}}]},"incidents":[{"kind":"deadlock","instance":0,"task":null,"item":null,"detail":"nothing can go on","since":"2026-01-31T09:30:00.000000Z"}],"events":9,"created":"2026-01-31T09:00:00.000000Z","changed":"2026-01-31T09:30:00.000000Z","key":"K-7"}
            = 0
        "#]],
    );
    home.check(
        &["workflow", "create", "order@3", "--data", "@data.json"],
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
        = 0
    "#]],
    );
    home.check(
        &["workflow", "get", "00000000002d"],
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
        = 0
    "#]],
    );
    home.check(
        &["workflow", "get", "unknown"],
        &expect![[r#"
        ! error[KN0350]: there is no case unknown
        ! hint: knhk workflow list
        = 1
    "#]],
    );
    home.check(&["workflow", "get", "unknown", "--json"], &expect![[r#"
        ! {"code":"KN0350","message":"there is no case unknown","causes":[],"hint":"knhk workflow list","mistakes":[]}
        = 1
    "#]]);
    home.check(
        &["workflow", "history", "00000000002d"],
        &expect![[r#"
        SEQ  TIME                         EVENT         DETAILS
          1  2026-01-31T09:00:00.000000Z  created       workflow=order
          2  2026-01-31T09:00:01.000000Z  task enabled  task=Pay taken=["a","b"]
        = 0
    "#]],
    );
    home.check(
        &["workflow", "cancel", "00000000002d", "--reason", "wrong customer"],
        &expect![[r#"
        00000000002d  running
        = 0
    "#]],
    );
    home.check(&["workflow", "suspend", "00000000002d", "--json"], &expect![[r#"
        {"id":"00000000002d","workflow":"order","version":3,"state":"running","net":"Net","instance":0,"marking":{"c1":2,"c{A_B}":1},"busy":[],"enabled":["Ship","Pay"],"data":{"amount":5},"children":{"Check":[{"net":"Sub","instance":1,"marking":{"x":1},"busy":["Look"],"enabled":[],"data":{},"children":{}}]},"incidents":[{"kind":"deadlock","instance":0,"task":null,"item":null,"detail":"nothing can go on","since":"2026-01-31T09:30:00.000000Z"}],"events":9,"created":"2026-01-31T09:00:00.000000Z","changed":"2026-01-31T09:30:00.000000Z","key":"K-7"}
        = 0
    "#]]);
    home.check(
        &["workflow", "resume", "00000000002d", "--idempotency-key", "k\r\nX: y"],
        &expect![[r#"
        00000000002d  running
        = 0
    "#]],
    );
    home.check(
        &["workflow", "retry", "00000000002d", "-q"],
        &expect![[r#"
        = 0
    "#]],
    );
    home.check(
        &["workflow", "create", "order", "--data", "{}"],
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
        = 0
    "#]],
    );
    expect![[r#"
        POST /cases application/json {"workflow":"order","data":{"amount":5},"key":"K-7"}
        POST /cases i1 application/json {"workflow":"order@3","data":{"amount":5}}
        POST /cases application/json {"workflow":"order@3","data":{"amount":5}}
        GET /cases/00000000002d
        GET /cases/unknown
        GET /cases/unknown
        GET /cases/00000000002d/history?limit=1000
        POST /cases/00000000002d/cancel application/json {"reason":"wrong customer"}
        POST /cases/00000000002d/suspend application/json {}
        POST /cases/00000000002d/resume k??X: y application/json {}
        POST /cases/00000000002d/retry application/json {}
        POST /cases application/json {"workflow":"order","data":{}}
    "#]]
    .assert_eq(&fake.asked());
    home.check(
        &["workflow", "create", "order", "--data", "[1]"],
        &expect![[r#"
        ! error[KN0652]: could not read [1]
        ! caused by: No such file or directory (os error 2)
        = 74
    "#]],
    );
    home.check(
        &["workflow", "create", "order", "--data", "{oops"],
        &expect![[r#"
        ! error[KN0661]: the data is not a JSON object: key must be a string at line 1 column 2
        = 1
    "#]],
    );
    home.check(
        &["workflow", "create", "order", "--data", "absent.json"],
        &expect![[r#"
        ! error[KN0652]: could not read absent.json
        ! caused by: No such file or directory (os error 2)
        = 74
    "#]],
    );
}

#[test]
fn many_cases_change_only_when_somebody_agrees() {
    let list = r#"{"items":[{"id":"00000000002c","state":"incident"},{"id":"00000000002d","state":"incident"},
        {"id":"00000000002e","state":"completed"},{"id":"00000000002f","state":"cancelled"}],"next":null}"#;
    let answer = move |request: &str| {
        if request.starts_with("GET") {
            (200, JSON, list.to_owned())
        } else if request.contains("2c") {
            problem(
                409,
                r#"{"code":"KN0352","detail":"the case has ended","title":"state does not allow this now"}"#,
            )
        } else {
            (200, JSON, CASE.to_owned())
        }
    };
    for (arguments, count, expected) in [
        (
            &["workflow", "cancel", "--state", "incident"][..],
            1,
            expect![[r#"
            GET /cases?state=incident&limit=1000
            ! error[KN0659]: to cancel 2 cases needs --yes
            = 2
        "#]],
        ),
        (
            &["workflow", "cancel", "--state", "incident", "--yes"][..],
            3,
            expect![[r#"
            GET /cases?state=incident&limit=1000
            POST /cases/00000000002c/cancel application/json {}
            POST /cases/00000000002d/cancel application/json {}
            00000000002d  running
            ! 00000000002c: the case has ended
            ! error[KN0662]: 1 of 2 could not be changed
            = 1
        "#]],
        ),
        (
            &["workflow", "cancel", "--older-than", "1h30m", "--yes", "--json"][..],
            3,
            expect![[r#"
            GET /cases?older_than=1h30m&limit=1000
            POST /cases/00000000002c/cancel application/json {}
            POST /cases/00000000002d/cancel application/json {}
            {"done":1,"failed":[{"id":"00000000002c","code":"KN0352","message":"the case has ended"}]}
            ! {"code":"KN0662","message":"1 of 2 could not be changed","causes":[],"hint":null,"mistakes":[]}
            = 1
        "#]],
        ),
    ] {
        let home = Home::new("");
        let fake = Fake::start(&home, count, answer);
        let printed = home.run(arguments);
        expected.assert_eq(&(fake.asked() + &printed));
    }
}
