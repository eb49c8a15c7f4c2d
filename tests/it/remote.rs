//! The way in from other machines: who is let in, what strangers can do, and what it says of both.

pub(crate) mod client;
mod keys;
mod limits;
mod many;
mod service;
mod strangers;
mod tls;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

use knhk::api::audit::{AUDIT_LINES_PER_SECOND_MAX, Lane};
use knhk::api::remote::{
    Certificate, Folder, Options, Remote, STRANGERS_PART, Scope, Security, TIMES, Times, scopes,
};
use knhk::engine::clock::{Clock, SystemClock};
use knhk::id::Time;
use tempfile::TempDir;

use crate::api::LIMITS;
use crate::api::fake::{Fake, case_id};
use client::Client;

/// A remote side in front of canned answers, with a folder of its own.
pub(crate) struct Running {
    pub(crate) remote: Option<Remote>,
    pub(crate) folder: TempDir,
    pub(crate) fake: Arc<Fake>,
}

impl Running {
    /// Starts one; `change` may have other options.
    pub(crate) fn start(fake: Fake, change: impl FnOnce(&mut Options)) -> Self {
        Self::start_with(fake, crate::api::lane(), change)
    }

    /// Starts one with this room for lines of the audit trail.
    fn start_with(fake: Fake, audit: Arc<Lane>, change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options {
            address: "127.0.0.1:0".parse().unwrap(),
            security: Security::Plain,
            folder: folder.path().to_owned(),
            secrets_dir: None,
            connections_max: 100,
            address_connections_max: 100,
            proxies: Vec::new(),
            requests_max: 100,
            http_workers: 4,
            times: TIMES,
            limits: LIMITS,
        };
        change(&mut options);
        let fake = Arc::new(fake);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let remote = Remote::bind(options).unwrap().start(Arc::clone(&fake) as _, clock, audit).unwrap();
        Self { remote: Some(remote), folder, fake }
    }

    /// Starts one that speaks TLS with a certificate of its own.
    pub(crate) fn start_tls(change: impl FnOnce(&mut Options)) -> Self {
        Self::start(Fake::new(), |options| {
            options.security = Security::Tls(Certificate::SelfSigned { names: Vec::new() });
            change(options);
        })
    }

