//! Clients that send too much, too slowly, too often, or do not read.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use knhk::api::Limits;
use knhk::api::remote::{Scope, Times, scopes};
use knhk::api::server::{HEAD_BYTES_MAX, HEADER_COUNT_MAX};

use super::client::{Client, PATIENCE, request};
use super::{Running, short};
use crate::api::LIMITS;
use crate::api::fake::{Fake, case_id};
use crate::support::wait;

/// Short enough to be waited for, where nobody has to be faster.
const SHORT: Duration = Duration::from_millis(100);
/// The same where somebody has to be, also on a machine with much else to do.
const ENOUGH: Duration = Duration::from_secs(2);

/// Holds those who ask for a case.
#[derive(Default)]
pub(super) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
    }

    pub(super) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub(super) fn until_waiting(&self, count: usize) {
        let waiting = || (self.waiting.load(Ordering::SeqCst) == count).then_some(());
        wait::until(PATIENCE, waiting).expect("requests that wait");
    }
}

pub(super) fn gated() -> (Fake, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let inside = Arc::clone(&gate);
    let mut fake = Fake::new();
    fake.before_case = Box::new(move || inside.pass());
    (fake, gate)
}

pub(super) fn until_connected(running: &Running, count: usize) {
    let connected = || (running.remote().connections() == count).then_some(());
    wait::until(PATIENCE, connected)
        .unwrap_or_else(|| panic!("{} connections, not {count}", running.remote().connections()));
}

pub(super) fn figure(running: &Running, name: &str) -> String {
    let page = running.fake.metrics.render(false);
    page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("none").trim().to_owned()
}

#[test]
fn more_connections_of_an_address_than_the_limit_are_closed_at_once() {
    let running = Running::start(Fake::new(), |options| options.address_connections_max = 3);
    let mut kept: Vec<_> = (0..3).map(|_| running.connect()).collect();
    until_connected(&running, 3);
    assert!(running.connect().is_closed());
    assert_eq!(figure(&running, "knhk_remote_refused_total{reason=\"address\"}"), "1");
    kept.pop();
    until_connected(&running, 2);
    assert_eq!(running.connect().ask("GET", "/health/live", None, b"").status, 200);
    assert_eq!(kept[0].ask("GET", "/health/live", None, b"").status, 200);
    running.stop();
}

#[test]
fn heads_are_bounded_in_bytes_number_and_time() {
    let times = short(|times| times.head = ENOUGH);
    let running = Running::start(Fake::new(), |options| options.times = times);
    let status = |head: &str| {
        let mut client = running.connect();
        client.send(head);
        client.answer().map(|answer| answer.status)
    };
    let headers = |count: usize, bytes: usize| {
        (0..count).fold("GET /health/live HTTP/1.1\r\nHost: x\r\n".to_owned(), |mut head, number| {
            write!(head, "X-{number}: {}\r\n", "x".repeat(bytes)).unwrap();
            head
        })
    };
    // Host is one of them.
    assert_eq!(status(&(headers(HEADER_COUNT_MAX - 1, 10) + "\r\n")), Some(200));
    assert_eq!(status(&(headers(HEADER_COUNT_MAX, 10) + "\r\n")), Some(431));
    assert_eq!(status(&(headers(10, 6_000) + "\r\n")), Some(200));
    assert_eq!(status(&(headers(11, 6_000) + "\r\n")), Some(431));
    // One that does not end.
    assert_eq!(status(&(headers(1, HEAD_BYTES_MAX * 4))), Some(431));
    // One that comes a byte at a time: the bytes in between do not make the time longer.
    let mut slow = running.connect();
    slow.send("GET /health/live HTTP/1.1\r\nX: ");
    until_connected(&running, 1);
    let mut dripped = 0;
    while figure(&running, "knhk_http_request_seconds_count{route=\"other\",status=\"408\"}") == "none" {
        slow.send("x");
        wait::pause();
        dripped += 1;
        assert!(Duration::from_millis(10) * dripped < PATIENCE, "a slow head is still waited for");
    }
    assert_eq!(slow.answer().map(|answer| answer.status), Some(408));
    assert!(slow.is_closed());
    running.stop();
}

