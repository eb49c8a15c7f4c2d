//! A running service that reads its configuration again: three keys that change what it does, measured, and what is said
//! to whoever asked.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::heavy;
use super::support::http::{Answer, Client};
use super::support::load;
use super::support::service::{Place, Service, root};
use super::support::wait;

/// Longest wait for something that a service does by itself.
const SOON: Duration = Duration::from_secs(60);
/// Cases of one batch: their steps make waves that are large enough for a mean of their own.
const CASES: usize = 300;
/// Means over the budget that come of it within some batches, where hardly any did before.
const OVER_MIN: u64 = 5;
/// Batches until the service has counted enough steps to warn; two are enough.
const BATCHES_MAX: usize = 20;

/// Registers a workflow under the name `uri`, with `from` in its source made `to`.
fn register(service: &Service, source: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(root().join(source)).unwrap();
    assert!(text.contains(from), "{source} has no {from}");
    let kind = [("Content-Type", "application/xml")];
    service
        .client()
        .send("POST", "/workflows", &kind, text.replace(from, to).as_bytes())
        .unwrap()
        .expect(201);
}

/// Sends lines as one batch and returns the answers.
fn batch(service: &Service, lines: &[Value]) -> Vec<Value> {
    let text = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer: Answer = service.client().send("POST", "/batch", &kind, text.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns a figure of the service.
fn figure(service: &Service, name: &str) -> u64 {
    let page = service.client().get("/metrics").unwrap().text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
}

/// Sets a key by the command and returns what it said of the running service.
fn set(place: &Place, key: &str, value: u64) -> String {
    let output = place.knhk(&["config", "set", key, &value.to_string(), "--json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(&said).unwrap();
    said["service"].as_str().unwrap().to_owned()
}

#[test]
fn keys_that_reach_their_limit_are_told_and_a_higher_limit_takes_more() {
    let mut place = Place::with(&[("idempotency_keys_max", "8")]);
    let mut service = place.start();
    load::register(&service);
    let mut client = service.client();
    let order = json!({ "workflow": "order", "data": { "customer": "Ann" } });
    let health = |client: &mut Client| client.get("/health").unwrap().text();
    let told = "new idempotency keys are refused: a caller has 6, all it may of idempotency_keys_max of 8";
    let first = client.post("/cases", Some("key-1"), &order).unwrap().expect(201)["id"].clone();
    assert!(!health(&mut client).contains(told));
    let refused = (2..100).map(|n| client.post("/cases", Some(&format!("key-{n}")), &order).unwrap());
    let refused = refused.map(|answer| (answer.status, answer)).find(|(status, _)| *status != 201).unwrap().1;
    let wait_s: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((86_000..=86_462).contains(&wait_s), "{wait_s}");
    let problem = refused.expect(503);
    assert_eq!((&problem["code"], &problem["retry_after_seconds"]), (&json!("KN0314"), &json!(wait_s)));
    assert!(problem["hint"].as_str().unwrap().contains("idempotency_keys_max"), "{problem}");
    assert!(figure(&service, "knhk_queue_refused_total{queue=\"keys\"}") > 0);
    assert!(health(&mut client).contains(told), "{}", health(&mut client));
    assert!(place.log().contains("warning: no new idempotency keys are taken"), "{}", place.log());
    // What is known, what has no key, and what has no effect is taken as ever.
    let line = json!({ "op": "execute", "case": first, "key": "nothing-1" });
    let nothing = batch(&service, &[line.clone(), json!({ "op": "execute", "case": first })]);
    assert_eq!(
        (&nothing[0]["code"], nothing[1]["status"].as_u64()),
        (&Value::Null, Some(200)),
        "{nothing:?}"
    );
    assert_eq!(client.post("/cases", Some("key-1"), &order).unwrap().json()["id"], first);
    client.post("/cases", None, &order).unwrap().expect(201);
    assert_eq!(set(&place, "idempotency_keys_max", 1_000), "took");
    client.post("/cases", Some("another-key"), &order).unwrap().expect(201);
    assert!(!health(&mut client).contains("idempotency keys"), "{}", health(&mut client));
    assert!(service.stop().success(), "{}", place.log());
}

#[test]
fn hot_path_max_ticks_is_the_budget_that_steps_are_held_against() {
    let mut place = Place::with(&[("hot_path_max_ticks", "4096"), ("bulk_timeout_ms", "600000")]);
    let mut service = place.start();
    register(&service, "tests/data/spec/count.yawl", "20", "20");
    let line = json!({ "op": "create", "workflow": "count", "data": { "words": "w" } });
    let work = || assert!(batch(&service, &vec![line.clone(); CASES]).iter().all(|it| it["status"] == 201));
    let over = || figure(&service, "knhk_hot_path_over_budget_total");
    let steps = || figure(&service, "knhk_hot_path_ticks_count");
    // A mean is of 256 steps or more. Now and then the machine takes a while off in the middle of one.
    work();
    let (over_4096, means_max) = (over(), steps() / 256);
    assert!(
        over_4096 < means_max / 2,
        "{over_4096} of at most {means_max} means are over 4,096 ticks a step"
    );
    assert!(!place.log().contains("budget 1 "), "{}", place.log());

    assert_eq!(set(&place, "hot_path_max_ticks", 1), "took");
    for _ in 0..BATCHES_MAX {
        work();
        if over() >= over_4096 + OVER_MIN {
            break;
        }
    }
    assert!(over() >= over_4096 + OVER_MIN, "{} means are over 1 tick a step", over() - over_4096);
    let is_warned = || {
        let log = place.log();
        log.lines().any(|line| line.contains("slow") && line.contains("budget 1 "))
    };
    for _ in 0..BATCHES_MAX {
        if is_warned() {
            break;
        }
        work();
    }
    assert!(is_warned(), "{}", place.log());
    assert!(service.stop().success());
}

#[test]
fn warm_path_timeout_ms_is_how_long_a_command_may_take() {
    let mut place = Place::with(&[]);
    let mut service = place.start();
    let mut client = service.client();
    // To start its item takes so many steps that no machine takes them in a millisecond.
    let kind = [("Content-Type", "application/xml")];
    client.send("POST", "/workflows", &kind, &heavy::once("heavy", 8)).unwrap().expect(201);
    let mut item = || {
        let case = client.post("/cases", None, &json!({ "workflow": "heavy" })).unwrap().expect(201);
        let item = format!("{}-1", case["id"].as_str().unwrap());
        let path = format!("/workitems/{item}");
        let is_there = || (client.get(&path).unwrap().status == 200).then_some(());
        wait::until(SOON, is_there).unwrap_or_else(|| panic!("{item} is not there"));
        item
    };
    let (first, second) = (item(), item());
    let start = |item: &str, key: &str| {
        batch(&service, &[json!({ "op": "start", "item": item, "key": key })]).remove(0)
    };
    // A batch of one line has the time of one command, and who waits for it looks at the clock.
    assert_eq!(start(&first, "a")["status"], 200);
    assert_eq!(set(&place, "warm_path_timeout_ms", 1), "took");
    let answer = start(&second, "b");
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&json!(504), &json!("KN0301")), "{answer}");
    assert_eq!(set(&place, "warm_path_timeout_ms", 60_000), "took");
    // What was unknown has happened once or not at all, and is done when it is asked again.
    let answer = start(&second, "b");
    assert_eq!((&answer["status"], &answer["body"]["state"]), (&json!(200), &json!("executing")), "{answer}");
    assert!(service.stop().success());
}

/// Does something to all cases; their shard has to have each in memory.
fn touch(service: &Service, cases: &[String], op: &str) {
    let mut client = service.client();
    for case in cases {
        client.post(&format!("/cases/{case}/{op}"), None, &json!({})).unwrap().expect(200);
    }
}

#[test]
fn cache_size_mb_is_the_memory_for_live_cases() {
    // More data than the smallest memory holds.
    const BYTES: usize = 200_000;
    const COUNT: usize = 100;
    let mut place = Place::with(&[("cache_size_mb", "16")]);
    let mut service = place.start();
    register(&service, "examples/order/order.yawl", "order", "order");
    let customer = "x".repeat(BYTES);
    let mut client = service.client();
    let create = json!({ "workflow": "order", "data": { "customer": customer } });
    let cases: Vec<String> = (0..COUNT)
        .map(|_| client.post("/cases", None, &create).unwrap().expect(201)["id"].as_str().unwrap().to_owned())
        .collect();
    let read_back = |service: &Service| figure(service, "knhk_cases_read_back_total");
    let before = read_back(&service);
    // The ones that nobody has asked for the longest left first.
    touch(&service, &cases[..10], "suspend");
    touch(&service, &cases[..10], "resume");
    assert!(read_back(&service) - before > 0, "20 MB of cases stay in 16 MB of memory");

    assert_eq!(set(&place, "cache_size_mb", 256), "took");
    touch(&service, &cases, "suspend");
    let before = read_back(&service);
    touch(&service, &cases, "resume");
    assert_eq!(read_back(&service) - before, 0, "20 MB of cases do not stay in 256 MB of memory");

    assert_eq!(set(&place, "cache_size_mb", 16), "took");
    touch(&service, &cases[..10], "suspend");
    assert!(read_back(&service) - before > 0, "20 MB of cases stay in 16 MB of memory again");
    assert!(service.stop().success());
}

/// Tells whether a warning has all these words.
fn warns(log: &str, words: &[&str]) -> bool {
    log.lines().any(|line| line.contains(" warning: ") && words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_signal_reloads_and_systemd_hears_of_it() {
    let mut place = Place::with(&[]);
    let notified = place.path("notify");
    let socket = UnixDatagram::bind(&notified).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut command = place.command(&[]);
    command.arg("serve").env("NOTIFY_SOCKET", &notified);
    let mut service = place.spawn_command(command);
    assert_eq!(hear(), "READY=1\n");

    // One that needs a restart, one that does not.
    place.set(&[("http_workers", "7"), ("log_level", "\"debug\"")]);
    service.hang_up();
    let said = hear();
    assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
    assert_eq!(hear(), "READY=1\n");
    let log = place.log();
    assert!(log.contains(" the configuration changed: log_level is debug and was info\n"), "{log}");
    assert!(
        warns(&log, &["http_workers = 7 (", ") needs a restart; until then the service has 128"]),
        "{log}"
    );

    // Mistakes change nothing, also what else changed.
    place.set(&[("cache_size_mb", "\"much\""), ("frobnicate", "1"), ("log_level", "\"info\"")]);
    service.hang_up();
    assert!(hear().starts_with("RELOADING=1\n"));
    assert_eq!(hear(), "READY=1\n");
    let log = place.log();
    assert!(warns(&log, &["cache_size_mb must be a whole number"]), "{log}");
    assert!(warns(&log, &["unknown key frobnicate"]), "{log}");
    assert!(!log.contains("log_level is info"), "{log}");
    let refused = service.client().post("/service/reload", None, &json!({})).unwrap().expect(500);
    assert_eq!(refused["code"], "KN0620");
    assert!(refused["detail"].as_str().unwrap().contains("unknown key frobnicate"), "{refused}");
    assert!(service.stop().success());
}

#[test]
fn a_command_says_what_the_running_service_made_of_it() {
    let mut place = Place::with(&[]);
    let mut service = place.start();
    let said = |arguments: &[&str]| {
        let output = place.knhk(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(said(&["config", "set", "cache_size_mb", "17"]).contains("\nservice  has it now\n"));
    let restart = said(&["config", "set", "http_workers", "7"]);
    let expected = "\nservice  has 128 until it is restarted: systemctl restart knhk\n";
    assert!(restart.contains(expected), "{restart}");
    let command = said(&["config", "set", "client_timeout_ms", "2000"]);
    assert!(command.contains("\nservice  has no use for it; the next command takes it\n"), "{command}");
    // The file of the service is another one.
    std::fs::copy(place.path("knhk.toml"), place.path("other.toml")).unwrap();
    let mut other = place.command(&["env", &format!("KNHK_CONFIG={}", place.path("other.toml").display())]);
    let output = other.args(["config", "set", "cache_size_mb", "18"]).output().unwrap();
    let other = String::from_utf8_lossy(&output.stdout);
    assert!(
        other.contains("\nservice  has 17: it reads other files, or its environment overrides them\n"),
        "{other}"
    );
    // Nobody logs in between, and it does not hold up who only looks.
    assert!(
        place.log().contains("the configuration changed: cache_size_mb is 17 and was 16"),
        "{}",
        place.log()
    );
    service.hold();
    let unknown = said(&["config", "set", "cache_size_mb", "19"]);
    service.go_on();
    assert!(
        unknown.contains("\nservice  could not be asked: the service did not answer within 2000 ms"),
        "{unknown}"
    );
    assert!(service.stop().success());
}
