//! A restored copy against what clients know: at least what was acknowledged before the copy began, at most what was
//! by the time that the clients had ended.

use std::collections::BTreeMap;

use serde_json::Value;

use super::clients::Case;
use crate::support::http::Client;
use crate::support::random::Random;
use crate::support::service::Place;

/// Cases of which all is compared, history too; half of them those that changed since the copy began.
const COMPARED: usize = 600;
/// Acknowledged lines that are sent again.
const REPEATED: usize = 50;

/// Opens the copy and compares; returns what is worth knowing.
pub(super) fn check(mut place: Place, before: &[Case], after: &[Case], random: &mut Random) -> String {
    let listed = listed_offline(&place);
    let mut service = place.start();
    let mut client = service.client();
    let steps = steps(&mut client);
    let is_over: BTreeMap<String, bool> = steps.iter().map(|(id, &count)| (id.clone(), count == 3)).collect();
    assert!(listed == is_over, "the service lists other cases than `workflow list` did\n{}", place.log());
    let after: BTreeMap<&str, &Case> = after.iter().map(|case| (case.id.as_str(), case)).collect();
    let mut more = 0;
    for case in before {
        let found = steps.get(&case.id).copied().unwrap_or_default();
        assert!(
            found >= case.steps,
            "{found} of {} steps are there of {case:?}\n{}",
            case.steps,
            place.log()
        );
        more += u64::from(found - case.steps);
    }
    for (id, &found) in &steps {
        let most = after.get(id.as_str()).map_or(0, |case| case.steps);
        assert!(
            found <= most,
            "{found} steps are there, and {most} were sent, of case {id}\n{}",
            place.log()
        );
    }
    let new = steps.len() - before.len();
    let changed = before.iter().filter(|case| after[case.id.as_str()].steps > case.steps);
    let mut compared: Vec<&Case> = changed.take(COMPARED / 2).collect();
    for _ in 0..COMPARED / 2 {
        compared.push(&before[pick(random, before.len())]);
    }
    for case in &compared {
        compare(&mut client, case, steps[&case.id]);
    }
    // Keys came along: what was acknowledged is not done twice.
    for _ in 0..REPEATED {
        let case = &before[pick(random, before.len())];
        if steps[&case.id] == case.steps {
            repeat(&mut client, case);
        }
    }
    assert_eq!(steps, self::steps(&mut client), "a repeat did something\n{}", place.log());
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
    format!(
        "{} cases before it began, {more} steps and {new} cases of the time after came along",
        before.len()
    )
}

/// Looks at the copy as an operator does who wants to know whether it is good; returns each case and whether it is over.
fn listed_offline(place: &Place) -> BTreeMap<String, bool> {
    place.verify();
    let ask = |arguments: &[&str]| {
        let output = place.knhk(arguments);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{complained}", output.status);
        output.stdout
    };
    ask(&["state", "info"]);
    let list: Value = serde_json::from_slice(&ask(&["workflow", "list", "--json"])).unwrap();
    assert!(list["next"].is_null());
    let cases = list["items"].as_array().unwrap();
    let listed: BTreeMap<String, bool> = cases
        .iter()
        .map(|case| (case["id"].as_str().unwrap().to_owned(), case["state"] == "completed"))
        .collect();
    assert_eq!(listed.len(), cases.len(), "listed twice");
    listed
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(u64::try_from(count).unwrap())).unwrap()
}

fn get(client: &mut Client, path: &str) -> Value {
    client.get(path).unwrap_or_else(|error| panic!("{path}: {error}")).expect(200)
}

/// Goes through all pages of a list.
fn all(client: &mut Client, list: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut path = format!("{list}?limit=1000");
    // Ends: each page begins behind the one before.
    loop {
        let page = get(client, &path);
        out.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(token) => path = format!("{list}?limit=1000&after={token}"),
            None => return out,
        }
    }
}

/// Returns how many steps each case has behind it, by the lists of cases and work items.
fn steps(client: &mut Client) -> BTreeMap<String, u8> {
    let mut steps = BTreeMap::new();
    for case in all(client, "/cases") {
        let is_over = case["state"] == "completed";
        assert!(is_over || case["state"] == "running", "{case}");
        let before = steps.insert(case["id"].as_str().unwrap().to_owned(), if is_over { 3 } else { 0 });
        assert_eq!(before, None, "listed twice: {case}");
    }
    for item in all(client, "/workitems") {
        let number = item["id"].as_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap();
        let before = steps.insert(item["case"].as_str().unwrap().to_owned(), number);
        assert_eq!(before, Some(0), "a running case has one item: {item}");
    }
    assert!(steps.values().all(|&count| count > 0), "a running case has no item");
    steps
}

fn compare(client: &mut Client, case: &Case, steps: u8) {
    let shown = get(client, &format!("/cases/{}", case.id));
    if steps < 3 {
        assert_eq!(shown["data"]["customer"], case.customer.as_str(), "{shown}");
    } else {
        assert_eq!(shown["data"]["parcel"], format!("parcel of {}", case.customer), "{shown}");
    }
    let history = get(client, &format!("/cases/{}/history?limit=1000", case.id));
    let events = history["items"].as_array().unwrap();
    assert!(events.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "{history}");
    let count = |name: &str, item: Option<String>| {
        let is_it = |event: &&Value| {
            event["event"] == name && item.as_ref().is_none_or(|item| event["item"] == *item)
        };
        events.iter().filter(is_it).count()
    };
    assert_eq!(count("created", None), 1, "{history}");
    assert_eq!(count("closed", None), usize::from(steps == 3), "{history}");
    assert_eq!(count("completed", None), usize::from(steps) - 1, "{history}");
    for number in 1..steps {
        assert_eq!(count("completed", Some(format!("{}-{number}", case.id))), 1, "{history}");
    }
}

/// Sends the last acknowledged line again.
fn repeat(client: &mut Client, case: &Case) {
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = client.send("POST", "/batch", &kind, case.line.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let line: Value = serde_json::from_str(answer.text().trim()).unwrap();
    assert!(matches!(line["status"].as_u64(), Some(200 | 201)), "{}: {line}", case.line);
    let id = line["body"]["id"].as_str().unwrap();
    assert!(id.starts_with(&case.id), "{}: {line}", case.line);
}