#[test]
fn strangers_rest_for_a_short_time_and_others_for_a_long_one() {
    let times = short(|times| times.first = ENOUGH);
    let running = Running::start(Fake::new(), |options| options.times = times);
    let token = running.token("one", Scope::Read);
    let mut known = running.connect();
    assert_eq!(known.ask("GET", "/health", Some(&token), b"").status, 200);
    let mut strangers: Vec<_> = (0..3).map(|_| running.connect()).collect();
    // That it asks for what needs no token, or shows a wrong one, makes nobody known.
    assert_eq!(strangers[1].ask("GET", "/health/live", None, b"").status, 200);
    assert_eq!(strangers[2].ask("GET", "/health", Some("knhk_wrong"), b"").status, 401);
    for stranger in &mut strangers {
        assert!(stranger.is_closed());
    }
    until_connected(&running, 1);
    assert_eq!(known.ask("GET", "/health", Some(&token), b"").status, 200);
    running.stop();
}

#[test]
fn those_who_are_known_do_not_rest_for_ever_either() {
    let times = short(|times| times.idle = ENOUGH);
    let running = Running::start(Fake::new(), |options| options.times = times);
    let token = running.token("one", Scope::Read);
    let mut known = running.connect();
    for _ in 0..3 {
        assert_eq!(known.ask("GET", "/health", Some(&token), b"").status, 200);
    }
    assert!(known.is_closed());
    running.stop();
}

#[test]
fn bodies_are_bounded_in_bytes_and_time() {
    let times = short(|times| times.read_pause = ENOUGH);
    let running = Running::start(Fake::new(), |options| options.times = times);
    let token = running.token("one", Scope::Admin);
    let head = |more: &str| {
        format!("POST /workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\r\n\r\n")
    };
    let answer = |bytes: &[u8]| {
        let mut client = running.connect();
        client.send(bytes);
        let answer = client.answer().expect("an answer");
        (answer.status, answer.json()["code"].as_str().unwrap_or("-").to_owned())
    };
    let max = LIMITS.body_bytes_max;
    // Refused by what it says, before a byte of it.
    assert_eq!(answer(head(&format!("Content-Length: {}", max + 1)).as_bytes()), (413, "KN0502".into()));
    assert_eq!(answer(head("Content-Length: 99999999999999").as_bytes()), (413, "KN0502".into()));
    // One that does not say how long it is.
    let mut endless = head("Transfer-Encoding: chunked").into_bytes();
    for _ in 0..5 {
        endless.extend(format!("{:x}\r\n{}\r\n", max / 4, "x".repeat(max / 4)).bytes());
    }
    assert_eq!(answer(&endless), (413, "KN0502".into()));
    // One that stops halfway, and one that ends there.
    assert_eq!(answer(head("Content-Length: 10\r\n\r\nhalf").trim_end().as_bytes()), (408, "KN0523".into()));
    let broken = head("Transfer-Encoding: chunked") + "zz\r\n";
    assert_eq!(answer(broken.as_bytes()), (400, "KN0524".into()));
    assert_eq!(running.fake.calls(), Vec::<String>::new(), "one that is not whole reached the service");
    assert_eq!(answer(&request("POST", "/workflows", Some(&token), b"new")).0, 201);
    running.stop();
}

#[test]
fn a_body_that_trickles_is_given_up_as_a_whole() {
    let times = short(|times| times.body = SHORT * 2);
    let running = Running::start(Fake::new(), |options| options.times = times);
    let token = running.token("one", Scope::Admin);
    let mut client = running.connect();
    let head = "POST /workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n";
    client.send(format!("{head}Authorization: Bearer {token}\r\n\r\n"));
    // Well beyond the time for all of it, and never a pause that is too long.
    for _ in 0..30 {
        client.send("x");
        wait::pause();
    }
    assert_eq!(client.answer().map(|answer| answer.status), Some(408));
    running.stop();
}

