//! The real collector: everything that is said to have been sent is in its file, whole and in its place; and whatever
//! becomes of it, the service goes on as before. `scripts/otel-check` runs this.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use knhk::engine::threads::side_by_side;
use knhk::telemetry::traces::{Context, Parent};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, any_port, figure, post, register, serve, settle};
use crate::support::http::Client;
use crate::support::service::{Place, Service, root};
use crate::support::wait;

/// Cases of the first part.
const CASES: usize = 1_000;
/// Clients that ask at the same time.
const CLIENTS: usize = 8;
/// Cases of one round of the second and third part.
const ROUND_CASES: usize = 200;
/// A clock that is read twice may be read in either order by two threads.
const CLOCK_SLACK_NS: u64 = 1_000_000;
/// By how much a service whose collector does not answer may grow beyond one without telemetry that did the same work: the
/// queue's bytes, and the allocator's share.
const GROWTH_KIB_MAX: u64 = 64 * 1_024;

struct Collector {
    binary: PathBuf,
    folder: TempDir,
    address: std::net::SocketAddr,
    child: Option<Child>,
}

impl Collector {
    /// Starts the collector with the configuration that is shipped, but for its ports and paths; `None` without one.
    fn start() -> Option<Self> {
        let Some(binary) = wait::variable("KNHK_OTEL_COLLECTOR") else {
            // Building one takes minutes and root: a part of scripts/test where slow tests are asked for.
            wait::elsewhere("scripts/otel-check builds the collector and sets KNHK_OTEL_COLLECTOR");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("knhk-otel-").tempdir().unwrap();
        let free = || std::net::TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
        let (address, http) = (free(), free());
        let shipped = fs::read_to_string(root().join("systemd/otel-collector.yaml")).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = shipped
            .replace("127.0.0.1:4317", &address.to_string())
            .replace("127.0.0.1:4318", &http.to_string())
            .replace("/var/log/otel-collector.log", &path("spans"))
            .replace("/var/log/otel-collector\n", &format!("{}\n", path("old")));
        assert!(!config.contains("/var/log"), "{config}");
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let mut collector = Self { binary: binary.into(), folder, address, child: None };
        collector.run();
        Some(collector)
    }

    fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(&self.binary)
            .arg(format!("--config={}", self.folder.path().join("config.yaml").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let is_there = || std::net::TcpStream::connect(self.address).is_ok().then_some(());
        wait::until(PATIENCE, is_there).unwrap_or_else(|| panic!("{}", self.log()));
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it in order, so that its batches are written.
    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let child = self.child.as_mut().expect("it runs");
        let ended = wait::until(PATIENCE, || child.try_wait().unwrap());
        assert!(ended.expect("it does not end").success(), "{}", self.log());
        self.child = None;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns the spans in its file by id, and checks each line by itself.
    fn spans(&self) -> HashMap<String, Seen> {
        let text = fs::read_to_string(self.folder.path().join("spans")).unwrap();
        let mut spans = HashMap::new();
        for line in text.lines() {
            assert!(line.contains("knhk"), "grep knhk would not find {line}");
            let document: Value = serde_json::from_str(line).unwrap();
            let Some(resource) = document["resourceSpans"].get(0) else { continue };
            let named = &resource["resource"]["attributes"];
            assert_eq!(text_of(named, "service.name"), "knhk");
            let [span] = resource["scopeSpans"][0]["spans"].as_array().unwrap().as_slice() else {
                panic!("not one span a line: {line}")
            };
            let seen = Seen::read(span);
            assert!(spans.insert(seen.id.clone(), seen).is_none(), "twice: {line}");
        }
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

fn text_of<'a>(attributes: &'a Value, key: &str) -> &'a str {
    let attributes = attributes.as_array().map(Vec::as_slice).unwrap_or_default();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.and_then(|attribute| attribute["value"]["stringValue"].as_str()).unwrap_or_default()
}

/// A span as its line says.
#[derive(Debug)]
struct Seen {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    start: u64,
    end: u64,
    case: String,
    task: String,
    phase: String,
}

impl Seen {
    fn read(span: &Value) -> Self {
        let text = |key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let time = |key: &str| text(key).parse().unwrap_or_else(|_| panic!("no {key}: {span}"));
        let attribute = |key: &str| text_of(&span["attributes"], key).to_owned();
        let seen = Self {
            trace: text("traceId"),
            id: text("spanId"),
            parent: text("parentSpanId"),
            name: text("name"),
            kind: span["kind"].as_u64().unwrap_or_default(),
            start: time("startTimeUnixNano"),
            end: time("endTimeUnixNano"),
            case: attribute("knhk.case.id"),
            task: attribute("knhk.task.id"),
            phase: attribute("knhk.task.phase"),
        };
        let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(is_hex(&seen.trace, 32) && is_hex(&seen.id, 16), "{span}");
        assert!(seen.parent.is_empty() || is_hex(&seen.parent, 16), "{span}");
        assert!(seen.start <= seen.end, "{span}");
        // 1 is internal, 2 is a server's.
        assert_eq!(
            seen.kind,
            if seen.name.starts_with("POST ") || seen.name.starts_with("GET ") { 2 } else { 1 }
        );
        seen
    }
}

/// A request as its client knows it.
#[derive(Debug)]
struct Asked {
    route: &'static str,
    case: String,
    /// The task that it completed.
    task: &'static str,
    /// What the client said of itself.
    given: Option<Context>,
    /// What it was answered; `None` when it was not traced.
    answered: Option<Context>,
}

fn context_of(header: Option<&str>) -> Option<Context> {
    header.map(|header| Parent::read(header).expect("a traceparent").context)
}

/// Runs one case to its end: every second one is part of a trace of its client.
fn run_case(client: &mut Client, number: usize, out: &mut Vec<Asked>) {
    let given =
        number.is_multiple_of(2).then(|| Context { trace: number as u128 + 1, span: number as u64 + 1 });
    let header = given.map(|given| given.to_string());
    let mut ask = |client: &mut Client, route, path: &str, body: &Value, task, case: &str| {
        let answer = post(client, path, header.as_deref(), body);
        let answered = context_of(answer.header("traceparent"));
        let document = answer.expect(if route == "POST /cases" { 201 } else { 200 });
        let case =
            if case.is_empty() { document["id"].as_str().unwrap().to_owned() } else { case.to_owned() };
        out.push(Asked { route, case: case.clone(), task, given, answered });
        case
    };
    let body = json!({"workflow": "order", "data": {"customer": format!("c{number}")}});
    let case = ask(client, "POST /cases", "/cases", &body, "", "");
    for (item, (task, data)) in (1..).zip([("enter", json!({"amount": 7})), ("ship", json!({"parcel": "p"}))])
    {
        let path = format!("/workitems/{case}-{item}/complete");
        ask(client, "POST /workitems/{id}/complete", &path, &json!({ "data": data }), task, &case);
    }
}

/// Runs so many cases, by several clients; returns all requests.
fn run_cases(service: &Service, from: usize, count: usize) -> Vec<Asked> {
    let next = AtomicUsize::new(from);
    let work = |_: usize| {
        let (mut client, mut asked) = (service.client(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::AcqRel);
            if number >= from + count {
                return asked;
            }
            run_case(&mut client, number, &mut asked);
        }
    };
    side_by_side("client", CLIENTS, || work(0), work).into_iter().flatten().collect()
}

/// Checks that the spans are those of the traced requests: all of them, under one another as they belong, and no other.
fn check(asked: &[Asked], spans: &HashMap<String, Seen>) {
    let mut children: HashMap<&str, Vec<&Seen>> = HashMap::new();
    for span in spans.values() {
        children.entry(span.parent.as_str()).or_default().push(span);
    }
    let mut known = HashSet::new();
    for request in asked {
        let Some(answered) = request.answered else { continue };
        let id = format!("{:016x}", answered.span);
        let root = spans.get(&id).unwrap_or_else(|| panic!("no span of {request:?}"));
        assert_eq!((root.name.as_str(), &root.trace), (request.route, &format!("{:032x}", answered.trace)));
        assert_eq!(
            root.parent,
            request.given.map(|given| format!("{:016x}", given.span)).unwrap_or_default()
        );
        let below = |span: &Seen| children.get(span.id.as_str()).cloned().unwrap_or_default();
        let [command] = below(root)[..] else { panic!("{request:?}: {:?}", below(root)) };
        let (word, tasks) = if request.task.is_empty() { ("create", 0) } else { ("complete", 1) };
        assert_eq!((command.name.clone(), &command.case), (format!("case {word}"), &request.case));
        let parts = below(command);
        let commits = parts.iter().filter(|span| span.name == "commit").count();
        assert_eq!((commits, parts.len()), (1, tasks + 1), "{request:?}: {parts:?}");
        for part in &parts {
            let is_task = part.task == request.task && part.phase == "pass" && part.case == request.case;
            assert!(part.name == "commit" || is_task, "{part:?}");
            assert!(below(part).is_empty(), "{part:?}");
        }
        for span in parts.iter().copied().chain([command]) {
            let (from, to) = (root.start.saturating_sub(CLOCK_SLACK_NS), root.end + CLOCK_SLACK_NS);
            assert!(from <= span.start && span.end <= to && span.trace == root.trace, "{span:?} in {root:?}");
        }
        known.extend(parts.iter().copied().chain([command, root]).map(|span| span.id.clone()));
    }
    let unknown: Vec<_> = spans.values().filter(|span| !known.contains(&span.id)).collect();
    // Registering the specification is the one request that nobody listed.
    let names: HashSet<_> = unknown.iter().map(|span| span.name.as_str()).collect();
    assert!(
        names.iter().all(|name| ["POST /workflows", "case register", "commit"].contains(name)),
        "{unknown:?}"
    );
    assert!(unknown.len() <= 3, "{unknown:?}");
}

/// Says something on the real stdout.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[test]
fn all_spans_of_a_thousand_cases_are_in_the_collectors_file() {
    let Some(mut collector) = Collector::start() else { return };
    let (_place, service) = serve(collector.address, 1_000_000);
    let mut client = service.client();
    register(&mut client);
    let asked = run_cases(&service, 0, CASES);
    let (exported, dropped) = settle(&mut client);
    assert_eq!(dropped, 0);
    collector.stop();
    let spans = collector.spans();
    assert_eq!(spans.len() as u64, exported);
    assert!(asked.iter().all(|request| request.answered.is_some()));
    assert_eq!(asked.len(), 3 * CASES);
    check(&asked, &spans);
    assert!(collector.log().contains("Traces"), "the journal says nothing of what came: {}", collector.log());
    say(&format!("{CASES} cases, {} requests: {exported} spans made, sent and found", asked.len()));
}

#[test]
fn exactly_the_sampled_requests_are_in_the_collectors_file() {
    let Some(mut collector) = Collector::start() else { return };
    let (_place, service) = serve(collector.address, 20);
    let mut client = service.client();
    register(&mut client);
    let asked = run_cases(&service, 0, ROUND_CASES);
    let traced = asked.iter().filter(|request| request.answered.is_some()).count();
    // Whether registering was the first of its second's twenty is not known.
    let unsampled = figure(&mut client, "knhk_otlp_unsampled_total");
    assert_eq!((asked.len() - traced) as u64, unsampled);
    let (exported, dropped) = settle(&mut client);
    assert_eq!(dropped, 0);
    collector.stop();
    let spans = collector.spans();
    assert_eq!(spans.len() as u64, exported);
    check(&asked, &spans);
    let mut seconds: HashMap<u64, usize> = HashMap::new();
    for span in spans.values().filter(|span| span.kind == 2) {
        *seconds.entry(span.start / 1_000_000_000).or_default() += 1;
    }
    say(&format!(
        "{} requests, at most 20 a second traced: {traced} sampled and found, {unsampled} not",
        asked.len()
    ));
}

fn resident_kib(service: &Service) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(service.pid().to_string()).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs a round and returns its requests a second; every answer is checked by the clients.
fn round(service: &Service, from: &mut usize) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "the rate is told to people, no test judges it")]
    let begun = Instant::now();
    let asked = run_cases(service, *from, ROUND_CASES).len();
    *from += ROUND_CASES;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = asked as f64 / begun.elapsed().as_secs_f64();
    rate
}

