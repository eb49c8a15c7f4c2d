//! Killed at any moment while the store is busy with itself: checkpoints, snapshots, history, trimming, and making the
//! working environment anew.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{Fault, rounds, workers};
use crate::support::fake_time;
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
const DELAY_US_MAX: u64 = 100_000;
/// Of the cases of each worker that a kill did not touch, so many are compared after it.
const OLD_CASES_COMPARED: usize = 10;
/// Longest time that a process lives which is killed while it starts.
const START_CUT_US_MAX: u64 = 60_000;
/// By how much the clock of each run is ahead of that of the run before: more than keys of the service live.
const MINUTES_AHEAD: u64 = 15;

/// Makes a place in which upkeep never rests.
pub(super) fn place() -> Place {
    Place::with(&[
        ("segment_bytes", "65536"),
        ("frame_bytes_max", "32768"),
        ("body_bytes_max", "32768"),
        ("checkpoint_seconds", "1"),
        ("checkpoint_bytes", "1048576"),
        ("backup_grace_hours", "\"1s\""),
        // The clock goes far ahead here.
        ("idempotency_hours", "8760"),
    ])
}

fn pause(random: &mut Random, most_us: u64) {
    std::thread::sleep(Duration::from_micros(random.below(most_us)));
}

/// Starts the service, the wall clock of which is ahead by more with each start: no segment of an earlier run is so
/// young that it has to stay.
pub(super) fn start(place: &mut Place, run: u64) -> Service {
    let before = fake_time::under(&format!("FAKETIME=+{}m", run * MINUTES_AHEAD));
    place.start_under(&before.iter().map(String::as_str).collect::<Vec<_>>())
}

/// All upkeep that can be asked for.
pub(super) const UPKEEP: [&[&str]; 2] = [&["state", "snapshot"], &["state", "trim", "--now", "--yes"]];

/// Begins to ask for it, beside the service.
fn ask_for_upkeep(place: &Place) -> Vec<Child> {
    let begin = |arguments: &[&str]| {
        let mut command = place.command(&[]);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    UPKEEP.map(begin).into()
}

fn load_and_kill(place: &Place, service: &mut Service, workers: &mut [load::Worker], random: &mut Random) {
    load::while_working(service.address, workers, |progress| {
        progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
        let asked = ask_for_upkeep(place);
        pause(random, DELAY_US_MAX);
        service.kill();
        // Some were refused and some were not answered.
        for mut child in asked {
            child.wait().unwrap();
        }
    });
}

/// The last run's upkeep is carried out to its end; returns what all of it came to.
pub(super) fn upkeep_done(place: &Place) -> String {
    for arguments in UPKEEP {
        let output = place.knhk(arguments);
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), place.log());
    }
    let names = |folder: &str, ending: &str| {
        let entries = fs::read_dir(place.path("state").join(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(ending));
        names.sort();
        names
    };
    let (segments, histories, snapshots) =
        (names("journal", ".jnl"), names("history", ".his"), names("snapshot", ".snp"));
    assert!(!histories.is_empty() && !snapshots.is_empty(), "{}", place.log());
    let is_trimmed = !segments[0].starts_with(&format!("{:020}", 1));
    assert!(
        is_trimmed || fake_time::library().is_none(),
        "nothing is trimmed: {segments:?}\n{}",
        place.log()
    );
    format!(
        "{} segments, {} history files, {} snapshots left",
        segments.len(),
        histories.len(),
        snapshots.len()
    )
}

#[test]
fn killed_in_the_middle_of_upkeep_it_loses_nothing() {
    let fault = Fault::begin(FAULT);
    let mut random = fault.random();
    let mut place = place();
    let mut service = start(&mut place, 0);
    load::register(&service);
    let mut workers = workers(&mut random);
    let kills = KILLS * rounds();
    for kill in 1..=kills {
        load_and_kill(&place, &mut service, &mut workers, &mut random);
        service = start(&mut place, kill);
        let old = if kill == kills { usize::MAX } else { OLD_CASES_COMPARED };
        load::compare(&service, &mut workers, old, &mut random);
        place.verify();
    }
    let upkeep = upkeep_done(&place);
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
    let acknowledged: usize = workers.iter().map(load::Worker::acknowledged).sum();
    fault.report(
        &format!("{kills} kills, {acknowledged} acknowledged"),
        &format!("nothing lost, nothing twice, verified; {upkeep}"),
    );
}

#[test]
fn killed_while_it_makes_the_environment_anew_it_makes_it_anew() {
    let fault = Fault::begin(REBUILDING);
    let mut random = fault.random();
    let mut place = place();
    let mut service = start(&mut place, 0);
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
        service = start(&mut place, kill);
        let old = if kill == kills { usize::MAX } else { OLD_CASES_COMPARED };
        load::compare(&service, &mut workers, old, &mut random);
        place.verify();
    }
    let upkeep = upkeep_done(&place);
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
    let acknowledged: usize = workers.iter().map(load::Worker::acknowledged).sum();
    fault.report(
        &format!("{kills} times without an environment, killed in the start, {acknowledged} acknowledged"),
        &format!("nothing lost, nothing twice, verified; {upkeep}"),
    );
}
