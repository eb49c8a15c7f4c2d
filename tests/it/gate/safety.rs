//! Headers that every answer has, on both sides.

use knhk::api::remote::Scope;

use super::*;
use crate::remote;

/// Routes whose answers hold nothing of a case.
const PUBLIC: [&str; 4] = ["GET /health", "GET /health/live", "GET /metrics", "GET /openapi.json"];

#[track_caller]
fn is_safe(route: &str, answer: &Answer) {
    let of = |name: &'static str| {
        answer.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    assert_eq!(of("x-content-type-options").collect::<Vec<_>>(), ["nosniff"], "{route}: {}", answer.status);
    let is_public = PUBLIC.contains(&route.replacen("HEAD", "GET", 1).as_str());
    let copies: &[&str] = if is_public { &[] } else { &["no-store"] };
    assert_eq!(of("cache-control").collect::<Vec<_>>(), copies, "{route}: {}", answer.status);
}

fn asked() -> impl Iterator<Item = &'static str> {
    knhk::api::routes().chain(["GET /nowhere", "DELETE /cases", "HEAD /cases", "HEAD /metrics"])
}

#[test]
fn every_answer_of_the_port_has_them() {
    let running = Running::start(Allow::Everyone, "", "127.0.0.1:0");
    for route in asked() {
        is_safe(route, &ask(running.connect(), &head(route, Some("localhost"), 0)));
        is_safe(route, &ask(running.connect(), &head(route, Some("evil.example"), 0)));
    }
    // What is refused before it is a request.
    is_safe("", &ask(running.connect(), "nonsense\r\n\r\n"));
    is_safe("", &ask(running.connect(), &head("POST /cases", Some("localhost"), usize::MAX)));
    running.server.stop();
}

#[test]
fn every_answer_to_another_machine_has_them() {
    let running = remote::Running::start(Fake::new(), |_| {});
    let token = running.token("a", Scope::Admin);
    for route in asked().filter(|route| !route.starts_with("HEAD")) {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", &case_id().to_string());
        for token in [None, Some("knhk_wrong"), Some(token.as_str())] {
            is_safe(route, &running.connect().ask(method, &path, token, b""));
        }
    }
    // What is refused before it is a request.
    let mut client = running.connect();
    client.send("nonsense\r\n\r\n");
    is_safe("", &client.answer().unwrap());
    running.stop();
}