#[test]
fn an_answer_to_what_was_too_slow_names_the_limit_that_ended_it() {
    let length = "POST /workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n";
    let ended = |times: Times, is_head: bool| {
        let running = Running::start(Fake::new(), |options| options.times = times);
        let token = running.token("one", Scope::Admin);
        let mut client = running.connect();
        let end = if is_head { "" } else { "\r\nhalf" };
        client.send(format!("{length}Authorization: Bearer {token}\r\n{end}"));
        let answer = client.answer().expect("an answer");
        running.stop();
        assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("KN0523")));
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let soon = Duration::from_millis(123);
    let of_head = ended(short(|times| times.head = soon), true);
    assert!(of_head.ends_with(": 123 ms for the headers"), "{of_head}");
    let of_body = ended(short(|times| times.body = soon), false);
    assert!(of_body.ends_with(": 123 ms for the body"), "{of_body}");
    let of_pause = ended(short(|times| times.read_pause = soon), false);
    assert!(of_pause.ends_with(": 123 ms without a byte of the body"), "{of_pause}");
}

#[test]
fn compressed_bodies_are_not_unpacked() {
    let running = Running::start(Fake::new(), |_| {});
    let token = running.token("one", Scope::Admin);
    // What `head -c 1G /dev/zero | gzip` begins with.
    let bomb = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0xec, 0xc1, 0x01, 0x01, 0, 0];
    for encoding in ["gzip", "br", "identity, zstd", "x"] {
        let mut client = running.connect();
        let head = format!(
            "POST /workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Encoding: {encoding}\r\n"
        );
        client.send([format!("{head}Content-Length: {}\r\n\r\n", bomb.len()).as_bytes(), &bomb].concat());
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.json()["code"].as_str()), (415, Some("KN0550")), "{encoding}");
    }
    assert_eq!(running.fake.calls(), Vec::<String>::new());
    let mut client = running.connect();
    client.send(format!(
        "POST /workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Encoding: identity\r\nContent-Length: 3\r\n\r\nnew"
    ));
    assert_eq!(client.answer().unwrap().status, 201);
    running.stop();
}

#[test]
fn ten_times_as_many_requests_as_a_tokens_share_are_refused_and_those_within_it_answered() {
    const WITHIN: usize = 4;
    let (fake, gate) = gated();
    let running = Running::start(fake, |options| options.requests_max = WITHIN * 2);
    let token = running.token("one", Scope::Read);
    let case = format!("/cases/{}", case_id());
    let mut within: Vec<Client> = (0..WITHIN).map(|_| running.connect()).collect();
    for client in &mut within {
        client.send(request("GET", &case, Some(&token), b""));
    }
    gate.until_waiting(WITHIN);
    for _ in 0..WITHIN * 9 {
        let answer = running.connect().ask("GET", &case, Some(&token), b"");
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.json()["code"], "KN0375");
    }
    let refused = figure(&running, "knhk_remote_refused_total{reason=\"busy\"}");
    assert_eq!(refused, (WITHIN * 9).to_string());
    gate.open();
    for client in &mut within {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    assert_eq!(within[0].ask("GET", &case, Some(&token), b"").status, 200);
    running.stop();
}

#[test]
fn whoever_leaves_before_the_answer_still_holds_a_place() {
    let (fake, gate) = gated();
    let running = Running::start(fake, |options| options.requests_max = 1);
    let token = running.token("one", Scope::Read);
    let case = format!("/cases/{}", case_id());
    let mut gone = running.connect();
    gone.send(request("GET", &case, Some(&token), b""));
    gate.until_waiting(1);
    drop(gone);
    assert_eq!(running.connect().ask("GET", &case, Some(&token), b"").status, 503);
    gate.open();
    let free = wait::until(PATIENCE, || {
        (running.connect().ask("GET", &case, Some(&token), b"").status == 200).then_some(())
    });
    free.expect("the place is free again");
    running.stop();
}

