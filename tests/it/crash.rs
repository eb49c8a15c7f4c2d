//! The real binary under load, killed at any moment, again and again: what it acknowledged is there, once.
//!
//! Each client keeps a log of its own of what was acknowledged and of the one request whose outcome it does not
//! know. After every restart it asks that one again with the same key, and everything is compared.
//! `KNHK_CRASH_ROUNDS` and `KNHK_CRASH_SEED` say how often and which; scripts/crash sets them.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::http::Client;
use crate::support::load::{self, Worker};
use crate::support::random::Random;
use crate::support::service::{Place, Service};
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
    load::register(&service);
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
        let old = if round == rounds { usize::MAX } else { OLD_CASES_COMPARED };
        load::compare(&service, &mut workers, old, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
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
