//! A client written from the interface's description alone: HTTP, JSON and XML, and nothing of this crate.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::http::{Answer, Client};
use crate::support::service::{Place, Service, root};

const XML: [(&str, &str); 1] = [("Content-Type", "application/xml")];

/// A running service with one registered specification.
struct Stage {
    _place: Place,
    _service: Service,
    client: Client,
}

impl Stage {
    fn with(example: &str) -> Self {
        let mut place = Place::new();
        let service = place.start();
        let mut client = service.client();
        let answer = client.send("POST", "/workflows", &XML, &source(example)).unwrap();
        let registered = answer.expect(201);
        assert_eq!((&registered["id"], &registered["version"]), (&json!(example), &json!(1)));
        assert!(registered["warnings"].is_array(), "{registered}");
        Self { _place: place, _service: service, client }
    }

    fn get(&mut self, path: &str) -> Value {
        self.client.get(path).unwrap().expect(200)
    }

    fn post(&mut self, path: &str, body: Value) -> Answer {
        self.client.post(path, None, &body).unwrap()
    }

    fn create(&mut self, customer: &str) -> String {
        let body = json!({"workflow": "order", "data": {"customer": customer}});
        text(&self.post("/cases", body).expect(201)["id"])
    }

    fn only_item(&mut self, case: &str) -> Value {
        let list = self.get(&format!("/workitems?case={case}"));
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
        list["items"][0].clone()
    }

    /// Walks through a list and returns its items and how many pages it had.
    fn pages(&mut self, path: &str) -> (Vec<Value>, usize) {
        let (mut items, mut pages, mut from) = (Vec::new(), 0, path.to_owned());
        loop {
            let page = self.get(&from);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            pages += 1;
            match &page["next"] {
                Value::Null => return (items, pages),
                next => from = format!("{path}&after={}", text(next)),
            }
        }
    }
}

fn source(example: &str) -> Vec<u8> {
    fs::read(root().join(format!("examples/{example}/{example}.yawl"))).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| text(&item["id"])).collect()
}

/// Checks that an answer is a problem document with a code, and returns the code.
fn problem(answer: &Answer, status: u16) -> String {
    let body = answer.expect(status);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    assert_eq!(body["status"], status, "{body}");
    let code = text(&body["code"]);
    assert_eq!(body["type"], format!("urn:knhk:error:{code}"), "{body}");
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    code
}

#[test]
fn a_case_is_registered_created_worked_and_found() {
    let mut stage = Stage::with("order");
    let created = stage.post("/cases", json!({"workflow": "order", "data": {"customer": "Ann"}})).expect(201);
    assert_eq!((&created["workflow"], &created["version"]), (&json!("order"), &json!(1)));
    assert_eq!((&created["state"], &created["enabled"]), (&json!("running"), &json!(["enter"])));
    assert_eq!((&created["marking"], &created["data"]["customer"]), (&json!({"start": 1}), &json!("Ann")));
    let case = text(&created["id"]);

    let item = stage.only_item(&case);
    assert_eq!((&item["case"], &item["workflow"]), (&json!(case), &json!("order")));
    assert_eq!((&item["task"], &item["state"]), (&json!("enter"), &json!("enabled")));
    assert_eq!(item["data"], json!({"customer": "Ann"}));
    let path = format!("/workitems/{}", text(&item["id"]));
    stage.post(&format!("{path}/start"), json!({})).expect(200);
    assert_eq!(stage.get(&path)["state"], "executing");
    assert_eq!(stage.get(&format!("/cases/{case}"))["busy"], json!(["enter"]));
    stage.post(&format!("{path}/complete"), json!({"data": {"amount": 5000}})).expect(200);

    // A large order is approved, or goes back.
    let item = stage.only_item(&case);
    assert_eq!((&item["task"], &item["data"]["amount"]), (&json!("approve"), &json!(5000)));
    let path = format!("/workitems/{}/complete", text(&item["id"]));
    stage.post(&path, json!({"data": {"approved": true}})).expect(200);
    let item = stage.only_item(&case);
    assert_eq!(item["task"], "ship");
    let path = format!("/workitems/{}/complete", text(&item["id"]));
    stage.post(&path, json!({"data": {"parcel": "P-1"}})).expect(200);

    let done = stage.get(&format!("/cases/{case}"));
    assert_eq!(done["state"], "completed");
    assert_eq!((&done["data"]["amount"], &done["data"]["parcel"]), (&json!(5000), &json!("P-1")));
    assert_eq!(stage.get("/workitems?limit=10")["items"], json!([]));
    let (completed, _) = stage.pages("/cases?state=completed&limit=10");
    assert_eq!(ids(&completed), std::slice::from_ref(&case));
    assert_eq!(stage.get("/cases?state=running")["items"], json!([]));
    history_is_whole(&mut stage, &case);
    pictures_are_drawn(&mut stage, &case);
}

