//! `listen_allow = "token"`: the port asks for what the remote side asks for.

use knhk::api::remote::{Folder, Scope, scopes};

use super::*;
use crate::remote::now;

/// Returns a request of a route with these lines among its headers.
fn with(route: &str, lines: &str) -> String {
    head(route, Some("localhost"), 0).replacen("\r\n", &format!("\r\n{lines}"), 1)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn every_route_but_three_takes_a_token_of_its_scope() {
    let running = Running::start(Allow::Token, "", "127.0.0.1:0");
    let folder = Folder::at(running.folder.path());
    // Made after the start, as by the command.
    let tokens = Scope::ALL.map(|scope| (folder.create(scope.word(), scope, now(), None).unwrap(), scope));
    let expired = folder.create("old", Scope::Admin, now(), Some(now())).unwrap();
    let revoked = folder.create("gone", Scope::Admin, now(), None).unwrap();
    folder.revoke("gone").unwrap();
    let admin = bearer(&tokens[2].0);
    let strangers = [
        (String::new(), "KN0551"),
        ("Authorization: Basic a2Fo\r\n".to_owned(), "KN0551"),
        (admin.repeat(2), "KN0551"),
        (bearer("knhk_"), "KN0552"),
        (bearer(&revoked), "KN0552"),
        (bearer(&expired), "KN0553"),
    ];
    for (route, scope) in scopes() {
        for (lines, code) in &strangers {
            let answer = ask(running.connect(), &with(route, lines));
            if OPEN.contains(&route) {
                assert_eq!(answer.status, 200, "{route}");
                continue;
            }
            assert_eq!(answer.expect(401)["code"], *code, "{route}");
            assert!(answer.header("www-authenticate").is_some(), "{route}");
        }
        assert_eq!(running.fake.calls(), Vec::<String>::new(), "{route}: a stranger reached the service");
        for (token, has) in &tokens {
            let answer = ask(running.connect(), &with(route, &bearer(token)));
            let is_refused = !OPEN.contains(&route) && scope.is_some_and(|needs| *has < needs);
            assert_eq!(answer.status == 403, is_refused, "{route} {has:?}: {}", answer.text());
            assert_ne!(answer.status, 401, "{route} {has:?}");
        }
        running.fake.calls();
    }
    running.server.stop();
}

#[test]
fn a_token_says_who_asks_whichever_user_shows_it() {
    let running = Running::start(Allow::Token, "", "[::1]:0");
    let token = Folder::at(running.folder.path()).create("t", Scope::Work, now(), None).unwrap();
    let body = r#"{"workflow":"w"}"#;
    let request = head("POST /cases", Some("localhost"), body.len());
    let request = request.replacen("\r\n", &format!("\r\n{}", bearer(&token)), 1) + body;
    let Some(stream) = connect_as(STRANGER, running.address) else { return };
    for stream in [stream, running.connect()] {
        assert_eq!(ask(stream, &request).status, 201);
        let callers = running.fake.callers();
        assert!(matches!(callers[..], [Caller::Token(_)]), "{callers:?}");
    }
    running.server.stop();
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let running = Running::start(Allow::Token, "", "127.0.0.1:0");
    let reader = Folder::at(running.folder.path()).create("t", Scope::Read, now(), None).unwrap();
    for (lines, status, code) in [
        (String::new(), 401, "KN0551"),
        (bearer("knhk_wrong"), 401, "KN0552"),
        (bearer(&reader), 403, "KN0554"),
    ] {
        let answer = ask_with_large_body(running.connect(), "POST /workflows", &lines);
        assert_eq!(answer.expect(status)["code"], code);
    }
    assert_eq!(running.fake.calls(), Vec::<String>::new());
    running.server.stop();
}

#[test]
fn a_good_token_does_not_make_another_host_good() {
    let running = Running::start(Allow::Token, "", "127.0.0.1:0");
    let token = Folder::at(running.folder.path()).create("t", Scope::Admin, now(), None).unwrap();
    let request = head("GET /cases", Some("evil.example"), 0);
    let request = request.replacen("\r\n", &format!("\r\n{}", bearer(&token)), 1);
    assert_eq!(ask(running.connect(), &request).status, 421);
    running.server.stop();
}

#[test]
fn a_change_begins_only_with_room_for_its_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = Running::start_on(listener, Allow::Token, "", Arc::new(Lane::new(4)));
    let folder = Folder::at(running.folder.path());
    let [one, other] = ["one", "other"].map(|name| folder.create(name, Scope::Work, now(), None).unwrap());
    let path = format!("/cases/{}/cancel", case_id());
    let change = |token: &str| ask(running.connect(), &with(&format!("POST {path}"), &bearer(token)));
    let mut begun = 0;
    let refused = (0..10_000).find_map(|_| {
        let answer = change(&one);
        begun += usize::from(answer.status == 200);
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("more than its share in a second");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.expect(503)["code"], "KN0376");
    assert_eq!(change(&other).status, 200, "another token has a share of its own");
    assert_eq!(running.fake.calls().len(), begun + 1, "one without room reached the service");
    // What changes nothing leaves no line.
    for _ in 0..10 {
        assert_eq!(ask(running.connect(), &with("GET /cases", &bearer(&one))).status, 200);
    }
    running.server.stop();
}

#[test]
fn a_body_to_what_is_open_needs_a_token() {
    let running = Running::start(Allow::Token, "", "127.0.0.1:0");
    let token = Folder::at(running.folder.path()).create("t", Scope::Read, now(), None).unwrap();
    for route in OPEN {
        let request = head(route, Some("localhost"), 1) + "x";
        assert_eq!(ask(running.connect(), &request).expect(401)["code"], "KN0551", "{route}");
        let request = request.replacen("\r\n", &format!("\r\n{}", bearer(&token)), 1);
        assert_eq!(ask(running.connect(), &request).status, 200, "{route}");
    }
    running.server.stop();
}

#[test]
fn a_connection_is_a_strangers_until_it_has_shown_a_token() {
    let running = Running::start(Allow::Token, "", "127.0.0.1:0");
    let token = Folder::at(running.folder.path()).create("t", Scope::Read, now(), None).unwrap();
    let request = with("GET /cases", &bearer(&token));
    let strangers_max = CONNECTIONS_MAX / tiny_http::STRANGERS_PART;
    // More than strangers may have, each of which begins as one.
    let mut kept = Vec::new();
    for _ in 0..=strangers_max {
        let stream = running.connect();
        assert_eq!(ask(stream.try_clone().unwrap(), &request).status, 200);
        kept.push(stream);
    }
    for _ in 0..strangers_max {
        let stream = running.connect();
        assert_eq!(ask(stream.try_clone().unwrap(), &head("GET /health", Some("localhost"), 0)).status, 200);
        kept.push(stream);
    }
    let answer = read_answer(&mut BufReader::new(running.connect()), false).unwrap();
    assert_eq!(answer.expect(503)["code"], "KN0527");
    running.server.stop();
}
