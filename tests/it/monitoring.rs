//! docs/monitoring against a real service and a real Prometheus: what it scraped is what ran, the guide's four queries
//! and every panel are answered, every alert fires in its test, and what is named there exists.

mod files;
mod prometheus;

use std::time::Duration;

use serde_json::{Value, json};

use self::prometheus::{Prometheus, Sample};
use crate::support::http::Client;
use crate::support::load;
use crate::support::service::Place;
use crate::support::wait;

/// Longest time until Prometheus has seen what ran; it looks every second.
const SEEN_MAX: Duration = Duration::from_secs(60);
/// So often a part of the work is done and Prometheus looks.
const ROUNDS: u64 = 12;
/// Cases of a round that are worked to their end, of two tasks each.
const DONE_A_ROUND: u64 = 20;
/// Cases in all whose first item fails.
const FAILED: u64 = 7;
/// The range of the guide's queries, in seconds.
const RANGE_S: f64 = 300.0;

fn create(client: &mut Client) -> String {
    let order = json!({"workflow": "order", "data": {"customer": "Ann"}});
    client.post("/cases", None, &order).unwrap().expect(201)["id"].as_str().unwrap().to_owned()
}

fn only_item(client: &mut Client, case: &str) -> String {
    let list = client.get(&format!("/workitems?case={case}")).unwrap().expect(200);
    list["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
}

/// Works a case of `order` to its end: it has two tasks then.
fn work_off(client: &mut Client) {
    let case = create(client);
    for data in [json!({"amount": 900}), json!({"parcel": "P-1"})] {
        let item = only_item(client, &case);
        client
            .post(&format!("/workitems/{item}/complete"), None, &json!({ "data": data }))
            .unwrap()
            .expect(200);
    }
}

fn fail_one(client: &mut Client) {
    let case = create(client);
    let item = only_item(client, &case);
    client.post(&format!("/workitems/{item}/fail"), None, &json!({"reason": "no"})).unwrap().expect(200);
}

/// What Prometheus' `rate` makes of these samples of a counter, by its own rules: to the ends of the range if those are
/// about as near as samples are apart, else by half of that; and never to before the counter was 0.
fn rate_of(samples: &[Sample], end_s: f64) -> f64 {
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let (increase, sampled_s) = (last.value - first.value, last.time_s - first.time_s);
    let apart_s = sampled_s / f64::from(u32::try_from(samples.len() - 1).unwrap());
    let until_zero_s = if increase > 0.0 { sampled_s * first.value / increase } else { f64::INFINITY };
    let to_start_s = (first.time_s - (end_s - RANGE_S)).min(until_zero_s);
    let reached = |s: f64| if s < apart_s * 1.1 { s } else { apart_s / 2.0 };
    increase * (sampled_s + reached(to_start_s) + reached(end_s - last.time_s)) / sampled_s / RANGE_S
}

/// What `histogram_quantile` makes of buckets: (upper edge, count up to it), by their edges.
fn quantile_of(quantile: f64, buckets: &[(f64, f64)]) -> f64 {
    let rank = quantile * buckets[buckets.len() - 1].1;
    let at = buckets.iter().position(|(_, count)| *count >= rank).unwrap();
    let (edge, count) = buckets[at];
    let (below_edge, below_count) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    if edge.is_infinite() {
        return below_edge;
    }
    below_edge + (edge - below_edge) * (rank - below_count) / (count - below_count)
}

#[track_caller]
fn check_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= expected.abs() * 1e-6, "{what}: {found}, expected {expected}");
}

/// The queries of the guide about a counter that ran up to `ran` since Prometheus first saw it at 0.
fn check_counter(prometheus: &mut Prometheus, name: &str, ran: u64, end_s: f64) {
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let ran = ran as f64;
    let samples = prometheus.samples(&format!("{name}[5m]"), end_s);
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    assert!(samples.len() as u64 > ROUNDS, "only {} samples of {name}", samples.len());
    check_near(last.value - first.value, ran, name);
    let rate = prometheus.number(&format!("rate({name}[5m])"), end_s);
    check_near(rate, rate_of(&samples, end_s), &format!("rate of {name}"));
    // However it was extrapolated, it is what ran and at most one sample's worth more.
    let more = 1.1 * (last.time_s - first.time_s) / f64::from(u32::try_from(samples.len() - 1).unwrap());
    let most = ran * (1.0 + more / (last.time_s - first.time_s));
    assert!((ran..=most).contains(&(rate * RANGE_S + 1e-9)), "{name}: {} of {ran}", rate * RANGE_S);
    check_near(prometheus.number(&format!("increase({name}[5m])"), end_s), rate * RANGE_S, name);
}

