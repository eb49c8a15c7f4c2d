//! What the real binary says: nothing alarming when all is well, nothing of a case's data, and little in a storm.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::Place;
use crate::support::wait;

/// Longest time until the log says what it should.
const TOLD_MAX: Duration = Duration::from_secs(30);
/// What strace adds to a sync, in microseconds.
const SLOW_SYNC: &str = "inject=fdatasync:delay_exit=300000";
/// So few files that not even the connections that the service would take fit in; root may not raise that.
const FEW_FILES: [&str; 5] =
    ["prlimit", "--nofile=24:24", "setpriv", "--bounding-set=-all", "--inh-caps=-all"];
/// Items that fail at once.
const STORM: u64 = 300;
/// Requests of the test of data.
const REQUESTS: u64 = 400;
/// Stands in every value that is a client's.
const MARKER: &str = "zxq7secret";

/// Warnings that are about this machine and not about the service.
const OF_THE_MACHINE: [&str; 3] =
    ["memory not locked", "cannot raise the limit on open files", "the limit on open files is low"];

/// Returns the messages of a log: its lines without their times.
fn messages(log: &str) -> Vec<&str> {
    log.lines().map(|line| line.split_once(' ').map_or(line, |(_, message)| message)).collect()
}

/// Nobody who searches for errors and warnings is alarmed by this log.
#[track_caller]
fn check_calm(log: &str) {
    for message in messages(log) {
        let low = message.to_lowercase();
        let is_of_the_machine =
            OF_THE_MACHINE.iter().any(|known| message.starts_with(&format!("warning: {known}")));
        assert!(is_of_the_machine || !(low.contains("error") || low.contains("warn")), "{message}\n{log}");
    }
}

#[test]
fn a_run_without_trouble_has_nothing_that_a_search_for_trouble_finds() {
    let mut place = Place::with(&[
        ("checkpoint_seconds", "1"),
        ("segment_bytes", "65536"),
        ("frame_bytes_max", "32768"),
        ("body_bytes_max", "32768"),
    ]);
    let mut service = place.start();
    load::register(&service);
    let mut random = Random(1);
    let mut workers = vec![load::Worker::new(0, random.next())];
    load::while_working(service.address, &mut workers, |progress| progress.wait_for(200));
    assert!(place.knhk(&["state", "snapshot"]).status.success());
    assert!(place.knhk(&["state", "trim", "--now", "--yes"]).status.success());
    assert!(service.stop().success(), "{}", place.log());
    // Once more, over a state that is there.
    let mut service = place.start();
    service.wait_until_scrubbed();
    assert!(service.stop().success(), "{}", place.log());
    let log = place.log();
    check_calm(&log);
    let said = messages(&log);
    for expected in [
        "starting",
        "a new store was made",
        "ready",
        "specification registered",
        "a snapshot was written",
        "stopping",
        "stopped",
    ] {
        assert!(said.iter().any(|message| message.starts_with(expected)), "{expected} is missing:\n{log}");
    }
}

