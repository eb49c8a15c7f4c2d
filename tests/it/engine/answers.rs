//! Answers of the running engine within their bounds: batches that are sent again, lists that end early.

use std::collections::BTreeSet;

use knhk::api::{self, Request, Response, respond};
use knhk::engine::Options;
use knhk::engine::queries::PAGE_STEPS_MAX;
use knhk::engine::room::{self, NOT_BEGUN_BYTES, Room, SHORT_BYTES};
use knhk::engine::service::{Begun, Caller, CaseAct, CaseFilter, Once, Operation, PageOf, Service};
use knhk::expr::STEPS_MAX;
use knhk::id::CaseId;
use serde_json::{Value, json};

use super::{LossyTables, Running, options, start, wait_for};
use crate::support::heavy;

const ORDER: &[u8] = include_bytes!("../../../examples/order/order.yawl");
const LIMITS: api::Limits =
    api::Limits { body_bytes_max: 4 << 20, batch_lines_max: 10_000, ..crate::api::LIMITS };

fn start_with(answers: room::Limits) -> Running {
    let service = start(Options { answers, ..options() }, LossyTables::default());
    service.engine.register(ORDER, &Once::default()).unwrap();
    service
}

fn ask(service: &Running, method: &str, target: &str, body: &str) -> Response {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        body: body.as_bytes().to_vec(),
        ..Request::default()
    };
    respond(&service.engine, &request, &LIMITS)
}

