//! `/health` of the real binary: each reason is brought about on the process itself, while `/health/live` stays as it is.
//! Reasons that take a disk or a clock of the test's own are in engine/health.rs, those of the machine in faults/.

mod held;

use std::time::Duration;

use knhk::store::{Disk, RealDisk};
use serde_json::Value;

use self::held::HeldThread;
use crate::support::http::{self, Client};
use crate::support::load;
use crate::support::service::Place;
use crate::support::wait;

/// Longest time until `/health` says what it should: a thread counts as stuck after ten seconds.
const SAID_MAX: Duration = Duration::from_secs(60);
/// What takes away what root may do beyond any limit, and lets nothing be locked.
const NOTHING_LOCKED: [&str; 5] =
    ["prlimit", "--memlock=0:0", "setpriv", "--bounding-set=-all", "--inh-caps=-all"];

/// Returns one of the lists of reasons.
fn reasons(health: &Value, list: &str) -> Vec<String> {
    let found = health[list].as_array().into_iter().flatten();
    found.map(|reason| reason.as_str().unwrap().to_owned()).collect()
}

/// Waits until `/health` has this status and this reason; `/health/live` is 200 all the time.
#[track_caller]
fn wait_for(client: &mut Client, status: u16, list: &str, reason: &str) {
    let mut last = String::new();
    let said = wait::until(SAID_MAX, || {
        assert_eq!(client.get("/health/live").unwrap().status, 200);
        let health = client.get("/health").unwrap();
        last = health.text();
        let is_said = reasons(&health.json(), list).iter().any(|said| said.starts_with(reason));
        (health.status == status && is_said).then_some(())
    });
    assert!(said.is_some(), "not {status} with {reason:?} in {list}: {last}");
}

/// Waits until nothing fails any more.
#[track_caller]
fn wait_until_well(client: &mut Client) {
    let well = wait::until(SAID_MAX, || (client.get("/health").unwrap().status == 200).then_some(()));
    assert!(well.is_some(), "{}", client.get("/health").unwrap().text());
}

fn figure(client: &mut Client, name: &str) -> String {
    let page = client.get("/metrics").unwrap().text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name}:\n{page}"))
}

#[test]
fn a_thread_that_does_not_move_is_told_and_so_is_that_it_moves_again() {
    let mut place = Place::new();
    let mut service = place.start();
    load::register(&service);
    for (thread, reason) in [("hot-0", "a shard does not move"), ("timers", "the timer thread does not move")]
    {
        let mut client = service.client();
        let Some(held) = HeldThread::hold(service.pid(), thread) else {
            return wait::absent("no thread of another process may be held here");
        };
        wait_for(&mut client, 503, "failing", reason);
        assert_ne!(figure(&mut client, "knhk_health_failing"), "0");
        drop(held);
        wait_until_well(&mut client);
        assert_eq!(figure(&mut client, "knhk_health_failing"), "0");
    }
    assert!(service.stop().success(), "{}", place.log());
}

#[test]
fn cores_that_cannot_be_pinned_and_memory_that_cannot_be_locked_degrade() {
    let mut tried = std::process::Command::new(NOTHING_LOCKED[0]);
    if !tried.args(&NOTHING_LOCKED[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return wait::absent("prlimit and setpriv are not here or may not lower limits");
    }
    // No machine of ours has so many cores.
    let mut place = Place::with(&[("hot_path_cores", "\"1000\"")]);
    let mut service = place.start_under(&NOTHING_LOCKED);
    load::register(&service);
    let mut client = service.client();
    let order = serde_json::json!({"workflow": "order", "data": {"customer": "Ann"}});
    client.post("/cases", None, &order).unwrap().expect(201);
    wait_for(&mut client, 200, "degraded", "cores not pinned");
    wait_for(&mut client, 200, "degraded", "memory not locked: ");
    let health = client.get("/health").unwrap().json();
    assert_eq!(health["status"], "degraded");
    let reasons = health["degraded"].as_array().unwrap().len();
    assert_eq!(figure(&mut client, "knhk_health_degraded"), reasons.to_string());
    assert_eq!(figure(&mut client, "knhk_health_failing"), "0");
    assert!(service.stop().success());
    let log = place.log();
    assert!(log.contains("warning: cores not pinned: performance will vary"), "{log}");
    assert!(log.contains("warning: memory not locked: performance will vary"), "{log}");
}

#[test]
fn while_the_state_is_being_opened_the_service_says_that_it_is_starting() {
    let mut place = Place::new();
    let mut service = place.start();
    load::register(&service);
    assert!(service.stop().success());
    // Whoever opens waits three seconds for somebody who has the store; the first answer comes long before.
    let lock = RealDisk.lock(&place.path("state/lock")).unwrap().expect("nobody else has it");
    let mut service = place.spawn(&[]);
    let socket = place.path("knhk.sock");
    let health = wait::until(SAID_MAX, || http::get_over_unix(&socket, "/health").ok());
    let live = http::get_over_unix(&socket, "/health/live");
    drop(lock);
    let health = health.unwrap_or_else(|| panic!("no answer:\n{}", place.log()));
    assert_eq!(reasons(&health.expect(503), "failing"), ["starting"], "{}", health.text());
    assert_eq!(live.unwrap().status, 200);
    service.wait_until_live().unwrap();
    service.client().get("/workflows").unwrap().expect(200);
    assert!(service.stop().success(), "{}", place.log());
}

#[test]
fn a_service_that_cannot_open_its_state_ends_and_takes_its_socket_along() {
    let mut place = Place::new();
    let mut service = place.start();
    assert!(service.stop().success());
    let _lock = RealDisk.lock(&place.path("state/lock")).unwrap().expect("nobody else has it");
    let mut second = place.spawn(&[]);
    let status = second.wait();
    assert!(!status.success(), "{}", place.log());
    assert!(!place.path("knhk.sock").exists(), "a socket that nobody answers stays behind");
}
