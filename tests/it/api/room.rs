//! Answers and their room: how large one may be, what comes instead, and that bounds are never below what is written.

use knhk::api::{Limits, Response, respond};
use knhk::engine::cost;
use knhk::engine::room::{self, Answers, NOT_BEGUN_BYTES, Room, SHORT_BYTES};
use knhk::engine::service::Caller;
use knhk::id::ItemId;
use proptest::prelude::*;

use super::fake::{Fake, case_id};
use super::{json_of, refused, request};

const KIB: usize = 1024;
const MANY: Limits = Limits { body_bytes_max: 1024 * KIB, batch_lines_max: 10_000, ..crate::api::LIMITS };

fn fake(answer_bytes_max: usize, answers_bytes_max: usize) -> Fake {
    let answers = Answers::new(room::Limits { answer_bytes_max, answers_bytes_max });
    Fake { answers, ..Fake::new() }
}

fn ask(fake: &Fake, method: &str, target: &str, body: &str) -> Response {
    respond(fake, &request(method, target, &[], body), &MANY)
}

/// Returns the lines of a batch's answer.
fn lines(response: &Response) -> Vec<serde_json::Value> {
    let lines = response.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn statuses(response: &Response) -> Vec<u64> {
    lines(response).iter().map(|line| line["status"].as_u64().unwrap()).collect()
}

#[test]
fn a_case_larger_than_an_answer_may_be_is_refused_and_one_that_fits_is_shown() {
    let mut fake = fake(64 * KIB, 1024 * KIB);
    fake.note = "x".repeat(64 * KIB);
    let get = ask(&fake, "GET", "/cases/CASE", "");
    let told = refused(&get);
    assert!(told.starts_with("413 KN0309 the answer would take more than answer_bytes_max"), "{told}");
    drop(get);
    fake.note = "x".repeat(KIB);
    assert_eq!(ask(&fake, "GET", "/cases/CASE", "").status, 200);
    assert_eq!(fake.answers.budget().taken_bytes(), 0, "all room is given back with the response");
}

#[test]
fn what_was_done_is_told_in_short_where_there_is_no_room_for_more() {
    let mut fake = fake(64 * KIB, 1024 * KIB);
    fake.note = "x".repeat(64 * KIB);
    let done = ask(&fake, "POST", "/cases/CASE/suspend", "");
    assert_eq!(done.status, 200);
    let expected = serde_json::json!({ "id": case_id().to_string(), "state": "incident", "short": true });
    assert_eq!(json_of(&done), expected);
}

#[test]
fn an_answer_holds_its_room_until_it_is_sent_and_no_longer() {
    let mut fake = fake(2048 * KIB, 8 * 1024 * KIB);
    fake.note = "x".repeat(100 * KIB);
    let first = ask(&fake, "GET", "/cases/CASE", "");
    assert_eq!(first.status, 200);
    assert_eq!(fake.answers.budget().taken_bytes(), first.body.len());
    let mut held = vec![first];
    let refused = loop {
        let next = ask(&fake, "GET", "/cases/CASE", "");
        if next.status != 200 {
            break next;
        }
        held.push(next);
        assert!(held.len() < 200, "there is no bound");
    };
    assert!(super::refused(&refused).starts_with("503 KN0300 too many bytes of answers under way"));
    drop((held, refused));
    assert_eq!(ask(&fake, "GET", "/cases/CASE", "").status, 200);
}

#[test]
fn a_line_is_not_begun_before_there_is_room_for_its_short_answer() {
    // Room for a short answer to three of five, or of fifty, and to say of the others that they were not begun.
    for count in [5, 50] {
        let limit = 3 * SHORT_BYTES + (count - 3) * NOT_BEGUN_BYTES;
        let fake = fake(limit, 1024 * KIB);
        let line = format!(r#"{{"op":"suspend","case":"{}"}}"#, case_id());
        let response = ask(&fake, "POST", "/batch", &vec![line.as_str(); count].join("\n"));
        let expected: Vec<u64> = (0..count).map(|at| if at < 3 { 200 } else { 503 }).collect();
        assert_eq!((response.status, statuses(&response)), (200, expected));
        assert_eq!(fake.calls().len(), 3, "the others were not begun");
        assert_eq!(lines(&response)[4]["body"]["code"], "KN0313");
        assert!(response.body.len() <= limit, "{} bytes", response.body.len());
    }
}

#[test]
fn a_line_that_was_not_begun_takes_no_more_than_is_reserved_for_it() {
    let fake = fake(SHORT_BYTES - 1 + NOT_BEGUN_BYTES, 1024 * KIB);
    let line = format!(r#"{{"op":"suspend","case":"{}"}}"#, case_id());
    let response = ask(&fake, "POST", "/batch", &[line.as_str(); 2].join("\n"));
    assert_eq!(statuses(&response), [503, 503]);
    assert!(response.body.len() <= 2 * NOT_BEGUN_BYTES, "{} bytes", response.body.len());
    assert!(response.body.len() > NOT_BEGUN_BYTES, "{} bytes: far more is reserved", response.body.len());
}

#[test]
fn a_batch_of_which_not_even_all_lines_can_be_refused_is_not_begun() {
    let fake = fake(3 * SHORT_BYTES, 1024 * KIB);
    let line = format!(r#"{{"op":"suspend","case":"{}"}}"#, case_id());
    let response = ask(&fake, "POST", "/batch", &vec![line.as_str(); 50].join("\n"));
    let told = refused(&response);
    assert!(told.starts_with("413 KN0309"), "{told}");
    assert!(fake.calls().is_empty());
}

#[test]
fn a_command_is_not_begun_before_there_is_room_for_its_short_answer() {
    let fake = fake(64 * KIB, 256 * KIB);
    let held = std::iter::from_fn(|| {
        let room = fake.answers.room(Caller::User(7));
        room.take_lines(1).is_ok_and(|begun| begun == 1).then_some(room)
    });
    // Many clients that wait for little, and large answers of others.
    let mut held: Vec<Room> = held.collect();
    for user in 8..100 {
        let room = fake.answers.room(Caller::User(user));
        while room.take_lines(1) == Ok(1) {}
        held.push(room);
    }
    let calls = |method: &str, target: &str| {
        let response = ask(&fake, method, target, "");
        (refused(&response), fake.calls().len())
    };
    for target in ["/cases/CASE/suspend", "/cases/CASE/cancel", "/workitems/CASE-1/start"] {
        let (told, calls) = calls("POST", target);
        assert!(told.starts_with("503 KN0300") || told.starts_with("503 KN0313"), "{told}");
        assert_eq!(calls, 0, "{target} was begun");
    }
    drop(held);
    assert_eq!(ask(&fake, "POST", "/cases/CASE/suspend", "").status, 200);
}

#[test]
fn a_batch_on_a_large_case_answers_each_line_once_and_no_more_than_one_answer_may_take() {
    let limit = 256 * KIB;
    let mut fake = fake(limit, 4 * 1024 * KIB);
    fake.note = "x".repeat(20 * KIB);
    let line = format!(r#"{{"op":"execute","case":"{}"}}"#, case_id());
    let response = ask(&fake, "POST", "/batch", &vec![line.as_str(); 200].join("\n"));
    assert_eq!(statuses(&response), [200; 200]);
    assert!(response.body.len() <= limit, "{} bytes", response.body.len());
    let lines = lines(&response);
    let whole = lines.iter().filter(|line| line["body"]["data"].is_object()).count();
    let short = lines.iter().filter(|line| line["body"]["short"] == true).count();
    assert!(whole > 0 && short > 0 && whole + short == 200, "{whole} whole and {short} short");
}

#[test]
fn refusals_in_a_batch_are_short_where_there_is_no_room_for_more() {
    let fake = fake(10 * SHORT_BYTES, 1024 * KIB);
    let unknown = format!(r#"{{"op":"{}"}}"#, "x".repeat(2 * KIB));
    let response = ask(&fake, "POST", "/batch", &[unknown.as_str(); 10].join("\n"));
    assert_eq!(statuses(&response), [400; 10]);
    assert!(response.body.len() <= 10 * SHORT_BYTES, "{} bytes", response.body.len());
}

#[test]
fn shares_are_counted_by_who_asks() {
    let mut fake = fake(2048 * KIB, 8 * 1024 * KIB);
    fake.note = "x".repeat(100 * KIB);
    let ask_as = |user: u32| {
        let mut asked = request("GET", "/cases/CASE", &[], "");
        asked.caller = Caller::User(user);
        respond(&fake, &asked, &MANY)
    };
    let held: Vec<Response> =
        std::iter::from_fn(|| Some(ask_as(1)).filter(|response| response.status == 200)).take(200).collect();
    assert!(!held.is_empty() && held.len() < 200, "one caller has a bound");
    let taken = fake.answers.budget().taken_bytes();
    assert!(taken < 8 * 1024 * KIB * 7 / 8, "{taken} bytes: something is left for others");
}

/// Text of every kind that takes more bytes as JSON than as XML, or more in one than in the other.
fn note() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<a/>",
        "<a/><b/>",
        "x<a/>",
        "<abc>&lt;</abc>",
        "\"",
        "\\",
        "\n",
        "&amp;",
        "\u{1F600}",
        "1",
        " ",
    ]);
    prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_never_more_than_its_bound(note in note()) {
        let mut fake = Fake::new();
        fake.note = note;
        let bytes = |target: &str| ask(&fake, "GET", target, "").body.len();
        let case = case_id();
        let item = fake.item_view(ItemId { case, number: 2 });
        prop_assert!(bytes("/cases/CASE") <= cost::case(&fake.view(case)).text_bytes);
        prop_assert!(bytes("/workitems/CASE-2") <= cost::item(&item).text_bytes);
        let page = "{\"items\":[],\"next\":null}".len();
        prop_assert!(bytes("/workitems") <= page + cost::item(&item).text_bytes);
        prop_assert!(bytes("/cases/CASE/history") <= page + cost::event(&fake.event_view()).text_bytes);
    }
}