fn json_lines(response: &Response) -> Vec<Value> {
    let lines = response.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn a_batch_that_is_sent_again_until_all_of_it_is_done_does_nothing_twice() {
    // Room for a short answer to sixteen of forty, and to say of the others that they were not begun.
    let limit = 16 * SHORT_BYTES + 24 * NOT_BEGUN_BYTES;
    let service = start_with(room::Limits { answer_bytes_max: limit, answers_bytes_max: 16 << 20 });
    let line = |number: usize| {
        let data = json!({ "customer": "x".repeat(2_000) });
        json!({ "op": "create", "workflow": "order", "data": data, "key": format!("k-{number}") }).to_string()
    };
    let mut open: Vec<usize> = (0..40).collect();
    let mut made = BTreeSet::new();
    let mut rounds = 0;
    while !open.is_empty() {
        rounds += 1;
        assert!(rounds < 10, "it does not come to its end");
        // All of it, also what was done already, as a client does that lost the answer.
        let lines: Vec<String> = (0..40).map(|at| line((at + 16 * (rounds - 1)) % 40)).collect();
        let response = ask(&service, "POST", "/batch", &lines.join("\n"));
        assert!(response.body.len() <= limit, "{} bytes", response.body.len());
        let answers = json_lines(&response);
        assert_eq!(answers.len(), 40, "each line has its answer");
        for (at, answer) in answers.iter().enumerate() {
            let number = (at + 16 * (rounds - 1)) % 40;
            match answer["status"].as_u64() {
                Some(201) => {
                    made.insert((number, answer["body"]["id"].as_str().unwrap().to_owned()));
                    open.retain(|one| *one != number);
                }
                Some(503) => assert_eq!(answer["body"]["code"], "KN0313"),
                other => panic!("{other:?}: {answer}"),
            }
        }
    }
    assert!(rounds > 1, "all of it was done at once, so that nothing was sent again");
    assert_eq!((made.len(), service.count()), (40, 40), "one case for each line");
    service.stop();
}

#[test]
fn an_answer_that_waits_for_the_journal_keeps_its_room_though_nobody_waits_for_it() {
    let service = start_with(options().answers);
    let data = json!({ "customer": "x".repeat(200_000) });
    let body = json!({ "workflow": "order", "data": data }).to_string();
    let created: Value = serde_json::from_slice(&ask(&service, "POST", "/cases", &body).body).unwrap();
    let case = CaseId::parse(created["id"].as_str().unwrap()).unwrap();
    let taken = || service.engine.shared().answers.budget().taken_bytes();
    wait_for(|| taken() == 0);
    service.disk.hang(true);
    let room = service.engine.shared().answers.room(Caller::User(1));
    let suspend = Operation::Case(case, CaseAct::Suspend);
    let begun = service.engine.begin(vec![(suspend, Once { room, ..Once::default() })]);
    assert!(matches!(begun[..], [Begun::Pending(_)]), "{begun:?}");
    wait_for(|| taken() > 200_000);
    // The client gives up, the answer stays.
    drop(begun);
    assert!(taken() > 200_000, "{} bytes are counted", taken());
    service.disk.hang(false);
    wait_for(|| taken() == 0);
    service.stop();
}

#[test]
fn an_answer_that_was_short_is_whole_when_asked_again_with_room() {
    let service = start_with(room::Limits { answer_bytes_max: 4_096, answers_bytes_max: 16 << 20 });
    let body =
        json!({ "op": "create", "workflow": "order", "data": { "customer": "x".repeat(4_000) }, "key": "k" });
    let short = json_lines(&ask(&service, "POST", "/batch", &body.to_string())).remove(0);
    assert_eq!((&short["status"], &short["body"]["short"]), (&json!(201), &json!(true)));
    let wide = room::Limits { answer_bytes_max: 1 << 20, answers_bytes_max: 16 << 20 };
    service.engine.shared().answers.set_limits(wide);
    let whole = json_lines(&ask(&service, "POST", "/batch", &body.to_string())).remove(0);
    assert_eq!((&whole["status"], &whole["body"]["id"]), (&json!(201), &short["body"]["id"]));
    assert_eq!(whole["body"]["data"]["customer"].as_str().map(str::len), Some(4_000));
    assert_eq!(service.count(), 1);
    service.stop();
}

#[test]
fn lists_end_early_where_their_room_does_and_all_pages_together_have_everything_once() {
    let limit = 64 * 1024;
    let service = start_with(room::Limits { answer_bytes_max: limit, answers_bytes_max: 16 << 20 });
    for number in 0..30 {
        let data = json!({ "customer": format!("{number} {}", "x".repeat(5_000)) });
        let body = json!({ "workflow": "order", "data": data }).to_string();
        assert_eq!(ask(&service, "POST", "/cases", &body).status, 201);
    }
    let (mut seen, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let response = ask(&service, "GET", &format!("/workitems?limit=1000{after}"), "");
        assert!(response.status == 200 && response.body.len() <= limit, "{} bytes", response.body.len());
        let page: Value = serde_json::from_slice(&response.body).unwrap();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert!(pages > 1, "all of it fits one page, so that nothing was tried");
    assert_eq!((seen.len(), distinct.len()), (30, 30));
    let page = PageOf { after: None, limit: 1_000 };
    assert_eq!(
        service.engine.cases(&CaseFilter::default(), &page, &Room::default()).unwrap().items.len(),
        30
    );
    service.stop();
}

#[test]
fn a_page_of_items_ends_early_when_their_inputs_take_long_and_what_is_not_asked_for_takes_nothing() {
    // Each input takes nearly as many steps as two mappings may.
    const MAPPINGS: u64 = 2;
    const ITEMS: u64 = 3 * PAGE_STEPS_MAX / (MAPPINGS * STEPS_MAX);
    let service = start_with(options().answers);
    let source = heavy::once("heavy", u32::try_from(MAPPINGS).unwrap());
    service.engine.register(&source, &Once::default()).unwrap();
    let lines = vec![r#"{"op":"create","workflow":"heavy"}"#; usize::try_from(ITEMS).unwrap()];
    let made = json_lines(&ask(&service, "POST", "/batch", &lines.join("\n")));
    assert!(made.iter().all(|line| line["status"] == 201), "{made:?}");
    // A task before each item takes long as well.
    wait_for(|| service.engine.metrics().workflow_tasks_completed.get() == ITEMS);
    let page = |query: &str| -> Value {
        let response = ask(&service, "GET", &format!("/workitems?limit=1000{query}"), "");
        assert_eq!(response.status, 200);
        serde_json::from_slice(&response.body).unwrap()
    };
    let (mut sizes, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(&after);
        sizes.push(page["items"].as_array().unwrap().len() as u64);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(sizes.iter().sum::<u64>(), ITEMS, "{sizes:?}");
    // Whole items: the last one may go beyond.
    let largest = PAGE_STEPS_MAX.div_ceil(MAPPINGS * STEPS_MAX / 10 * 9);
    assert!(sizes.len() >= 3 && sizes.iter().all(|size| (1..=largest).contains(size)), "{sizes:?}");
    let others = page("&task=other");
    assert_eq!((others["items"].as_array().unwrap().len(), &others["next"]), (0, &Value::Null));
    service.stop();
}