#[test]
fn a_slow_disk_is_told_in_words_that_a_search_finds() {
    // Every sync takes longer than a command may.
    let slow = [
        "strace",
        "-D",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "signal=none",
        "-e",
        "trace=fdatasync",
        "-e",
        SLOW_SYNC,
    ];
    let mut tried = Command::new(slow[0]);
    if !tried.args(&slow[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return wait::absent("strace is not here or may not trace");
    }
    let mut place = Place::with(&[("warm_path_timeout_ms", "100")]);
    let mut service = place.start_under(&slow);
    load::register(&service);
    let told = wait::until(TOLD_MAX, || {
        let log = place.log();
        let found =
            messages(&log).into_iter().find(|message| message.starts_with("warning: slow commit: "))?;
        Some(found.to_owned())
    });
    let told = told.unwrap_or_else(|| panic!("nothing is slow:\n{}", place.log()));
    assert!(told.contains("the longest"), "{told}");
    assert!(service.stop().success(), "{}", place.log());
}

/// Sends a batch of which every line must be done, and returns what was answered to each.
fn batch(client: &mut Client, lines: &[String]) -> Vec<Value> {
    let headers = [("Content-Type", "application/x-ndjson")];
    let answer = client.send("POST", "/batch", &headers, lines.join("\n").as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answers: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(answers.iter().all(|answer| answer["status"].as_u64().unwrap() < 300), "{:?}", answers.last());
    answers
}

#[test]
fn clients_that_cannot_be_let_in_are_told_of() {
    let mut tried = Command::new(FEW_FILES[0]);
    if !tried.args(&FEW_FILES[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return wait::absent("prlimit and setpriv are not here or may not lower limits");
    }
    let mut place = Place::new();
    let mut service = place.start_under(&FEW_FILES);
    let silent: Vec<_> = (0..64).filter_map(|_| TcpStream::connect(service.address).ok()).collect();
    assert!(silent.len() > 20, "only {} connections were taken", silent.len());
    let told = wait::until(TOLD_MAX, || {
        place.log().contains("warning: connections cannot be accepted, trying again: ").then_some(())
    });
    assert!(told.is_some(), "{}", place.log());
    drop(silent);
    let well =
        wait::until(TOLD_MAX, || service.client().get("/health").ok().filter(|answer| answer.status == 200));
    assert!(well.is_some(), "{}", place.log());
    assert!(service.stop().success(), "{}", place.log());
}

fn items(client: &mut Client, case: &str) -> Vec<String> {
    let items = client.get(&format!("/workitems?case={case}")).unwrap().expect(200);
    items["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_storm_of_incidents_is_counted_in_few_lines() {
    let mut place = Place::new();
    let mut service = place.start();
    load::register(&service);
    let mut client = service.client();
    let create = json!({"op": "create", "workflow": "order", "data": {"customer": "Ann"}}).to_string();
    let made = batch(&mut client, &vec![create; usize::try_from(STORM).unwrap()]);
    let cases: Vec<&str> = made.iter().map(|made| made["body"]["id"].as_str().unwrap()).collect();
    for case in &cases {
        let item = items(&mut client, case).remove(0);
        client.post(&format!("/workitems/{item}/fail"), None, &json!({"reason": "no"})).unwrap().expect(200);
    }
    let told = |log: &str| -> (u64, usize) {
        let lines: Vec<u64> = messages(log)
            .iter()
            .filter_map(|message| {
                message.split_once("warning: cases became incidents: ")?.1.split(' ').next()?.parse().ok()
            })
            .collect();
        (lines.iter().sum(), lines.len())
    };
    let all = wait::until(TOLD_MAX, || (told(&place.log()).0 == STORM).then_some(()));
    assert!(all.is_some(), "{:?} of {STORM}:\n{}", told(&place.log()), place.log());
    assert!(told(&place.log()).1 < cases.len() / 2, "a line an incident:\n{}", place.log());
    assert!(service.stop().success());
}

/// A value with the marker in it, and whatever could confuse whoever writes it down.
fn value(random: &mut Random) -> String {
    let odd = ["", "\n", "\"", "<b>", "&amp;", "{", "ä", " error: ", "=", "%41"];
    let before = odd[usize::try_from(random.below(odd.len() as u64)).unwrap()];
    format!("{before}{MARKER}{}", random.below(1_000))
}

/// Sends one request of some kind with marked values; whatever is answered is well.
fn ask(client: &mut Client, random: &mut Random, case: &str, at: u64) {
    let text = value(random);
    let key = format!("{MARKER}-{at}");
    let json_of = |body: &Value| body.to_string().into_bytes();
    let json_type = "application/json";
    let item = items(client, case).into_iter().next().unwrap_or_else(|| format!("{case}-0"));
    let (path, kind, body) = match random.below(12) {
        0 => (
            "/cases".to_owned(),
            json_type,
            json_of(
                &json!({"workflow": "order", "data": {"customer": text}, "business_key": format!("{MARKER}{at}")}),
            ),
        ),
        1 => (format!("/workitems/{item}/complete"), json_type, json_of(&json!({"data": {"amount": text}}))),
        2 => (format!("/workitems/{item}/complete"), json_type, json_of(&json!({"data": {"amount": 5}}))),
        3 => (format!("/workitems/{item}/fail"), json_type, json_of(&json!({"reason": text}))),
        4 => (format!("/workitems/{item}/skip"), json_type, json_of(&json!({"reason": text}))),
        5 => (format!("/cases/{case}/cancel"), json_type, json_of(&json!({"reason": text}))),
        6 => ("/cases".to_owned(), json_type, format!("{{{text}").into_bytes()),
        7 => (
            "/cases".to_owned(),
            json_type,
            json_of(&json!({"workflow": text, "data": {text.clone(): text}})),
        ),
        8 => {
            ("/workflows".to_owned(), "application/xml", format!("<specificationSet><{text}/>").into_bytes())
        }
        9 => (format!("/{MARKER}/{at}"), json_type, Vec::new()),
        10 => (
            "/batch".to_owned(),
            "application/x-ndjson",
            json_of(&json!({"op": "create", "workflow": "order", "data": {"customer": text}})),
        ),
        _ => (
            format!("/cases?workflow=order&key={MARKER}{at}"),
            "application/xml",
            format!("<data><customer>{MARKER}</customer></data>").into_bytes(),
        ),
    };
    let mut headers = vec![("Content-Type", kind), ("Authorization", MARKER)];
    if path != "/batch" {
        headers.push(("Idempotency-Key", &key));
    }
    let answer = client.send("POST", &path, &headers, &body).unwrap();
    assert!(answer.status < 500, "{path}: {}", answer.text());
}

#[test]
fn no_line_has_data_of_a_case_or_a_word_of_a_client() {
    let mut place = Place::with(&[("checkpoint_seconds", "1")]);
    let mut service = place.start();
    load::register(&service);
    let mut client = service.client();
    let mut random = Random(7);
    let mut case = String::new();
    for at in 0..REQUESTS {
        if at % 4 == 0 {
            let body = json!({"workflow": "order", "data": {"customer": value(&mut random)}});
            let made = client.post("/cases", None, &body).unwrap().expect(201);
            made["id"].as_str().unwrap().clone_into(&mut case);
        }
        ask(&mut client, &mut random, &case, at);
    }
    assert!(service.stop().success(), "{}", place.log());
    let mut service = place.start();
    service.wait_until_scrubbed();
    assert!(service.stop().success(), "{}", place.log());
    let log = place.log();
    assert!(log.contains("cases became incidents"), "the test brought none about:\n{log}");
    assert!(!log.contains(MARKER), "{log}");
}
