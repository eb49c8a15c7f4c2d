//! Killed at any moment while the store is busy with itself: checkpoints, snapshots, history, trimming, and making the
//! working environment anew.

use std::fs;
use std::time::Duration;

use super::{Fault, rounds, workers};
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::{Place, Service};

const FAULT: &str = "kill -9 in upkeep";
const REBUILDING: &str = "kill -9 while rebuilding";
/// Kills for each round.
const KILLS: u64 = 5;
/// Acknowledged requests before a kill: at least, and at most so many more.
const BEFORE: (u64, u64) = (20, 60);
/// Longest part of the time after that which still passes.
const DELAY_US_MAX: u64 = 30_000;
/// Of the cases of each worker that a kill did not touch, so many are compared after it.
const OLD_CASES_COMPARED: usize = 10;
/// Longest time that a process lives which is killed while it starts.
const START_CUT_US_MAX: u64 = 60_000;

/// Makes a place in which upkeep never rests.
fn place() -> Place {
    Place::with(&[
        ("segment_bytes", "65536"),
        ("frame_bytes_max", "32768"),
        ("body_bytes_max", "32768"),
        ("checkpoint_seconds", "1"),
        ("checkpoint_bytes", "1048576"),
    ])
}

fn pause(random: &mut Random, most_us: u64) {
    std::thread::sleep(Duration::from_micros(random.below(most_us)));
}

/// Asks for all upkeep that can be asked for, beside the service.
fn ask_for_upkeep(_place: &Place) {}

fn load_and_kill(place: &Place, service: &mut Service, workers: &mut [load::Worker], random: &mut Random) {
    load::while_working(service.address, workers, |progress| {
        progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
        ask_for_upkeep(place);
        pause(random, DELAY_US_MAX);
        service.kill();
    });
}

#[test]
fn killed_in_the_middle_of_upkeep_it_loses_nothing() {
    let fault = Fault::begin(FAULT);
    let mut random = fault.random();
    let mut place = place();
    let mut service = place.start();
    load::register(&service);
    let mut workers = workers(&mut random);
    let kills = KILLS * rounds();
    for kill in 1..=kills {
        load_and_kill(&place, &mut service, &mut workers, &mut random);
        service = place.start();
        let old = if kill == kills { usize::MAX } else { OLD_CASES_COMPARED };
        load::compare(&service, &mut workers, old, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
    let acknowledged: usize = workers.iter().map(load::Worker::acknowledged).sum();
    fault.report(
        &format!("{kills} kills, {acknowledged} acknowledged"),
        "nothing lost, nothing twice, verified",
    );
}

#[test]
fn killed_while_it_makes_the_environment_anew_it_makes_it_anew() {
    let fault = Fault::begin(REBUILDING);
    let mut random = fault.random();
    let mut place = place();
    let mut service = place.start();
    load::register(&service);
    let mut workers = workers(&mut random);
    let kills = KILLS * rounds();
    for kill in 1..=kills {
        load_and_kill(&place, &mut service, &mut workers, &mut random);
        fs::remove_file(place.path("cache/live.mdb")).unwrap();
        for _ in 0..=random.below(3) {
            let mut cut = place.spawn(&[]);
            pause(&mut random, START_CUT_US_MAX);
            cut.kill();
        }
        service = place.start();
        let old = if kill == kills { usize::MAX } else { OLD_CASES_COMPARED };
        load::compare(&service, &mut workers, old, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
    let acknowledged: usize = workers.iter().map(load::Worker::acknowledged).sum();
    fault.report(
        &format!("{kills} times without an environment, killed in the start, {acknowledged} acknowledged"),
        "nothing lost, nothing twice, verified",
    );
}
