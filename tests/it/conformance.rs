//! Two servers, one reading: every request, however wrong, gets the same from the local server and from the remote one.
//!
//! The table of [`cases`] is run against both. What may differ has a name: TLS, tokens, who is asked. Tokens are shown by
//! every case here, so that they make no difference; what is left is in [`DIFFERENCES`].

mod cases;
mod heads;
mod linger;
mod reading;

use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use knhk::api::Limits;
use knhk::api::remote::Scope;
use knhk::api::server::{Options, TIMES, Times};

use crate::api::LIMITS;
use crate::api::fake::Fake;
use crate::http;
use crate::remote::{self, short};
use crate::support::http::{Answer, read_answer};
use cases::{Case, Then};

/// Longest wait for anything here; reaching it is a failure, not a pause.
const PATIENCE: Duration = Duration::from_secs(30);

/// Cases that do not come to the same on both sides, and what the remote one gives. Each has its reason.
const DIFFERENCES: &[(&str, &[Got], Ends)] = &[];

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Local,
    Remote,
}

/// Status and code of an answer; the code is empty below 400, and in an answer to HEAD.
type Got = (u16, &'static str);

/// Whether the connection takes another request afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    GoesOn,
    Closed,
}

/// Both servers, in front of canned answers.
struct Both {
    local: Option<http::Running>,
    remote: Option<remote::Running>,
    token: String,
}

impl Both {
    fn start() -> Self {
        Self::start_with(Fake::new, TIMES, 1_000)
    }

    fn start_with(fake: impl Fn() -> Fake, times: Times, at_once: usize) -> Self {
        Self::start_within(LIMITS, fake, times, at_once)
    }

    fn start_within(limits: Limits, fake: impl Fn() -> Fake, times: Times, at_once: usize) -> Self {
        let options = Options { limits, times, connections_max: at_once, ..http::options() };
        let local = http::start(Arc::new(fake()), options);
        let remote = remote::Running::start(fake(), |options| {
            options.limits = limits;
            options.requests_max = at_once;
            options.times = short(|of_remote| {
                of_remote.head = times.head;
                of_remote.read_pause = times.read_pause;
                of_remote.body = times.body;
            });
        });
        let token = remote.token("one", Scope::Admin);
        Self { local: Some(local), remote: Some(remote), token }
    }

    fn address(&self, side: Side) -> SocketAddr {
        match side {
            Side::Local => self.local.as_ref().unwrap().address,
            Side::Remote => self.remote.as_ref().unwrap().remote().address(),
        }
    }

    /// Returns the bytes of a case as this side gets them: `@A@` is where a token is shown.
    fn bytes(&self, side: Side, bytes: &[u8]) -> Vec<u8> {
        let token = match side {
            Side::Local => String::new(),
            Side::Remote => format!("Authorization: Bearer {}\r\n", self.token),
        };
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(3).position(|window| window == b"@A@") {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(token.as_bytes());
            rest = &rest[at + 3..];
        }
        out.extend_from_slice(rest);
        out
    }

    fn connect(&self, side: Side) -> Talk {
        let stream = TcpStream::connect(self.address(side)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Talk(BufReader::new(stream))
    }

    fn stop(mut self) {
        self.local.take().unwrap().stop();
        self.remote.take().unwrap().stop();
    }
}

/// A connection.
struct Talk(BufReader<TcpStream>);

impl Talk {
    /// Sends bytes; whether the server still takes them shows in its answer.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Reads an answer; `None` when the connection ends before one. Checks that refusals have their document.
    fn answer(&mut self, is_head: bool) -> Option<(u16, String)> {
        let answer = read_answer(&mut self.0, is_head).ok()?;
        Some((answer.status, code(&answer, is_head)))
    }
}

/// Returns the code of a refusal, after checking that it has the document that every refusal has.
fn code(answer: &Answer, is_head: bool) -> String {
    if answer.status < 400 {
        return String::new();
    }
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.status);
    if is_head {
        return String::new();
    }
    let document = answer.json();
    assert_eq!(document["status"], answer.status);
    for member in ["type", "title", "detail", "code"] {
        assert!(document[member].is_string(), "{member} is missing in {}", answer.text());
    }
    document["code"].as_str().unwrap().to_owned()
}