#[test]
fn bodies_of_strangers_hold_nothing() {
    let running = Running::start(Fake::new(), |options| options.requests_max = 1);
    let token = running.token("one", Scope::Admin);
    let length = LIMITS.body_bytes_max;
    let mut strangers: Vec<_> = (0..20).map(|_| running.connect()).collect();
    for stranger in &mut strangers {
        stranger.send(format!("POST /workflows HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
        // Answered before the body.
        assert_eq!(stranger.answer().unwrap().status, 401);
    }
    assert_eq!(running.connect().ask("POST", "/workflows", Some(&token), b"new").status, 201);
    running.stop();
}

#[test]
fn where_no_token_is_needed_no_body_is_read() {
    // Room for one body of the largest: a holder of a token would lack what a stranger had of it.
    let limits = Limits { bodies_bytes_max: LIMITS.body_bytes_max, ..LIMITS };
    let running = Running::start(Fake::new(), |options| options.limits = limits);
    let token = running.token("one", Scope::Admin);
    let open_to_all: Vec<_> = scopes().filter(|(_, needed)| needed.is_none()).collect();
    assert!(!open_to_all.is_empty());
    let mut strangers = Vec::new();
    for (route, _) in open_to_all {
        for line in ["Content-Length: 1", "Content-Length: 65536", "Transfer-Encoding: chunked"] {
            // Not a byte of it comes, or one.
            for some in ["", "1\r\n"] {
                let mut stranger = running.connect();
                stranger.send(format!("{route} HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n{some}"));
                let answer = stranger.answer().expect("an answer before the body");
                let connection = answer.header("connection");
                assert_eq!((answer.status, connection), (200, Some("close")), "{route} {line}");
                strangers.push(stranger);
            }
            assert_eq!(running.connect().ask("POST", "/workflows", Some(&token), b"new").status, 201);
        }
        // Without a body the connection goes on.
        let mut client = running.connect();
        for _ in 0..2 {
            client.send(format!("{route} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
            let answer = client.answer().expect("an answer");
            assert_eq!((answer.status, answer.header("connection")), (200, None), "{route}");
        }
    }
    assert_eq!(figure(&running, "knhk_remote_refused_total{reason=\"busy\"}"), "0");
    running.stop();
}

#[test]
fn clients_that_never_read_hold_nothing() {
    an_answer_that_is_not_taken_ends_with(short(|times| times.write_pause = SHORT));
    // However small the pauses between the pieces that it takes are.
    an_answer_that_is_not_taken_ends_with(short(|times| {
        times.write_pause = Duration::from_secs(3_600);
        times.answer = SHORT;
    }));
}

fn an_answer_that_is_not_taken_ends_with(times: Times) {
    let mut fake = Fake::with_large_answers();
    fake.note = "n".repeat(8 * 1024 * 1024);
    let answers = Arc::clone(&fake.answers);
    let running = Running::start(fake, |options| options.times = times);
    let token = running.token("one", Scope::Read);
    let mut deaf: Vec<_> = (0..3).map(|_| running.connect()).collect();
    for client in &mut deaf {
        client.send(request("GET", &format!("/cases/{}", case_id()), Some(&token), b""));
    }
    until_connected(&running, 0);
    let is_back = wait::until(PATIENCE, || (answers.budget().taken_bytes() == 0).then_some(()));
    assert!(is_back.is_some(), "answers that were not taken hold their room");
    drop(deaf);
    running.stop();
}

#[test]
fn a_stop_lets_what_has_begun_come_to_its_end() {
    let (fake, gate) = gated();
    let mut running = Running::start(fake, |_| {});
    let token = running.token("one", Scope::Read);
    let mut resting = running.connect();
    assert_eq!(resting.ask("GET", "/health", Some(&token), b"").status, 200);
    let mut client = running.connect();
    client.send(request("GET", &format!("/cases/{}", case_id()), Some(&token), b""));
    gate.until_waiting(1);
    let remote = running.remote.take().unwrap();
    let stopping = std::thread::Builder::new().spawn(move || remote.stop()).unwrap();
    assert!(resting.is_closed(), "one that rests is not waited for");
    gate.open();
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
}