/// Makes more spans than the queue holds.
fn flood(client: &mut Client) {
    let line = json!({"op": "create", "workflow": "order", "data": {"customer": "c"}}).to_string();
    let body = vec![line.as_str(); 1_000].join("\n");
    for _ in 0..12 {
        let headers = [("Content-Type", "application/x-ndjson")];
        let answer = client.send("POST", "/batch", &headers, body.as_bytes()).unwrap();
        let lines = answer.text();
        assert_eq!(lines.lines().filter(|line| line.starts_with("{\"status\":201")).count(), 1_000);
    }
}

/// Returns by how much a service without telemetry grows by the same work: so many cases and two floods.
fn growth_without_telemetry(cases: usize) -> u64 {
    let mut place = Place::new();
    let service = place.start();
    let mut client = service.client();
    register(&mut client);
    run_cases(&service, 0, ROUND_CASES);
    let before_kib = resident_kib(&service);
    run_cases(&service, ROUND_CASES, cases - ROUND_CASES);
    flood(&mut client);
    flood(&mut client);
    resident_kib(&service).saturating_sub(before_kib)
}

fn wait_for_health(client: &mut Client, is_away: bool) {
    let said = |client: &mut Client| client.get("/health").unwrap().text().contains("collector away");
    wait::until(PATIENCE, || (said(client) == is_away).then_some(()))
        .unwrap_or_else(|| panic!("/health does not say that the collector is away: {is_away}"));
}