/// Sends what a case sends and returns what came of it.
fn run(both: &Both, side: Side, case: &Case, each: usize) -> (Vec<(u16, String)>, Ends) {
    let mut talk = both.connect(side);
    let bytes = both.bytes(side, &case.bytes);
    for piece in bytes.chunks(each.max(1)) {
        talk.send(piece);
    }
    if case.then == Then::HalfClose {
        let _ = talk.0.get_ref().shutdown(Shutdown::Write);
    }
    let is_head = bytes.starts_with(b"HEAD ");
    let mut answers = Vec::new();
    for _ in &case.answers {
        match talk.answer(is_head) {
            Some(answer) => answers.push(answer),
            None => return (answers, Ends::Closed),
        }
    }
    talk.send(&both.bytes(side, b"GET /probe HTTP/1.1\r\nHost: localhost\r\n@A@\r\n"));
    match talk.answer(false) {
        None => (answers, Ends::Closed),
        Some((404, code)) if code == "KN0500" => (answers, Ends::GoesOn),
        Some(other) => {
            answers.push(other);
            (answers, Ends::GoesOn)
        }
    }
}

#[test]
fn every_request_gets_the_same_from_both_servers() {
    let both = Both::start();
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for case in cases::all() {
        assert!(names.insert(case.name.clone()), "{}: two cases have this name", case.name);
        for side in [Side::Local, Side::Remote] {
            let differs = DIFFERENCES.iter().find(|(name, _, _)| side == Side::Remote && *name == case.name);
            let (answers, ends) =
                differs.map_or((&case.answers[..], case.ends), |(_, answers, ends)| (*answers, *ends));
            let expected: Vec<_> =
                answers.iter().map(|(status, code)| (*status, (*code).to_owned())).collect();
            let pieces =
                if case.bytes.len() < 2_000 { vec![case.bytes.len() + 200, 1] } else { vec![60_000] };
            for each in pieces {
                let got = run(&both, side, &case, each);
                if got != (expected.clone(), ends) {
                    wrong.push(format!(
                        "{}, {side:?}, in pieces of {each}: {got:?}, not {expected:?}, {ends:?}",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), names.len(), wrong.join("\n"));
    for (name, _, _) in DIFFERENCES {
        assert!(names.contains(*name), "{name} is no case");
    }
    both.stop();
}

#[test]
fn every_rule_has_a_case_that_is_refused_and_a_neighbour_that_is_not() {
    let mut rules: std::collections::BTreeMap<&str, (bool, bool)> = std::collections::BTreeMap::new();
    for case in cases::all() {
        let rule = rules.entry(case.rule).or_default();
        match case.answers.last() {
            Some((status, _)) if *status >= 400 => rule.1 = true,
            _ => rule.0 = true,
        }
    }
    for (rule, (taken, refused)) in rules {
        assert!(taken && refused, "{rule}: taken {taken}, refused {refused}");
    }
}

#[test]
fn slow_heads_and_bodies_are_told_so_by_both_servers() {
    let heads = ["GET /health HTTP/1.1\r\nHost: localhost\r\n@A@X", "\r\n"];
    let bodies = [
        "POST /batch HTTP/1.1\r\nHost: localhost\r\n@A@Content-Length: 9\r\n\r\nabc",
        "POST /batch HTTP/1.1\r\nHost: localhost\r\n@A@Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ];
    // One limit is short at a time, so that it must be the one that acts; nothing here waits for the others.
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(3_600));
    let others = Times { read_pause: long, head: long, body: long, ..TIMES };
    for (times, local, remote) in [
        (Times { head: short, ..others }, &heads[..], &heads[..]),
        (Times { body: short, ..others }, &bodies[..], &bodies[..]),
        // The remote side bounds a head as a whole only.
        (Times { read_pause: short, ..others }, &[heads, bodies].concat()[..], &bodies[..]),
    ] {
        let both = Both::start_with(Fake::new, times, 1_000);
        for (side, halves) in [(Side::Local, local), (Side::Remote, remote)] {
            for half in halves {
                let mut talk = both.connect(side);
                talk.send(&both.bytes(side, half.as_bytes()));
                assert_eq!(talk.answer(false), Some((408, "KN0523".to_owned())), "{side:?} {half} {times:?}");
                assert_eq!(talk.answer(false), None, "{side:?} {half}");
            }
            // Half a head and no more is no request, and gets no answer.
            let mut talk = both.connect(side);
            talk.send(b"GET /health HTTP/1.1\r\n");
            talk.0.get_ref().shutdown(Shutdown::Write).unwrap();
            assert_eq!(talk.answer(false), None, "{side:?}");
        }
        both.stop();
    }
}

#[test]
fn the_statuses_that_a_server_gives_by_itself_all_have_the_document() {
    // `Talk::answer` looks at each document; here is which statuses came by.
    let both = Both::start();
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for case in cases::all() {
        for (at, side) in [Side::Local, Side::Remote].into_iter().enumerate() {
            let (answers, _) = run(&both, side, &case, 60_000);
            seen[at].extend(answers.into_iter().map(|(status, _)| status).filter(|status| *status >= 400));
        }
    }
    let expected = BTreeSet::from([400, 403, 404, 405, 406, 413, 414, 415, 417, 431]);
    assert_eq!(seen, [expected.clone(), expected], "408, 401 and 503 have tests of their own");
    both.stop();
}

/// Every test and every rule of the table that CHANGES.md of the server names is there: what goes away holds nothing.
#[test]
fn the_rules_of_the_server_have_the_tests_that_they_name() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("vendor/tiny_http/CHANGES.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let rules: BTreeSet<&str> = cases::all().into_iter().map(|case| case.rule).collect();
    let mut checked = 0;
    for row in &rows {
        let cells: Vec<&str> =
            row.trim_matches('|').split(" |").map(|cell| cell.trim_matches([' ', '|'])).collect();
        let [_, now, tests] = cells[..] else { panic!("{row}: not three cells") };
        assert!(!tests.is_empty() || now == "Left out.", "{row}: no test");
        // Words in brackets are rules of the table that both servers are tried with.
        for words in tests.split('(').skip(1) {
            let (words, _) = words.split_once(')').unwrap_or_else(|| panic!("{row}: no bracket"));
            for word in words.split(", ") {
                assert!(rules.contains(word), "{row}: {word} is no rule");
                checked += 1;
            }
        }
        assert!(now == "Left out." || tests.contains(['`', '(']), "{row}: nothing is looked up");
        for name in tests.split('`').skip(1).step_by(2) {
            let (folder, inside) = match name.strip_prefix("it::") {
                Some(inside) => ("tests/it", inside),
                None => ("vendor/tiny_http/src", name),
            };
            let parts: Vec<&str> = inside.split("::").collect();
            let file = |parts: &[&str]| root.join(folder).join(parts.join("/") + ".rs");
            // A module whose tests all are meant, or one test.
            let holder =
                (1..=parts.len()).rev().map(|count| &parts[..count]).find(|parts| file(parts).exists());
            let holder = holder.unwrap_or_else(|| panic!("{name}: no such file"));
            let last = parts[parts.len() - 1];
            let is_module = holder.len() == parts.len() || last == "tests";
            let text = std::fs::read_to_string(file(holder)).unwrap();
            assert!(is_module || text.contains(&format!("fn {last}(")), "{name}: no such test");
            checked += 1;
        }
    }
    assert!(rows.len() > 15 && checked > 20, "{} rows, {checked} tests", rows.len());
}