/// Returns the tick histogram's buckets as the service itself shows them.
fn shown_buckets(client: &mut Client) -> Vec<(f64, f64)> {
    let page = client.get("/metrics").unwrap().text();
    let lines = page.lines().filter_map(|line| line.strip_prefix("knhk_hot_path_ticks_bucket{le=\""));
    let edge = |text: &str| if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap() };
    lines
        .map(|line| line.split_once("\"} ").unwrap())
        .map(|(le, count)| (edge(le), count.parse().unwrap()))
        .collect()
}

fn check_quantile(prometheus: &mut Prometheus, client: &mut Client) {
    // What remains of the last steps comes to the histogram when 10 s are over.
    let same = wait::until(SEEN_MAX, || {
        let end_s = prometheus.now();
        let scraped = prometheus.buckets("knhk_hot_path_ticks_bucket", end_s);
        let is_same = scraped == shown_buckets(client) && scraped.last().is_some_and(|last| last.1 > 0.0);
        is_same.then_some((scraped, end_s))
    });
    let (buckets, end_s) = same.expect("Prometheus does not have the buckets that the service shows");
    for quantile in [0.5, 0.99] {
        let query = format!("histogram_quantile({quantile}, knhk_hot_path_ticks_bucket)");
        check_near(prometheus.number(&query, end_s), quantile_of(quantile, &buckets), &query);
    }
}

/// Every panel's queries have data.
fn check_dashboard(prometheus: &mut Prometheus, end_s: f64) {
    for (title, query) in files::panel_queries() {
        let found = prometheus.vector(&query.replace("$job", "knhk"), end_s);
        assert!(found.iter().any(|value| !value.is_nan()), "panel {title}: {query} has {found:?}");
    }
}

/// Every rule can be evaluated; of the alerts only those fire that should.
fn check_rules(prometheus: &mut Prometheus) {
    let mut last = Value::Null;
    let fires = wait::until(SEEN_MAX, || {
        last = prometheus.get("/api/v1/rules");
        let rules = last["data"]["groups"][0]["rules"].as_array()?;
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{last}");
        let is_all = rules.iter().all(|rule| rule["health"] == "ok");
        let firing = rules.iter().filter(|rule| rule["state"] == "firing");
        let firing: Vec<_> = firing.filter_map(|rule| rule["name"].as_str()).collect();
        (is_all && firing == ["KnhkErrors"]).then_some(())
    });
    assert!(fires.is_some(), "{last}");
}

#[test]
fn prometheus_answers_what_ran() {
    let Some(program) = prometheus::program("prometheus") else {
        return wait::absent("prometheus is not here");
    };
    let mut place = Place::new();
    let mut service = place.start();
    load::register(&service);
    let mut client = service.client();
    let mut prometheus = Prometheus::start(&program, service.address);
    let counters =
        ["knhk_workflow_cases_total", "knhk_workflow_tasks_completed_total", "knhk_workflow_errors_total"];
    prometheus.wait_for(&counters.map(|name| (name, 0)));
    for round in 1..=ROUNDS {
        (0..DONE_A_ROUND).for_each(|_| work_off(&mut client));
        (0..FAILED * round / ROUNDS - FAILED * (round - 1) / ROUNDS).for_each(|_| fail_one(&mut client));
        prometheus.wait_for(&[(counters[0], DONE_A_ROUND * round + FAILED * round / ROUNDS)]);
    }
    let ran = [ROUNDS * DONE_A_ROUND + FAILED, 2 * ROUNDS * DONE_A_ROUND, FAILED];
    let expected: Vec<_> = counters.into_iter().zip(ran).collect();
    prometheus.wait_for(&expected);
    check_quantile(&mut prometheus, &mut client);
    let end_s = prometheus.now();
    for (name, ran) in expected {
        check_counter(&mut prometheus, name, ran, end_s);
    }
    check_dashboard(&mut prometheus, end_s);
    check_rules(&mut prometheus);
    drop(prometheus);
    assert!(service.stop().success(), "{}", place.log());
}