#[test]
fn a_dead_or_stopped_collector_changes_nothing_for_clients() {
    let Some(mut collector) = Collector::start() else { return };
    let (place, service) = serve(collector.address, 1_000_000);
    let (mut client, mut from) = (service.client(), 0);
    register(&mut client);
    let mut rates: HashMap<&str, Vec<f64>> = HashMap::new();
    round(&service, &mut from);
    let before_kib = resident_kib(&service);
    for _ in 0..2 {
        rates.entry("alive").or_default().push(round(&service, &mut from));
        collector.kill();
        rates.entry("dead").or_default().push(round(&service, &mut from));
        wait_for_health(&mut client, true);
        collector.run();
        wait_for_health(&mut client, false);
        rates.entry("alive").or_default().push(round(&service, &mut from));
        collector.signal(Signal::SIGSTOP);
        rates.entry("stopped").or_default().push(round(&service, &mut from));
        wait_for_health(&mut client, true);
        flood(&mut client);
        collector.signal(Signal::SIGCONT);
        wait_for_health(&mut client, false);
    }
    let (exported, dropped) = settle(&mut client);
    assert!(dropped > 0 && exported > 0, "{exported} sent, {dropped} dropped");
    let grown_kib = resident_kib(&service).saturating_sub(before_kib);
    let without_kib = growth_without_telemetry(from);
    assert!(grown_kib < without_kib + GROWTH_KIB_MAX, "grew by {grown_kib} KiB, without by {without_kib}");
    let log = place.log();
    for words in [knhk::telemetry::words::COLLECTOR_AWAY, knhk::telemetry::words::COLLECTOR_BACK] {
        assert_eq!(log.matches(words).count(), 4, "{words}: once each time\n{log}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let mean = |name: &str| rates[name].iter().sum::<f64>() / rates[name].len() as f64;
    say(&format!("{exported} spans sent, {dropped} dropped, all counted"));
    say(&format!(
        "memory grew by {grown_kib} KiB, without telemetry by {without_kib} KiB for the same cases"
    ));
    for name in ["alive", "dead", "stopped"] {
        let ratio = mean(name) / mean("alive");
        say(&format!(
            "collector {name}: {:.0} requests/s, {ratio:.2} of alive {:.0?}",
            mean(name),
            rates[name]
        ));
    }
}
