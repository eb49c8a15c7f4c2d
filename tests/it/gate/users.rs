//! Which users of the machine may use the port. Members of a group are tried in tests/units/unit.sh, where there are some.

use super::*;

const CREATE: &str = r#"{"workflow":"w"}"#;

fn create() -> String {
    head("POST /cases", Some("localhost"), CREATE.len()) + CREATE
}

#[test]
fn a_stranger_may_ask_for_three_routes_and_for_nothing_else() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let running = Running::start(Allow::Group, "", address);
        for route in knhk::api::routes().chain(["GET /nowhere", "DELETE /cases", "POST /metrics"]) {
            let Some(stream) = connect_as(STRANGER, running.address) else { return };
            let answer = ask(stream, &head(route, Some("localhost"), 0));
            if OPEN.contains(&route) {
                assert_eq!(answer.status, 200, "{address} {route}");
                continue;
            }
            let problem = answer.expect(403);
            assert_eq!(problem["code"], "KN0371", "{address} {route}");
            assert!(problem["detail"].as_str().unwrap().contains("user 54321"), "{problem}");
            let hint = problem["hint"].as_str().unwrap();
            assert!(
                ["group", "directory service", "Unix socket"].iter().all(|word| hint.contains(word)),
                "{hint}"
            );
        }
        assert_eq!(running.fake.calls(), Vec::<String>::new(), "{address}");
        running.server.stop();
    }
}

#[test]
fn the_services_own_user_may_and_is_known_by_its_number() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let running = Running::start(Allow::Group, "", address);
        assert_eq!(ask(running.connect(), &create()).status, 201, "{address}");
        assert_eq!(running.fake.callers(), [us()], "{address}");
        running.server.stop();
    }
}

#[test]
fn everyone_may_where_that_is_set() {
    let running = Running::start(Allow::Everyone, "", "127.0.0.1:0");
    let Some(stream) = connect_as(STRANGER, running.address) else { return };
    assert_eq!(ask(stream, &create()).status, 201);
    assert_eq!(running.fake.callers(), [Caller::Local]);
    running.server.stop();
}

#[test]
fn a_user_of_the_unix_socket_is_known_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("knhk.sock");
    let fake = Arc::new(Fake::new());
    let listeners = vec![Listener::unix(&socket).unwrap()];
    let server =
        Server::start(listeners, crate::api::gate(), &server_options(), Arc::clone(&fake) as _).unwrap();
    assert_eq!(ask_unix(&socket, &create()).status, 201);
    assert_eq!(fake.callers(), [us()]);
    server.stop();
}

#[test]
fn who_has_closed_before_it_was_let_in_is_nobody() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let mut gone = connect(listener.local_addr().unwrap());
        gone.write_all(create().as_bytes()).unwrap();
        drop(gone);
        // Only now does anybody accept. The kernel gives such a sender the number of root.
        let running = Running::start_on(listener, Allow::Group, "", crate::api::lane());
        // Who comes later is accepted later; then the first has been judged.
        assert_eq!(ask(running.connect(), &create()).status, 201);
        assert_eq!(running.fake.callers(), [us()], "{address}: only the second");
        running.server.stop();
    }
}

#[test]
fn a_stranger_is_refused_before_the_body_is_read() {
    let running = Running::start(Allow::Group, "", "127.0.0.1:0");
    let Some(stream) = connect_as(STRANGER, running.address) else { return };
    // Nothing of the body is ever sent.
    assert_eq!(ask(stream, &head("POST /cases", Some("localhost"), 60_000)).status, 403);
    let Some(stream) = connect_as(STRANGER, running.address) else { return };
    let request =
        "POST /cases HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(ask(stream, request).status, 403, "in place of 100");
    let Some(stream) = connect_as(STRANGER, running.address) else { return };
    ask_with_large_body(stream, "POST /cases", "").expect(403);
    running.server.stop();
}

#[test]
fn a_stranger_sends_no_body_to_what_is_open() {
    let running = Running::start(Allow::Group, "", "127.0.0.1:0");
    for route in OPEN {
        let Some(stream) = connect_as(STRANGER, running.address) else { return };
        // Nothing of the body is ever sent.
        assert_eq!(
            ask(stream, &head(route, Some("localhost"), 60_000)).expect(403)["code"],
            "KN0371",
            "{route}"
        );
        let Some(stream) = connect_as(STRANGER, running.address) else { return };
        let chunks = format!("{route} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(ask(stream, &chunks).expect(403)["code"], "KN0371", "{route}");
        assert_eq!(ask(running.connect(), &(head(route, Some("localhost"), 1) + "x")).status, 200, "{route}");
    }
    running.server.stop();
}

#[test]
fn strangers_leave_three_quarters_of_the_connections_to_others() {
    let running = Running::start(Allow::Group, "", "127.0.0.1:0");
    let strangers_max = CONNECTIONS_MAX / tiny_http::STRANGERS_PART;
    let mut kept = Vec::new();
    for _ in 0..strangers_max {
        let Some(stream) = connect_as(STRANGER, running.address) else { return };
        kept.push(stream);
    }
    let Some(stream) = connect_as(STRANGER, running.address) else { return };
    let answer = read_answer(&mut BufReader::new(stream), false).unwrap();
    assert_eq!(answer.expect(503)["code"], "KN0527");
    for _ in strangers_max..CONNECTIONS_MAX {
        let own = running.connect();
        assert_eq!(ask(own.try_clone().unwrap(), &create()).status, 201);
        kept.push(own);
    }
    running.server.stop();
}
