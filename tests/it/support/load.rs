//! One client of a test from outside: what it asks, what it was told, and what must therefore be there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Answer, Client};
use super::random::Random;
use super::service::{Service, root};
use super::wait;

/// Longest time until a request whose outcome was unknown has its answer.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Longest wait for more acknowledged requests.
const PROGRESS_MAX: Duration = Duration::from_secs(120);
/// Newest acknowledged requests that are asked again after a crash.
const REPEATED: usize = 12;
/// Most cases that one batch creates.
const BATCH_LINES: u64 = 8;

/// A case as its client knows it.
#[derive(Debug, Clone)]
struct Case {
    id: String,
    customer: String,
    /// Items completed: enter, then ship.
    completed: Vec<String>,
    touched: bool,
}

/// What an acknowledged request changes in the client's picture.
#[derive(Debug, Clone)]
enum Effect {
    Created { customers: Vec<String> },
    Completed { case: usize, item: String },
    Started,
}

/// A request with everything that asking again takes.
#[derive(Debug, Clone)]
struct Request {
    path: String,
    key: Option<String>,
    body: String,
    effect: Effect,
}

/// The connection broke or the service said that the outcome is unknown.
#[derive(Debug)]
pub(crate) struct Cut;

/// A client with its log.
#[derive(Debug)]
pub(crate) struct Worker {
    number: u64,
    random: Random,
    keys: u64,
    cases: Vec<Case>,
    /// Acknowledged requests with the facts of their answers.
    log: Vec<(Request, Vec<Value>)>,
    open: Option<Request>,
}

impl Worker {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        Self { number, random: Random(seed), keys: 0, cases: Vec::new(), log: Vec::new(), open: None }
    }

    pub(crate) fn has_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.log.len()
    }

    pub(crate) fn case_ids(&self) -> Vec<String> {
        self.cases.iter().map(|case| case.id.clone()).collect()
    }

    fn next_key(&mut self) -> String {
        self.keys += 1;
        format!("worker-{}-request-{}", self.number, self.keys)
    }

    /// Asks for one thing and notes the answer.
    pub(crate) fn act(&mut self, client: &mut Client) -> Result<(), Cut> {
        let unfinished: Vec<usize> =
            (0..self.cases.len()).filter(|&case| self.cases[case].completed.len() < 2).collect();
        let request = match self.random.below(8) {
            0 => self.batch(),
            1 | 2 => self.create(),
            _ if unfinished.is_empty() => self.create(),
            kind => {
                let pick = self.random.below(unfinished.len() as u64);
                let case = unfinished[usize::try_from(pick).unwrap()];
                match self.item_request(client, case, kind == 3)? {
                    Some(request) => request,
                    None => self.create(),
                }
            }
        };
        self.ask(client, request)
    }

    fn create(&mut self) -> Request {
        let key = self.next_key();
        let body = json!({"workflow": "order", "data": {"customer": key}}).to_string();
        let effect = Effect::Created { customers: vec![key.clone()] };
        Request { path: "/cases".to_owned(), key: Some(key), body, effect }
    }

    fn batch(&mut self) -> Request {
        let mut lines = Vec::new();
        let mut customers = Vec::new();
        for _ in 0..=self.random.below(BATCH_LINES) {
            let key = self.next_key();
            let line = json!({"op": "create", "workflow": "order", "data": {"customer": key}, "key": key});
            lines.push(line.to_string());
            customers.push(key);
        }
        Request {
            path: "/batch".to_owned(),
            key: None,
            body: lines.join("\n"),
            effect: Effect::Created { customers },
        }
    }

    /// Makes a request for the one live item of a case; `None` when it was only started before.
    fn item_request(
        &mut self,
        client: &mut Client,
        case: usize,
        start: bool,
    ) -> Result<Option<Request>, Cut> {
        let known = self.cases[case].clone();
        let list = client.get(&format!("/workitems?case={}", known.id)).map_err(|_| Cut)?;
        let list = if list.status >= 500 { return Err(Cut) } else { list.expect(200) };
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{known:?}: {list}");
        let (task, output) = match known.completed.len() {
            0 => ("enter", json!({"amount": 1 + self.random.below(1_000)})),
            _ => ("ship", json!({"parcel": format!("parcel of {}", known.customer)})),
        };
        assert_eq!(items[0]["task"], task, "{known:?}: {list}");
        let item = items[0]["id"].as_str().unwrap().to_owned();
        if start && items[0]["state"] != "enabled" {
            return Ok(None);
        }
        let key = self.next_key();
        self.cases[case].touched = true;
        let (act, body, effect) = if start {
            ("start", json!({}), Effect::Started)
        } else {
            ("complete", json!({"data": output}), Effect::Completed { case, item: item.clone() })
        };
        Ok(Some(Request {
            path: format!("/workitems/{item}/{act}"),
            key: Some(key),
            body: body.to_string(),
            effect,
        }))
    }

    /// Asks again for what has no answer yet, if there is anything.
    pub(crate) fn ask_again(&mut self, client: &mut Client) -> Result<(), Cut> {
        match self.open.take() {
            Some(request) => self.ask(client, request),
            None => Ok(()),
        }
    }

    fn ask(&mut self, client: &mut Client, request: Request) -> Result<(), Cut> {
        if let Some(facts) = send(client, &request) {
            self.note(request, facts);
            Ok(())
        } else {
            self.open = Some(request);
            Err(Cut)
        }
    }

    fn note(&mut self, request: Request, facts: Vec<Value>) {
        match &request.effect {
            Effect::Created { customers } => {
                assert_eq!(customers.len(), facts.len(), "{request:?}: {facts:?}");
                for (customer, fact) in customers.iter().zip(&facts) {
                    let id = fact["id"].as_str().unwrap().to_owned();
                    let customer = customer.clone();
                    self.cases.push(Case { id, customer, completed: Vec::new(), touched: true });
                }
            }
            Effect::Completed { case, item } => self.cases[*case].completed.push(item.clone()),
            Effect::Started => {}
        }
        self.log.push((request, facts));
    }

    /// Asks again, with the same key, for what has no answer yet, and for the newest that has one.
    pub(crate) fn settle(&mut self, client: &mut Client) {
        if let Some(request) = self.open.take() {
            let facts = wait::until(SETTLE_MAX, || send(client, &request))
                .unwrap_or_else(|| panic!("no answer to {request:?}"));
            self.note(request, facts);
        }
        for (request, facts) in self.log.iter().rev().take(REPEATED) {
            let again = wait::until(SETTLE_MAX, || send(client, request))
                .unwrap_or_else(|| panic!("no answer to {request:?}"));
            assert_eq!(&again, facts, "the same key has another answer: {request:?}");
        }
    }

    /// Compares cases with what was acknowledged: those touched since the last time, and `old` others.
    pub(crate) fn compare(&mut self, client: &mut Client, old: usize, mut random: Random) {
        let mut others: Vec<usize> =
            (0..self.cases.len()).filter(|&case| !self.cases[case].touched).collect();
        while others.len() > old {
            let gone = random.below(others.len() as u64);
            others.swap_remove(usize::try_from(gone).unwrap());
        }
        for index in 0..self.cases.len() {
            if self.cases[index].touched || others.contains(&index) {
                compare_case(client, &self.cases[index]);
                self.cases[index].touched = false;
            }
        }
    }
}