    pub(crate) fn remote(&self) -> &Remote {
        self.remote.as_ref().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a token that never ends.
    pub(crate) fn token(&self, name: &str, scope: Scope) -> String {
        Folder::at(self.folder.path()).create(name, scope, now(), None).unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::plain(self.remote().address())
    }

    pub(crate) fn stop(mut self) {
        assert_eq!(self.remote.take().unwrap().stop(), Vec::<String>::new());
    }
}

pub(crate) fn now() -> Time {
    SystemClock::new().now()
}

/// Short times, for tests that wait for their end.
pub(crate) fn short(change: impl FnOnce(&mut Times)) -> Times {
    let mut times = TIMES;
    change(&mut times);
    times
}

#[test]
fn every_route_takes_a_token_of_its_scope() {
    let running = Running::start_tls(|_| {});
    let folder = Folder::at(running.folder.path());
    let token = |name: &str, scope| running.token(name, scope);
    let (read, work, admin) = (token("r", Scope::Read), token("w", Scope::Work), token("a", Scope::Admin));
    let revoked = token("gone", Scope::Admin);
    folder.revoke("gone").unwrap();
    let expired = folder.create("old", Scope::Admin, now(), Some(now())).unwrap();
    let mut wrong = admin.clone();
    wrong.replace_range(68..69, if wrong.ends_with('0') { "1" } else { "0" });
    let strangers = [None, Some(wrong.as_str()), Some(&revoked), Some(&expired), Some(""), Some("knhk_")];
    let friends = [(&read, Scope::Read), (&work, Scope::Work), (&admin, Scope::Admin)];
    let mut client = Client::tls(running.remote().address(), &running.path("certificate.pem"));
    let mut asked = 0;
    for (route, needed) in scopes() {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", &case_id().to_string());
        for token in strangers {
            let answer = client.ask(method, &path, token, b"");
            if needed.is_none() {
                assert_eq!(answer.status, 200, "{route}");
                continue;
            }
            assert_eq!(answer.status, 401, "{route} {token:?}: {}", answer.text());
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm="), "{route}");
        }
        assert_eq!(running.fake.calls(), Vec::<String>::new(), "{route}: a stranger reached the service");
        for (token, scope) in friends {
            let answer = client.ask(method, &path, Some(token), b"");
            let is_refused = needed.is_some_and(|needed| scope < needed);
            assert_eq!(answer.status == 403, is_refused, "{route} {scope:?}: {}", answer.text());
            assert_ne!(answer.status, 401, "{route} {scope:?}");
            if is_refused {
                assert_eq!(answer.json()["code"], "KN0554");
                assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"));
                assert_eq!(running.fake.calls(), Vec::<String>::new(), "{route} {scope:?}");
            }
            running.fake.calls();
        }
        asked += 1;
    }
    assert_eq!(asked, knhk::api::routes().count());
    // What is served where is not told to strangers.
    assert_eq!(client.ask("GET", "/nowhere", None, b"").status, 401);
    assert_eq!(client.ask("DELETE", "/cases", None, b"").status, 401);
    assert_eq!(client.ask("GET", "/nowhere", Some(&read), b"").status, 404);
    assert_eq!(client.ask("DELETE", "/cases", Some(&read), b"").status, 405);
    running.stop();
}

#[test]
fn the_description_says_which_scope_a_route_takes() {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../src/api/openapi.json")).unwrap();
    for (route, needed) in scopes() {
        let (method, path) = route.split_once(' ').unwrap();
        let said = &document["paths"][path][method.to_lowercase()]["security"];
        let expected = match needed {
            None => serde_json::json!([]),
            Some(scope) => serde_json::json!([{ "bearer": [scope.word()] }]),
        };
        assert_eq!(*said, expected, "{route}");
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let page = include_str!("../../docs/reference/remote.md");
    for (route, needed) in scopes() {
        let scope = needed.map_or("none", Scope::word);
        assert!(page.contains(&format!("| `{route}` | {scope} |")), "{route}: {scope} is not in remote.md");
    }
    assert_eq!(STRANGERS_PART, 4, "a quarter, says remote.md");
    for limit in [
        format!("| changes begun in a second | {AUDIT_LINES_PER_SECOND_MAX}, shared by token |"),
        format!("| time from the accept to the first good token | {} s |", TIMES.first.as_secs()),
        format!("| rest of a connection that has shown one | {} s |", TIMES.idle.as_secs()),
    ] {
        assert!(page.contains(&limit), "{limit} is not in remote.md");
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let running = Running::start_tls(|_| {});
    let token = running.token("one", Scope::Work);
    let mut client = Client::tls(running.remote().address(), &running.path("certificate.pem"));
    let length = client.ask("GET", "/openapi.json", Some(&token), b"").body.len();
    client.send(client::request("HEAD", "/openapi.json", Some(&token), b""));
    let head = client.head().unwrap();
    assert_eq!(head.header("content-length"), Some(length.to_string().as_str()));
    let reason = br#"{"reason":"over"}"#;
    let path = format!("/cases/{}/cancel", case_id());
    assert_eq!(client.ask("POST", &path, Some(&token), reason).status, 200);
    // Sent together, answered in order.
    let pipelined =
        [client::request("GET", "/health", Some(&token), b""), client::request("GET", "/x", None, b"")];
    client.send(pipelined.concat().repeat(10));
    for _ in 0..10 {
        assert_eq!(client.answer().unwrap().status, 200);
        assert_eq!(client.answer().unwrap().status, 401);
    }
    assert_eq!(running.remote().connections(), 1);
    running.stop();
}

#[test]
fn a_token_is_shown_in_one_way_only() {
    let running = Running::start(Fake::new(), |_| {});
    let token = running.token("one", Scope::Admin);
    let status = |lines: &[String]| {
        let head = format!("GET /cases HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", lines.join("\r\n"));
        let mut client = running.connect();
        client.send(head);
        client.answer().unwrap().status
    };
    assert_eq!(status(&[format!("Authorization: Bearer {token}")]), 200);
    assert_eq!(status(&[format!("authorization: bearer  {token} ")]), 200);
    for wrong in [
        format!("Authorization: {token}"),
        format!("Authorization: Basic {token}"),
        format!("Authorization: Bearer {token} {token}"),
        format!("Authorization: Bearer{token}"),
        format!("Authorization: Bearer {}", token.to_uppercase()),
        format!("X-Token: {token}"),
        format!("Cookie: token={token}"),
    ] {
        assert_eq!(status(std::slice::from_ref(&wrong)), 401, "{wrong}");
    }
    let twice = [format!("Authorization: Bearer {token}"), format!("Authorization: Bearer {token}")];
    assert_eq!(status(&twice), 401);
    assert_eq!(running.connect().ask("GET", &format!("/cases?token={token}"), None, b"").status, 401);
    running.stop();
}

#[test]
fn any_host_is_answered_with_a_token_also_from_a_page_of_that_host() {
    let running = Running::start(Fake::new(), |_| {});
    let token = running.token("one", Scope::Work);
    let reason = br#"{"reason":"over"}"#;
    let post = |host: &str, origin: &str, token: &str| {
        let mut client = running.connect();
        let head = format!("POST /cases/{}/cancel HTTP/1.1\r\nHost: {host}\r\n{origin}{token}", case_id());
        client.send([format!("{head}Content-Length: {}\r\n\r\n", reason.len()).as_bytes(), reason].concat());
        client.answer().expect("an answer").status
    };
    let shown = format!("Authorization: Bearer {token}\r\n");
    for host in [
        "localhost",
        "127.0.0.1:1",
        "knhk.example.com",
        "knhk.example.com:8443",
        "192.0.2.7",
        "[2001:db8::1]:443",
    ] {
        assert_eq!(post(host, "", &shown), 200, "{host}");
        assert_eq!(post(host, &format!("Origin: https://{host}\r\n"), &shown), 200, "{host}");
        assert_eq!(post(host, "Origin: https://evil.example\r\n", &shown), 403, "{host}");
        assert_eq!(post(host, "", ""), 401, "{host}");
    }
    running.stop();
}