fn history_is_whole(stage: &mut Stage, case: &str) {
    let (whole, _) = stage.pages(&format!("/cases/{case}/history?limit=1000"));
    let (paged, pages) = stage.pages(&format!("/cases/{case}/history?limit=3"));
    assert!(pages > 1 && paged == whole, "{pages} pages");
    for (index, event) in whole.iter().enumerate() {
        assert_eq!(event["seq"], index + 1, "{event}");
        assert!(event["time"].is_string() && event["event"].is_string(), "{event}");
    }
    let names: Vec<&str> = whole.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"created"), Some(&"closed")), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "completed").count(), 3, "{names:?}");
}

fn pictures_are_drawn(stage: &mut Stage, case: &str) {
    for path in ["/workflows/order.svg".to_owned(), format!("/cases/{case}.svg")] {
        let answer = stage.client.get(&path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.header("content-type").unwrap().starts_with("image/svg+xml"), "{answer:?}");
        assert!(
            answer.text().contains("<svg") && answer.text().contains("Ship the goods"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn lists_are_paged_and_filtered_and_batches_answer_in_order() {
    let mut stage = Stage::with("order");
    let made: Vec<String> = (0..5).map(|number| stage.create(&format!("customer {number}"))).collect();
    let (listed, pages) = stage.pages("/cases?workflow=order&limit=2");
    assert_eq!((ids(&listed).iter().collect::<BTreeSet<_>>(), pages), (made.iter().collect(), 3));
    assert!(ids(&listed).is_sorted(), "ids sort by creation");
    let (items, pages) = stage.pages("/workitems?workflow=order&task=enter&state=enabled&limit=2");
    assert_eq!((items.len(), pages), (5, 3));
    assert_eq!(stage.get("/cases?workflow=order@1&older_than=90d")["items"], json!([]));
    let (workflows, _) = stage.pages("/workflows?limit=10");
    assert_eq!(ids(&workflows), ["order"]);

    let lines = [
        json!({"op": "create", "workflow": "order", "data": {"customer": "Bob"}, "key": "batch-1"}),
        json!({"op": "create", "workflow": "no such workflow", "key": "batch-2"}),
        json!({"op": "create", "workflow": "order", "data": {"customer": "Cid"}, "key": "batch-3"}),
    ];
    let body = lines.map(|line| line.to_string()).join("\n");
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = stage.client.send("POST", "/batch", &kind, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answers: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<&Value> = answers.iter().map(|line| &line["status"]).collect();
    assert_eq!(statuses, [&json!(201), &json!(404), &json!(201)]);
    assert_eq!(answers[0]["body"]["data"]["customer"], "Bob");
    assert!(answers[1]["body"]["code"].is_string(), "{}", answers[1]);
    assert_eq!(answers[2]["body"]["data"]["customer"], "Cid");
    assert_eq!(stage.pages("/cases?limit=100").0.len(), 7);
}

#[test]
fn a_key_does_its_work_once_and_takes_no_other() {
    let mut stage = Stage::with("order");
    let body = json!({"workflow": "order", "data": {"customer": "Ann"}});
    let first = stage.client.post("/cases", Some("k-1"), &body).unwrap();
    let second = stage.client.post("/cases", Some("k-1"), &body).unwrap();
    let case = text(&first.expect(201)["id"]);
    assert_eq!(second.expect(201)["id"], case.as_str());
    let other = json!({"workflow": "order", "data": {"customer": "Bob"}});
    problem(&stage.client.post("/cases", Some("k-1"), &other).unwrap(), 422);
    assert_eq!(stage.pages("/cases?limit=10").0.len(), 1);

    let item = text(&stage.only_item(&case)["id"]);
    let path = format!("/workitems/{item}/complete");
    let output = json!({"data": {"amount": 7}});
    let first = stage.client.post(&path, Some("k-2"), &output).unwrap().expect(200);
    let second = stage.client.post(&path, Some("k-2"), &output).unwrap().expect(200);
    assert_eq!(first, second);
    // Without the key it is another wish, and the item is gone.
    let gone = stage.client.post(&path, None, &output).unwrap();
    assert!([404, 409].contains(&gone.status), "{}", gone.text());

    // A refusal is not remembered: the same key may ask for what has become possible.
    let next = text(&stage.only_item(&case)["id"]);
    let path = format!("/workitems/{next}/complete");
    problem(&stage.client.post(&path, Some("k-3"), &json!({"data": {"no-such": 1}})).unwrap(), 422);
    stage.client.post(&path, Some("k-3"), &json!({"data": {"parcel": "P"}})).unwrap().expect(200);

    // A business key names one case for good.
    let body = json!({"workflow": "order", "data": {"customer": "Cid"}, "key": "order-17"});
    let made = text(&stage.post("/cases", body.clone()).expect(201)["id"]);
    assert_eq!(stage.post("/cases", body).expect(200)["id"], made.as_str());
}

#[test]
fn cases_are_held_resumed_cancelled_and_items_given_up_and_tried_again() {
    let mut stage = Stage::with("order");
    let case = stage.create("Ann");
    let path = format!("/cases/{case}");
    let enter = format!("/workitems/{}/complete", text(&stage.only_item(&case)["id"]));
    stage.post(&enter, json!({"data": {"amount": 9}})).expect(200);
    let item = format!("/workitems/{}", text(&stage.only_item(&case)["id"]));
    stage.post(&format!("{path}/suspend"), json!({})).expect(200);
    assert_eq!(stage.get(&path)["state"], "suspended");
    problem(&stage.post(&format!("{item}/start"), json!({})), 409);
    stage.post(&format!("{path}/resume"), json!({})).expect(200);
    stage.post(&format!("{item}/start"), json!({})).expect(200);
    stage.post(&format!("{item}/fail"), json!({"reason": "no paper"})).expect(200);
    assert_eq!(stage.get(&path)["state"], "incident");
    stage.post(&format!("{path}/retry"), json!({})).expect(200);
    assert_eq!(stage.get(&path)["state"], "running");
    let skipped = stage.post(&format!("{item}/skip"), json!({"reason": "fetched"})).expect(200);
    assert_eq!((&skipped["state"], &skipped["case_state"]), (&json!("skipped"), &json!("completed")));

    let case = stage.create("Bob");
    let path = format!("/cases/{case}");
    stage.post(&format!("{path}/execute"), json!({})).expect(200);
    stage.post(&format!("{path}/cancel"), json!({"reason": "test"})).expect(200);
    assert_eq!(stage.get(&path)["state"], "cancelled");
    assert_eq!(stage.get("/workitems?limit=10")["items"], json!([]));
    problem(&stage.post(&format!("{path}/resume"), json!({})), 409);
}

#[test]
fn mistakes_are_answered_by_problems_and_change_nothing() {
    let mut stage = Stage::with("order");
    problem(&stage.client.get("/cases/000000000000").unwrap(), 404);
    problem(&stage.client.get("/cases/what").unwrap(), 404);
    problem(&stage.client.get("/nowhere").unwrap(), 404);
    problem(&stage.client.get("/workflows/none").unwrap(), 404);
    problem(&stage.client.get("/cases?state=happy").unwrap(), 400);
    problem(&stage.post("/cases", json!({"workflow": "none"})), 404);
    problem(&stage.post("/cases", json!({"workflow": "order", "data": {"who": "Ann"}})), 422);
    problem(&stage.post("/cases", json!({"workflwo": "order"})), 400);
    let json = [("Content-Type", "application/json")];
    problem(&stage.client.send("POST", "/cases", &json, b"{\"workflow\":").unwrap(), 400);
    let answer = stage.client.send("DELETE", "/cases", &[], b"").unwrap();
    problem(&answer, 405);
    assert!(answer.header("allow").is_some_and(|methods| methods.contains("POST")), "{answer:?}");
    let wrong = b"<specificationSet><specification/></specificationSet>";
    let answer = stage.client.send("POST", "/workflows", &XML, wrong).unwrap();
    problem(&answer, answer.status);
    assert!(answer.status == 400 || answer.status == 422, "{}", answer.text());
    let mistakes = answer.json()["mistakes"].clone();
    assert!(mistakes[0]["line"].is_number() && mistakes[0]["code"].is_string(), "{mistakes}");
    assert_eq!(stage.get("/cases?limit=10")["items"], json!([]));
}

#[test]
fn the_same_bytes_are_the_same_version_and_others_the_next() {
    let mut stage = Stage::with("order");
    let same = stage.client.send("POST", "/workflows", &XML, &source("order")).unwrap().expect(200);
    assert_eq!(same["version"], 1);
    let other = String::from_utf8(source("order")).unwrap().replace("Ship the goods", "Send the goods");
    let next = stage.client.send("POST", "/workflows", &XML, other.as_bytes()).unwrap().expect(201);
    assert_eq!(next["version"], 2);
    let case = stage.create("Ann");
    assert_eq!(stage.get(&format!("/cases/{case}"))["version"], 2);
    let old = stage.post("/cases", json!({"workflow": "order@1", "data": {"customer": "Bob"}})).expect(201);
    assert_eq!(old["version"], 1);
}

#[test]
fn data_travels_as_xml_for_those_who_ask() {
    let mut stage = Stage::with("order");
    let body = b"<data><customer>Ann &amp; Bob</customer></data>";
    let answer = stage.client.send("POST", "/cases?workflow=order", &XML, body).unwrap();
    let case = text(&answer.expect(201)["id"]);
    assert_eq!(stage.get(&format!("/cases/{case}"))["data"]["customer"], "Ann & Bob");
    let accept = [("Accept", "application/xml")];
    let answer = stage.client.send("GET", &format!("/cases/{case}"), &accept, b"").unwrap();
    assert!(answer.header("content-type").unwrap().starts_with("application/xml"), "{answer:?}");
    assert!(answer.text().contains("<customer>Ann &amp; Bob</customer>"), "{}", answer.text());
}

#[test]
fn health_figures_and_the_interface_itself_are_told() {
    let mut stage = Stage::with("order");
    stage.create("Ann");
    let health = stage.get("/health");
    assert!(health["status"] == "ok" || health["status"] == "degraded", "{health}");
    assert_eq!(stage.client.get("/health/live").unwrap().status, 200);
    let figures = stage.client.get("/metrics").unwrap();
    assert_eq!(figures.status, 200);
    for name in [
        "knhk_workflow_cases_total",
        "knhk_workflow_tasks_completed_total",
        "knhk_workflow_errors_total",
        "knhk_hot_path_ticks_bucket",
    ] {
        assert!(figures.text().lines().any(|line| line.starts_with(name)), "{name}:\n{}", figures.text());
    }
    let openapi = stage.get("/openapi.json");
    assert!(openapi["paths"]["/cases"]["post"].is_object(), "{openapi}");
}