/// Sends a request; `None` when its outcome is not known.
fn send(client: &mut Client, request: &Request) -> Option<Vec<Value>> {
    let kind = if request.path == "/batch" { "application/x-ndjson" } else { "application/json" };
    let mut headers = vec![("Content-Type", kind)];
    headers.extend(request.key.as_deref().map(|key| ("Idempotency-Key", key)));
    let answer = client.send("POST", &request.path, &headers, request.body.as_bytes()).ok()?;
    if answer.status >= 500 {
        // Busy, starting, outcome unknown: all say to ask again with the same key. A fault of the program is none.
        assert!([503, 504].contains(&answer.status), "{request:?}: {}", answer.text());
        return None;
    }
    assert!(answer.status < 300, "{request:?}: {} {}", answer.status, answer.text());
    if request.path == "/batch" { batch_facts(request, &answer) } else { Some(vec![facts(&answer.json())]) }
}

fn batch_facts(request: &Request, answer: &Answer) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    for line in answer.text().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let status = line["status"].as_u64().unwrap();
        if [503, 504].contains(&status) {
            return None;
        }
        assert!(status < 300, "{request:?}: {line}");
        all.push(facts(&line["body"]));
    }
    Some(all)
}

/// Returns what a repeated answer must repeat: which case or item, and what became of it.
fn facts(body: &Value) -> Value {
    let mut facts = json!({"id": body["id"], "task": body["task"], "case_state": body["case_state"]});
    if !body["case_state"].is_null() {
        facts["state"] = body["state"].clone();
    }
    facts
}

fn get(client: &mut Client, path: &str) -> Value {
    client.get(path).unwrap_or_else(|error| panic!("{path}: {error}")).expect(200)
}

