//! Limits of the system that are lower than the service would like.

use std::net::TcpStream;

use super::{Fault, WORKERS, rounds, wait_for_health, workers};
use crate::support::load;
use crate::support::service::Place;

const FAULT: &str = "low limits";
/// Files that may be open: enough for the service itself and a few connections.
const FILES: &str = "--nofile=48:48";
/// Memory that may be locked.
const LOCKED: &str = "--memlock=65536:65536";
/// Connections that are made and say nothing: more than there are descriptors.
const SILENT_CONNECTIONS: usize = 64;
/// Acknowledged requests before and after the rush.
const STEP: u64 = 60;
/// Acknowledged requests during it: more than a segment takes.
const MUCH: u64 = 400;

#[test]
fn few_descriptors_and_little_locked_memory_end_nothing() {
    let fault = Fault::begin(FAULT);
    // Root may lock and raise what it likes, so what allows that is taken away.
    let before = ["prlimit", FILES, LOCKED, "setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let mut tried = std::process::Command::new(before[0]);
    if !tried.args(&before[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return fault.skip("prlimit and setpriv are not here or may not lower limits");
    }
    let mut random = fault.random();
    // Small segments, so that the journal wants new files all the time.
    let mut place = Place::with(&[
        ("segment_bytes", "65536"),
        ("frame_bytes_max", "32768"),
        ("body_bytes_max", "32768"),
        ("checkpoint_seconds", "1"),
    ]);
    let mut service = place.start_under(&before);
    load::register(&service);
    let mut workers = workers(&mut random);
    let mut served = 0;
    for _ in 0..rounds() {
        load::while_working(service.address, &mut workers, |progress| {
            progress.wait_for(STEP);
            let silent: Vec<TcpStream> =
                (0..SILENT_CONNECTIONS).filter_map(|_| TcpStream::connect(service.address).ok()).collect();
            assert!(silent.len() > 40, "only {} connections were taken", silent.len());
            // Those who are connected already go on; who comes now is sent away or waits.
            progress.wait_for(MUCH);
            drop(silent);
            wait_for_health(&service, 200);
            progress.wait_for(STEP);
            assert_eq!(progress.refused(), 0, "{}", place.log());
            served += progress.answered();
        });
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        place.verify();
    }
    let log = place.log();
    assert!(service.stop().success(), "{log}");
    let warning = log.lines().find(|line| line.contains("the limit on open files is low"));
    let warning = warning.unwrap_or_else(|| panic!("no warning:\n{log}"));
    fault.report(&format!(
            "{FILES} {LOCKED}, {SILENT_CONNECTIONS} silent connections beside {WORKERS} clients, {served} acknowledged"
        ),
        warning.split_once(' ').map_or(warning, |(_, text)| text),
    );
}
