//! A page whose name leads to this machine asks under that name (DNS rebinding).

use super::*;

const EVIL: &str = "evil.example:8080";

#[test]
fn another_name_is_refused_on_every_route_and_reaches_nothing() {
    let running = Running::start(Allow::Everyone, "", "127.0.0.1:0");
    for route in
        knhk::api::routes().chain(["GET /nowhere", "DELETE /cases", "OPTIONS /cases", "PUT /metrics"])
    {
        let answer = ask(running.connect(), &head(route, Some(EVIL), 0));
        let problem = answer.expect(421);
        assert_eq!(problem["code"], "KN0370", "{route}");
        assert_eq!(problem["title"], "not for this service", "{route}");
        assert!(problem["hint"].as_str().unwrap().contains("allowed_hosts"), "{route}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{route}");
        assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    }
    assert_eq!(ask(running.connect(), &head("HEAD /cases", Some(EVIL), 0)).status, 421);
    assert_eq!(running.fake.calls(), Vec::<String>::new());
    running.server.stop();
}

#[test]
fn names_of_the_loopback_interface_are_answered_on_every_port() {
    let running = Running::start(Allow::Group, "", "127.0.0.1:0");
    let own = running.address.to_string();
    for host in [
        own.as_str(),
        "localhost",
        "LOCALHOST:9000",
        "a.localhost",
        "127.9.9.9:1",
        "[::1]:9000",
        "[::ffff:127.0.0.1]",
    ] {
        assert_eq!(ask(running.connect(), &head("GET /cases", Some(host), 0)).status, 200, "{host}");
    }
    // An old client that names no host is no browser.
    let mut old = running.connect();
    old.write_all(b"GET /cases HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    running.server.stop();
}

#[test]
fn what_is_listed_is_answered_too_and_nothing_beside_it() {
    let running = Running::start(Allow::Group, "knhk.example.com, 192.0.2.7", "127.0.0.1:0");
    for host in ["KNHK.example.com", "knhk.example.com.:443", "192.0.2.7:80", "localhost"] {
        assert_eq!(ask(running.connect(), &head("GET /cases", Some(host), 0)).status, 200, "{host}");
    }
    for host in ["example.com", "x.knhk.example.com", "192.0.2.8", ""] {
        assert_eq!(ask(running.connect(), &head("GET /cases", Some(host), 0)).status, 421, "{host}");
    }
    running.server.stop();
}

#[test]
fn a_good_host_does_not_hide_a_bad_one() {
    let running = Running::start(Allow::Group, "", "127.0.0.1:0");
    for (one, other) in [("localhost", EVIL), (EVIL, "localhost")] {
        let request = format!("GET /cases HTTP/1.1\r\nHost: {one}\r\nHost: {other}\r\n\r\n");
        assert_eq!(ask(running.connect(), &request).status, 400, "{one}, {other}");
    }
    assert_eq!(running.fake.calls(), Vec::<String>::new());
    running.server.stop();
}

#[test]
fn the_unix_socket_takes_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("knhk.sock");
    let listeners = vec![Listener::unix(&socket).unwrap()];
    let fake = Arc::new(Fake::new());
    let server =
        Server::start(listeners, crate::api::gate(), &server_options(), Arc::clone(&fake) as _).unwrap();
    assert_eq!(ask_unix(&socket, &head("GET /cases", Some(EVIL), 0)).status, 200);
    server.stop();
}