fn compare_case(client: &mut Client, known: &Case) {
    let case = get(client, &format!("/cases/{}", known.id));
    let (state, enabled) = match known.completed.len() {
        0 => ("running", Some("enter")),
        1 => ("running", Some("ship")),
        _ => ("completed", None),
    };
    assert_eq!(case["state"], state, "{known:?}: {case}");
    if let Some(task) = enabled {
        let at = |list: &str| case[list].as_array().unwrap().iter().any(|word| word == task);
        assert!(at("enabled") || at("busy"), "{known:?}: {case}");
        assert_eq!(case["data"]["customer"], known.customer.as_str(), "{known:?}: {case}");
    } else {
        assert_eq!(case["data"]["parcel"], format!("parcel of {}", known.customer), "{known:?}: {case}");
    }
    compare_history(client, known);
}

fn compare_history(client: &mut Client, known: &Case) {
    let history = get(client, &format!("/cases/{}/history?limit=1000", known.id));
    let events = history["items"].as_array().unwrap();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index + 1, "{known:?}: {history}");
    }
    let count = |name: &str, item: Option<&str>| {
        events
            .iter()
            .filter(|event| event["event"] == name && item.is_none_or(|item| event["item"] == item))
            .count()
    };
    assert_eq!(count("created", None), 1, "{known:?}: {history}");
    let closed = usize::from(known.completed.len() == 2);
    assert_eq!(count("closed", None), closed, "{known:?}: {history}");
    assert_eq!(count("completed", None), known.completed.len(), "{known:?}: {history}");
    for item in &known.completed {
        for name in ["offered", "started", "completed"] {
            assert_eq!(count(name, Some(item)), 1, "{name} {item}, {known:?}: {history}");
        }
    }
}

/// Returns the ids of all cases, page after page.
fn all_cases(client: &mut Client) -> Vec<String> {
    let mut ids = Vec::new();
    let mut path = "/cases?workflow=order&limit=1000".to_owned();
    loop {
        let page = get(client, &path);
        ids.extend(
            page["items"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(token) => path = format!("/cases?workflow=order&limit=1000&after={token}"),
            None => return ids,
        }
    }
}

/// Registers the workflow that all requests are about.
pub(crate) fn register(service: &Service) {
    let source = std::fs::read(root().join("examples/order/order.yawl")).unwrap();
    let kind = [("Content-Type", "application/xml")];
    service.client().send("POST", "/workflows", &kind, &source).unwrap().expect(201);
}

/// How far clients have come that work in the background.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    is_over: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
}

/// Ends the work also when whoever watches it fails.
struct Ending<'a>(&'a Progress);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

impl Progress {
    /// Returns how many requests were acknowledged.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Returns how often a request was refused for now, or has an outcome that was unknown then.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Waits until so many more are acknowledged.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: u64) {
        let target = self.answered() + more;
        let reached = wait::until(PROGRESS_MAX, || (self.answered() >= target).then_some(()));
        assert!(reached.is_some(), "{} of {target} requests are answered", self.answered());
    }

    fn work(&self, address: SocketAddr, worker: &mut Worker) {
        let mut client = Client::new(address);
        while !self.is_over.load(Ordering::Acquire) {
            if worker.ask_again(&mut client).and_then(|()| worker.act(&mut client)).is_ok() {
                self.answered.fetch_add(1, Ordering::AcqRel);
            } else {
                self.refused.fetch_add(1, Ordering::AcqRel);
                wait::pause();
            }
        }
    }
}

/// Lets all workers work for as long as `watch` takes. What has no answer they ask again, with the same key.
pub(crate) fn while_working<R>(
    address: SocketAddr,
    workers: &mut [Worker],
    watch: impl FnOnce(&Progress) -> R,
) -> R {
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let ending = Ending(&progress);
        for worker in workers {
            let progress = &progress;
            scope.spawn(move || progress.work(address, worker));
        }
        let watched = watch(ending.0);
        drop(ending);
        watched
    })
}

/// Compares what the service shows with what was acknowledged: cases touched since the last time, and `old` others of
/// each worker.
pub(crate) fn compare(service: &Service, workers: &mut [Worker], old: usize, random: &mut Random) {
    let address = service.address;
    let seed = random.next();
    std::thread::scope(|scope| {
        for worker in workers.iter_mut() {
            scope.spawn(move || {
                let mut client = Client::new(address);
                worker.settle(&mut client);
                worker.compare(&mut client, old, Random(seed));
            });
        }
    });
    let known: BTreeSet<String> = workers.iter().flat_map(Worker::case_ids).collect();
    let listed = all_cases(&mut service.client());
    let there: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), there.len(), "a case is listed twice");
    assert!(listed.is_sorted(), "the list is not in order");
    assert_eq!(known.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "lost cases");
    assert_eq!(there.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "cases nobody asked for");
}
