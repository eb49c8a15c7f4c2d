//! The real binary under load, killed at any moment, again and again: what it acknowledged is there, once.
//!
//! Each client keeps a log of its own of what was acknowledged and of the one request whose outcome it does not
//! know. After every restart it asks that one again with the same key, and everything is compared.
//! `KNHK_CRASH_ROUNDS` and `KNHK_CRASH_SEED` say how often and which; scripts/crash sets them.

mod load;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use load::{Client, Worker};

use crate::support::random::Random;
use crate::support::service::{Place, Service, root};
use crate::support::wait;

/// Rounds in the ordinary suite.
const ROUNDS: u64 = 3;
/// Clients at a time.
const WORKERS: u64 = 4;
/// Acknowledged requests after which the process is killed: at least, and at most so many more.
const BEFORE_KILL: (u64, u64) = (40, 200);
/// Longest time in which that many must have been answered.
const LOAD_MAX: Duration = Duration::from_secs(120);
/// Longest part of the time after that which still passes, so that the kill hits any moment of a commit.
const DELAY_US_MAX: u64 = 8_000;
/// Longest time that a process lives which is killed while it starts.
const START_CUT_US_MAX: u64 = 200_000;
/// Of the cases that a round did not touch, so many are compared after it; after the last round all are.
const OLD_CASES_COMPARED: usize = 20;

fn number(name: &str, otherwise: u64) -> u64 {
    wait::variable(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_doubles_nothing() {
    let (rounds, seed) = (number("KNHK_CRASH_ROUNDS", ROUNDS), number("KNHK_CRASH_SEED", 1));
    let mut out = std::io::stdout();
    let _ = writeln!(out, "crash: KNHK_CRASH_SEED={seed}, {rounds} rounds");
    let mut random = Random(seed);
    let mut place = Place::new();
    let mut service = place.start();
    let source = std::fs::read(root().join("examples/order/order.yawl")).unwrap();
    service
        .client()
        .send("POST", "/workflows", &[("Content-Type", "application/xml")], &source)
        .unwrap()
        .expect(201);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|worker| Worker::new(worker, random.next())).collect();
    let mut open = 0;
    for round in 1..=rounds {
        load_and_kill(&mut service, &mut workers, &mut random);
        open += workers.iter().filter(|worker| worker.has_open()).count();
        if random.below(4) == 0 {
            // A second crash, in the middle of coming back from the first.
            let mut cut = place.spawn(&[]);
            std::thread::sleep(Duration::from_micros(random.below(START_CUT_US_MAX)));
            cut.kill();
        }
        service = place.start();
        compare(&place, &service, &mut workers, round == rounds, &mut random);
    }
    assert!(service.stop().success(), "{}", place.log());
    verify(&place);
    let acknowledged: usize = workers.iter().map(Worker::acknowledged).sum();
    let _ =
        writeln!(out, "crash: {acknowledged} acknowledged, {open} asked again, nothing lost, nothing twice");
}

fn load_and_kill(service: &mut Service, workers: &mut [Worker], random: &mut Random) {
    let target = BEFORE_KILL.0 + random.below(BEFORE_KILL.1);
    let delay = Duration::from_micros(random.below(DELAY_US_MAX));
    let answered = AtomicU64::new(0);
    let address = service.address;
    std::thread::scope(|scope| {
        for worker in workers.iter_mut() {
            let answered = &answered;
            scope.spawn(move || {
                let mut client = Client::new(address);
                while worker.act(&mut client).is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let reached =
            wait::until(LOAD_MAX, || (answered.load(Ordering::Relaxed) >= target).then_some(())).is_some();
        std::thread::sleep(delay);
        service.kill();
        assert!(reached, "only {} of {target} requests were answered", answered.load(Ordering::Relaxed));
    });
}

fn compare(place: &Place, service: &Service, workers: &mut [Worker], all: bool, random: &mut Random) {
    let address = service.address;
    let old = if all { usize::MAX } else { OLD_CASES_COMPARED };
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
    let listed = load::all_cases(&mut service.client());
    let there: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), there.len(), "a case is listed twice");
    assert_eq!(known.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "lost cases");
    assert_eq!(there.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "cases nobody asked for");
    verify(place);
}

fn verify(place: &Place) {
    let output = place.knhk(&["state", "verify"]);
    assert!(
        output.status.success(),
        "state verify: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
