//! A clock that jumps, forwards and back, while the service works.
//!
//! Not the machine's: libfaketime reads from a file by how much the process's own is off. A time before 1970 is not
//! tried, because the kernel refuses it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Fault, workers};
use crate::support::fake_time;
use crate::support::http::Client;
use crate::support::load;
use crate::support::service::Place;
use crate::support::wait;

const FAULT: &str = "clock set back and forth";
const KEYS_FAULT: &str = "clock and keys";
/// A client's key.
const KEY: &str = "the-key";
/// Longest time until a key whose time is over by a clock that jumped is forgotten: the service believes a jump once it has
/// lasted two minutes, and looks for such keys every minute.
const EXPIRY_MAX: Duration = Duration::from_secs(240);
/// Longest time until the service has seen a jump: it looks every second.
const SEEN_MAX: Duration = Duration::from_secs(30);
/// By how much the clock is off, step by step, in hours.
const OFFSETS_HOURS: &[i64] = &[1, -2, 72, -72, 0, -24 * 365 * 20, 24 * 365, 0];
/// Acknowledged requests at each step.
const STEP: u64 = 50;
/// How exactly the process must be off: the test itself takes its time.
const SECONDS_OFF_MAX: i64 = 300;

fn set_hours(place: &Place, hours: i64) {
    fake_time::set(place, &format!("{hours:+}h"));
}

/// Returns what time the process believes it is.
fn time_there(client: &mut Client) -> Timestamp {
    let answer = client.get("/health/live").unwrap();
    jiff::fmt::rfc2822::parse(answer.header("date").unwrap()).unwrap().timestamp()
}

fn time(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// No figure is negative, or so large that it was negative once.
fn check_figures(client: &mut Client) {
    let metrics = client.get("/metrics").unwrap().text();
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap_or(f64::NAN);
        assert!((0.0..1e17).contains(&value), "{line}");
    }
}

/// No time in a case goes back.
fn check_times(client: &mut Client, case: &str) {
    let shown = client.get(&format!("/cases/{case}")).unwrap().expect(200);
    assert!(time(&shown["created"]) <= time(&shown["changed"]), "{shown}");
    let history = client.get(&format!("/cases/{case}/history?limit=1000")).unwrap().expect(200);
    let times: Vec<Timestamp> =
        history["items"].as_array().unwrap().iter().map(|event| time(&event["time"])).collect();
    assert!(times.is_sorted() && !times.is_empty(), "{history}");
}

#[test]
fn a_clock_that_jumps_doubles_no_id_and_loses_no_key() {
    let fault = Fault::begin(FAULT);
    if fake_time::library().is_none() {
        return fault.skip("libfaketime is not here");
    }
    let mut random = fault.random();
    // No key's time ends by itself here.
    let mut place = Place::with(&[("idempotency_hours", "8760"), ("checkpoint_seconds", "1")]);
    set_hours(&place, 0);
    let mut service = fake_time::start(&mut place);
    load::register(&service);
    let base = time_there(&mut service.client());
    let mut workers = workers(&mut random);
    let mut acknowledged = 0;
    for (step, &hours) in OFFSETS_HOURS.iter().enumerate() {
        acknowledged += load::while_working(service.address, &mut workers, |progress| {
            progress.wait_for(STEP);
            set_hours(&place, hours);
            progress.wait_for(STEP);
            progress.answered()
        });
        let off = time_there(&mut service.client()).as_second() - base.as_second() - hours * 3600;
        assert!(
            (-SECONDS_OFF_MAX..=SECONDS_OFF_MAX).contains(&off),
            "{hours} h do not reach it: {off} s off"
        );
        if step % 2 == 1 {
            // It also starts with a clock before what is stored, or far behind it.
            if random.below(2) == 0 {
                service.kill();
            } else {
                assert!(service.stop().success(), "{}", place.log());
            }
            service = fake_time::start(&mut place);
        }
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        let mut client = service.client();
        check_figures(&mut client);
        for worker in &workers {
            for case in worker.case_ids().iter().rev().take(20) {
                check_times(&mut client, case);
            }
        }
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    fault.report(
        &format!("libfaketime, {OFFSETS_HOURS:?} hours off, {acknowledged} acknowledged, restarts between"),
        "ids unique and in order, newest keys answered alike, no time or figure goes back",
    );
}

/// Waits until a key is forgotten: the same request makes another case then.
fn wait_until_forgotten(client: &mut Client, body: &Value, case: &str) -> bool {
    let forgotten = wait::until(EXPIRY_MAX, || {
        let answer = client.post("/cases", Some(KEY), body).unwrap();
        let json = answer.json();
        // It was asked just when the key's time was over.
        if json["code"] == "KN0312" {
            return None;
        }
        let id = json["id"].as_str().unwrap_or_else(|| panic!("{}", answer.text()));
        (id != case).then_some(())
    });
    forgotten.is_some()
}

const JUMPED: &str = "the clock jumped ahead";
const SET_BACK: &str = "the clock was set back";

/// Waits until `/health` says this of the clock, or no longer.
#[track_caller]
fn wait_until_told(client: &mut Client, what: &str, is_told: bool) {
    let mut health = Value::Null;
    let seen = wait::until(SEEN_MAX, || {
        health = client.get("/health").unwrap().expect(200);
        let mut degraded = health["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str);
        (degraded.any(|why| why.starts_with(what)) == is_told).then_some(())
    });
    assert!(seen.is_some(), "{what}, to be told: {is_told}; {health}");
}

#[test]
fn a_key_is_kept_for_its_time_and_not_for_ever() {
    // It takes minutes: so long a jump must last, and once a minute the service looks for keys whose time is over.
    if wait::variable("KNHK_SLOW_TESTS").is_none() {
        return;
    }
    let fault = Fault::begin(KEYS_FAULT);
    if fake_time::library().is_none() {
        return fault.skip("libfaketime is not here");
    }
    let mut place = Place::with(&[("idempotency_hours", "1")]);
    set_hours(&place, 0);
    // One right reading would end the jump, and the two minutes would begin again.
    let mut service = fake_time::start_steady(&mut place);
    load::register(&service);
    let mut client = service.client();
    let body = serde_json::json!({"workflow": "order", "data": {"customer": "Ann"}});
    let mut ask = || {
        let answer = client.post("/cases", Some(KEY), &body).unwrap();
        answer.json()["id"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
    };
    let case = ask();
    for hours in [-2, 0] {
        set_hours(&place, hours);
        wait_until_told(&mut service.client(), SET_BACK, hours < 0);
        assert_eq!(ask(), case, "{hours} h");
    }
    // A bad moment of a time server.
    set_hours(&place, 24 * 365);
    wait_until_told(&mut service.client(), JUMPED, true);
    assert_eq!(ask(), case, "a year ahead");
    set_hours(&place, 0);
    wait_until_told(&mut service.client(), JUMPED, false);
    assert_eq!(ask(), case, "right again");
    set_hours(&place, 2);
    wait_until_told(&mut service.client(), JUMPED, true);
    assert_eq!(ask(), case, "2 h ahead, not believed yet");
    assert!(wait_until_forgotten(&mut service.client(), &body, &case), "the key is kept for ever");
    assert!(service.stop().success(), "{}", place.log());
    fault.report(
        "a key of one hour, clock 2 h back, right, a year ahead for a moment, 2 h ahead for good",
        "kept, kept, kept and said in /health, forgotten once that has lasted",
    );
}
